"""The trace as data: what was fed to the reference and what it answered. Read and written with numpy alone, no torch.

Gold computes every call in float64 from inputs at the port's precision, and carries states rounded to that precision,
so that any host can start any frame from exactly the state that gold had.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.tensor_spec import Precision

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class TracedCall:
    """One call of a component: inputs at the port's precision, gold's float64 outputs, eager's error on each output.

    Eager's error is the worst of PyTorch as it is and of its reruns with last-bit changes: see `noise`.
    """

    component: str
    inputs_kind: str
    """"trace" for a call taken from the rollout, else the name of the hard input."""
    inputs: dict[str, Array]
    outputs: dict[str, npt.NDArray[np.float64]]
    error_eager: dict[str, float]


@dataclass(frozen=True)
class TracedFrame:
    """One generated frame of a session.

    `state_writes` is what gold's calls of this frame wrote: for a `replace` state its whole new value, for a `ring`
    state the slice of this frame. `outputs` are the values that the frame's calls made, in float64, "frame" among them.
    """

    state_writes: dict[str, Array]
    outputs: dict[str, npt.NDArray[np.float64]]
    error_eager: dict[str, float]
    """Teacher-forced: eager started from gold's state; one entry per output and per written state."""


@dataclass(frozen=True)
class TracedSession:
    """One session: its inputs, the states after priming, its frames, and how far eager's own noise carries it."""

    session_inputs: dict[str, Array]
    frame_inputs: dict[str, Array]
    """(frames, *shape) of every frame input, noise included."""
    primed_states: dict[str, Array]
    """Full value of every state after priming; rings as buffers."""
    primed_frames: int
    """Frames committed by priming: the ring's clock."""
    frames: tuple[TracedFrame, ...]
    envelope_psnr_db: npt.NDArray[np.float64]
    """(members, frames): free-running eager, inputs changed in the last bit, against gold's frames; not capped."""
    envelope_ssim: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    """Everything that parity needs."""

    sessions: tuple[TracedSession, ...]
    calls: tuple[TracedCall, ...]
    precision: Precision = "fp32"
    """What eager computed in: a port at another precision has another yardstick."""
    dropped: tuple[str, ...] = ()
    """Hard inputs that were left out, each a sentence with component, name and reason."""
