"""What an adapter makes of a checkpoint: named modules, the frame program, and sessions to record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from porting.program import Program


@dataclass(frozen=True)
class SampleSession:
    """The recorded outside of one session: everything but the noise, which the trace draws."""

    session_inputs: dict[str, npt.NDArray[np.float32]]
    """Every `session` input of the program, with its full shape."""
    frame_inputs: dict[str, npt.NDArray[np.float32]]
    """Every `frame` input that is not noise, stacked: (frames, *shape)."""


@dataclass(frozen=True)
class WorldModel:
    """A checkpoint, ready to be exported. Modules are in eval mode, in float32, on the CPU."""

    name: str
    family: str
    digest: str
    """sha256 over config and weights."""
    config: dict[str, Any]
    program: Program
    modules: dict[str, nn.Module]
    """One a component. `forward` takes the component's inputs in order, positionally, and returns a tensor or a tuple
    in the order of its outputs."""
    samples: tuple[SampleSession, ...]
    sample_source: str
    """Where the samples come from, in words, for the report."""
    use_kernels: Callable[[Mapping[str, nn.Module]], dict[str, nn.Module]] | None = None
    """Makes of `modules` the same components with their hot spots as operators of kernels, over the very same weights;
    None where the family has no such variant."""

    @property
    def parameters(self) -> int:
        """Distinct parameters over all modules; components that share a weight count it once."""
        return sum(p.numel() for p in {id(p): p for m in self.modules.values() for p in m.parameters()}.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of those parameters."""
        return sum(
            p.numel() * p.element_size()
            for p in {id(p): p for m in self.modules.values() for p in m.parameters()}.values()
        )
