"""A ported bundle on disk whose gate passes; tests break one thing in it at a time."""

from pathlib import Path
from typing import Any

from porting.bundle import Bundle, digest_file, referenced_paths
from porting.gate import Baseline, GateCheck, GateVerdict, Limits, make_baseline
from porting.gate import judge as judge_record
from porting.pipeline.gating import judge_anew
from porting.record import FileRecord, KernelRecord, Outcome, PortRecord, StageRecord, TargetRecord
from tests.verdict import records as verdicts
from tests.verdict.records import TARGET, with_target

INTACT = GateCheck(target="bundle", name="files", outcome=Outcome.PASSED, reason="All files are what was written.")


def with_verdict(record: PortRecord) -> PortRecord:
    """The record with the verdict that its evidence comes to."""
    return with_target(record, verdict=verdicts.judge(record))


def ported(**changes: Any) -> PortRecord:
    """A port of one target that passed, with a stage that ended; fields of its throughput may be changed."""
    record = verdicts.with_throughput(verdicts.make_record(), **changes)
    stage = StageRecord(name="throughput cpu", key="0" * 64, seconds=1.0)
    return with_verdict(record.model_copy(update={"stages": (stage,)}))


def make_target(record: PortRecord, **changes: Any) -> TargetRecord:
    return record.targets[TARGET].model_copy(update=changes)


def add_target(record: PortRecord, name: str, target: TargetRecord) -> PortRecord:
    return record.model_copy(update={"targets": {**record.targets, name: target}})


def baseline_of(*records: PortRecord) -> Baseline:
    return make_baseline(records or (ported(),))


def judge(record: PortRecord, baseline: Baseline | None, limits: Limits | None = None) -> GateVerdict:
    """As the gate does with a bundle whose files are intact."""
    return judge_record(record, baseline, limits or Limits(), (INTACT, judge_anew(record)))


def find(verdict: GateVerdict, name: str, target: str = TARGET, subject: str | None = None) -> GateCheck:
    """The one check of that name."""
    (check,) = (
        check
        for check in verdict.checks
        if check.name == name and check.target == target and subject in {None, check.subject}
    )
    return check


def make_kernel(kernel: str = "adaln", **changes: Any) -> KernelRecord:
    made = KernelRecord(
        kernel=kernel, variant="bfloat16", architecture="cuda:100", source_digest="1" * 64, sizes=(1, 64), tuning={},
        tensor_cores_claimed=True, files=(f"targets/cpu/kernels/{kernel}.cubin",), architecture_found="cuda:100",
        spill_store_bytes=0, spill_load_bytes=0, tensor_instructions={"tcgen05.mma": 4},
    )  # fmt: skip
    return made.model_copy(update=changes)


def write_bundle(folder: Path, record: PortRecord) -> Path:
    """A bundle whose every named file is there, with its digest."""
    files = []
    for name in sorted(set(referenced_paths(record))):
        path = folder / name
        place = path / "rollout_port.png" if not path.suffix else path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(name.encode())
        relative = place.relative_to(folder).as_posix()
        files.append(FileRecord(path=relative, sha256=digest_file(place), nbytes=place.stat().st_size))
    Bundle(folder).write_record(record.model_copy(update={"files": tuple(files)}))
    return folder
