"""What was ported, on what machine, and what was made of it before anything was compiled."""

from typing import Annotated

from pydantic import Field

from porting.tensor_spec import Model, Precision

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileRecord(Model):
    """One file of the bundle; the path is relative to the bundle and uses forward slashes."""

    path: str
    sha256: Sha256
    nbytes: Annotated[int, Field(ge=0)]


class Host(Model):
    """The machine and versions that a measurement was made with."""

    machine: str
    cpu: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    packages: dict[str, str]
    threads: int
    settings: dict[str, str] = {}
    """Environment variables that were set and change how the runtimes' threads work."""


class CheckpointRecord(Model):
    """What was ported. `digest` covers config and weights."""

    name: str
    family: str
    digest: Sha256
    parameters: int
    weight_bytes: int
    source: str = ""
    """What the user called it by: a path, or `bundled:NAME`."""


class StateContract(Model):
    """How a component's declared state was proved before its file was written."""

    states_in: tuple[str, ...]
    states_out: tuple[str, ...]
    mutated_buffers: tuple[str, ...] = ()
    """Always empty in a record: a component that mutates is refused."""
    exercised: tuple[str, ...]
    """What was run: "wrap-around", "sink", "reset", "aliasing", ..."""
    max_relative_error: float
    """Worst output error of the exported graph against the module, over everything exercised."""


class ComponentRecord(Model):
    """One exported component."""

    name: str
    path: str
    opset: int
    nodes: int
    parameters: int
    weight_bytes: int
    operators: dict[str, int]
    contract: StateContract
    export_seconds: float


class TraceRecord(Model):
    """The reference rollout: recorded inputs, gold and eager outputs."""

    path: str
    sessions: int
    frames: int
    precision: Precision
    gold: Precision
    seed: int
    source: str
    """Where the context frames and actions come from, in words."""
