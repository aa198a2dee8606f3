"""What a port leaves behind: `port.json`, schema 1. Evidence is measured; a verdict is evidence held against budgets.

Records never compute what they could have measured wrongly: every judgement is a `Check` with value, limit and reason.
"""

from porting.record.artifacts import (
    ArtifactRecord,
    Attestation,
    ChainLink,
    KernelRecord,
)
from porting.record.checks import (
    LADDER,
    Check,
    Outcome,
    Step,
    exit_code,
)
from porting.record.comparison import (
    ComparedBundle,
    Comparison,
    ComponentRatio,
    Interval,
    SlowFrame,
    TailBand,
)
from porting.record.made import (
    CheckpointRecord,
    ComponentRecord,
    FileRecord,
    Host,
    Sha256,
    StateContract,
    TraceRecord,
)
from porting.record.parity import (
    FreeRunning,
    OutputParity,
    ParityEvidence,
    TeacherForced,
)
from porting.record.port import (
    SCHEMA_VERSION,
    PortRecord,
    StageRecord,
    TargetRecord,
    Verdict,
)
from porting.record.throughput import (
    CallSpan,
    ComponentTime,
    Concurrency,
    DeviceUsed,
    Distribution,
    DriverTiming,
    Energy,
    Latency,
    Pacing,
    SessionLoad,
    Soak,
    ThroughputEvidence,
    Viewer,
    Waterfall,
)

__all__ = [
    "LADDER",
    "SCHEMA_VERSION",
    "ArtifactRecord",
    "Attestation",
    "CallSpan",
    "ChainLink",
    "Check",
    "CheckpointRecord",
    "ComparedBundle",
    "Comparison",
    "ComponentRatio",
    "ComponentRecord",
    "ComponentTime",
    "Concurrency",
    "DeviceUsed",
    "Distribution",
    "DriverTiming",
    "Energy",
    "FileRecord",
    "FreeRunning",
    "Host",
    "Interval",
    "KernelRecord",
    "Latency",
    "Outcome",
    "OutputParity",
    "Pacing",
    "ParityEvidence",
    "PortRecord",
    "SessionLoad",
    "Sha256",
    "SlowFrame",
    "Soak",
    "StageRecord",
    "StateContract",
    "Step",
    "TailBand",
    "TargetRecord",
    "TeacherForced",
    "ThroughputEvidence",
    "TraceRecord",
    "Verdict",
    "Viewer",
    "Waterfall",
    "exit_code",
]
