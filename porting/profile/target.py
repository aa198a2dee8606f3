"""One target whole: its hardware, the software that it needs, how to compile for it, and its budgets."""

from typing import Annotated, Literal

from pydantic import Field

from porting.profile.budgets import ParityBudget, ThroughputBudget
from porting.profile.device import Device, Format
from porting.profile.figures import Minimum, Text
from porting.tensor_spec import Model, Precision

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Software = Literal["driver", "cuda", "rocm", "tensorrt", "tensorrt_rtx", "triton", "nccl", "transformer_engine"]


class NativeFormats(Model):
    """Formats below 16 bits that the matrix units multiply by themselves; any other is emulated."""

    native: tuple[Format, ...]
    source: Text
    note: str = ""


class CompileChoice(Model):
    """Backends to try, all of them, the fastest proved one kept; and what they are given.

    The order is the fallback chain: where a backend cannot build or run, the next one stands in for it.
    """

    backends: tuple[str, ...] = Field(min_length=1)
    precisions: tuple[Precision, ...] = Field(min_length=1)
    opset: Annotated[int, Field(ge=18)]
    chips: dict[str, tuple[str, ...]] = {}
    """Backend -> architectures that one artifact of it serves, where that is more than the target's own."""
    formats: NativeFormats | None = None

    def chips_of(self, backend: str, device: Device) -> tuple[str, ...]:
        """The architectures that an artifact of that backend is built for; none for a CPU."""
        own = () if device.architecture is None else (device.architecture,)
        return self.chips.get(backend, own)


class Profile(Model):
    """One target."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Name
    title: str
    families: tuple[Name, ...] = ()
    """Names that stand for this target and its kin, for example blackwell."""
    device: Device
    software: dict[Software, Minimum] = {}
    """The oldest versions that serve this target."""
    compile: CompileChoice
    parity: ParityBudget
    throughput: ThroughputBudget
