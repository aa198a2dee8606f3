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
    """At most `samples` calls of a component.

    The session's first call comes first if priming makes it: no other has an empty ring or fresh caches. Then frames in
    the order of how much they tell, sessions in turn, and of each frame the component's last call (a commit), its first
    and one between. What is left is taken from priming.
    """
    primed = sum(call.component == component for call in program.prime)
    each = sum(call.component == component for call in program.frame)
    places = [CallPlace(0, 0)] if primed else []
    for turn, frame in enumerate(_moments(program.warmup_frames, frames)):
        within = dict.fromkeys((each - 1, 0, 1 + turn % max(1, each - 2))) if each else {}
        places += [CallPlace(turn % sessions, primed + frame * each + i) for i in within if i < each]
    places += [CallPlace(session, number) for number in range(primed) for session in range(sessions)]
    return set(list(dict.fromkeys(places))[:samples])


def _moments(window: int, frames: int) -> list[int]:
    """Every frame once: the first, the ring partly filled, a slot overwritten, the last, then evenly between."""
    telling = [0, window // 2, window, frames - 1]
    spread = [round(i * (frames - 1) / parts) for parts in (2, 3, 4, 8) for i in range(1, parts)]
    return list(dict.fromkeys(f for f in [*telling, *spread, *range(frames)] if 0 <= f < frames))


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
