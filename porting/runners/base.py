"""What every runner does: bind a component's artifact to buffers once, then run it again and again.

A runner knows its backend's runtime and numpy. It knows no torch (its own backend aside), no adapter, no program.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

Buffer = npt.NDArray[Any]


class BoundCall(Protocol):
    """One component bound to buffers: reads the inputs' present values, fills the outputs, returns when it is done."""

    def __call__(self) -> None: ...


class Runner(Protocol):
    """One loaded artifact of one component."""

    backend: str

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """Bind every input and every output of the component by name.

        The buffers are C-contiguous, stay where they are for the life of the call, and are written in place. Inputs and
        outputs never share memory.

        Raises:
            RunnerError: a name, shape or dtype is not the artifact's.
        """
        ...

    def close(self) -> None:
        """Release what the runtime holds; bound calls are dead afterwards."""
        ...
