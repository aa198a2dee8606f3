"""Which calls of a rollout are recorded, and the runner that records them. It knows the program, no models."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from porting.program import Program
from porting.runners.base import BoundCall, Buffer, Runner
from porting.trace.metrics import Array, is_float


@dataclass(frozen=True)
class CallPlace:
    """Which session, and how many calls of the same component stand before it in that session."""

    session: int
    number: int


def choose_calls(program: Program, component: str, sessions: int, frames: int, samples: int) -> set[CallPlace]:
    """At most `samples` calls of a component, over all sessions and all of its places in the program.

    Early, decisive frames come first: the last of priming, the first after it, one with the ring partly filled, the
    first that overwrites a slot, the last; then evenly between. The place within the frame (each denoising step, the
    commit) and the session change with every sample.
    """
    primed = sum(call.component == component for call in program.prime)
    each = sum(call.component == component for call in program.frame)
    places: dict[CallPlace, None] = {}
    if each:
        moments = _moments(program.warmup_frames, frames, samples)
        for offset in range(each * sessions):
            for i, frame in enumerate(moments):
                turn = i + offset
                places[CallPlace(turn % sessions, primed + frame * each + turn % each)] = None
    for number in range(primed):
        for session in range(sessions):
            places[CallPlace(session, primed - 1 - number)] = None
    ordered = list(places)
    if primed and each and samples > 1:
        # One call of priming is always among them: it is the only one with an empty ring or a fresh cache.
        first = CallPlace(0, 0)
        ordered = [ordered[0], first, *(p for p in ordered[1:] if p != first)]
    return set(ordered[:samples])


def _moments(window: int, frames: int, samples: int) -> list[int]:
    """Frames in the order of how much they tell, without repeats."""
    early = [0, window // 2, window, frames - 1, 1, window + 1, max(0, window - 1)]
    even = [round(i * (frames - 1) / max(1, samples - 1)) for i in range(samples)]
    return list(dict.fromkeys(f for f in [*early, *even] if 0 <= f < frames))


@dataclass(frozen=True)
class CapturedCall:
    """Inputs as they were, outputs before they were rounded into the program's buffers."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]


class CapturingRunner:
    """Runs a component with outputs of its own in float64, keeps the chosen calls, and hands out rounded outputs."""

    backend = "gold"

    def __init__(self, inner: Runner, exact: dict[int, Array]) -> None:
        """Wrap a runner that takes output buffers of any floating dtype.

        Args:
            inner: the runner.
            exact: filled with the unrounded values, by address of the buffer that the last call rounded them into; all
                components of a rollout share one.
        """
        self.inner = inner
        self.exact = exact
        self.captured: list[CapturedCall] = []
        self._chosen: set[int] = set()
        self._number = 0

    def begin(self, chosen: set[int]) -> None:
        """Count calls from 0 again and keep those with these numbers; before a session is opened."""
        self._chosen, self._number, self.captured = chosen, 0, []

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`."""
        scratch = {name: np.zeros(a.shape, np.float64 if is_float(a) else a.dtype) for name, a in outputs.items()}
        run = self.inner.bind(inputs, scratch)

        def call() -> None:
            run()
            for name, unrounded in scratch.items():
                # What overflows at the port's precision becomes inf here, and is found and named as such.
                with np.errstate(over="ignore"):
                    np.copyto(outputs[name], unrounded, casting="unsafe")
                self.exact[outputs[name].ctypes.data] = unrounded
            if self._number in self._chosen:
                kept = {name: a.copy() for name, a in inputs.items()}
                self.captured.append(CapturedCall(kept, {name: a.copy() for name, a in scratch.items()}))
            self._number += 1

        return call

    def close(self) -> None:
        """Close the runner inside."""
        self.inner.close()
