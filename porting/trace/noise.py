"""PyTorch's own noise: what it makes of the same frames and calls when every input and weight moves by its last bit.

One evaluation's rounding error is one draw of a lottery: another order of the same sums, just as right, draws another.
What a port is measured against is therefore the worst of PyTorch as it is and a few such reruns. It knows no runner but
PyTorch's and no budgets.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from porting.adapters.world_model import WorldModel
from porting.errors import TraceError
from porting.rollout import Rollout
from porting.runners.base import Buffer
from porting.runners.eager import TorchRunner
from porting.tensor_spec import Precision
from porting.trace.data import Trace, TracedCall, TracedFrame, TracedSession
from porting.trace.metrics import Array, change_last_bits, psnr_db, relative_error, ssim
from porting.trace.playback import apply_writes, join_made, read_writes, run_once, split_frames

Curve = tuple[list[float], list[float]]
"""PSNR in dB and SSIM, one a frame."""


def add_noise(trace: Trace, world_model: WorldModel, seed: int, members: int) -> Trace:
    """The trace with envelopes, and with every error of eager's raised to the worst that a member made.

    Args:
        trace: gold's frames and calls with eager's own errors.
        world_model: what was recorded.
        seed: of the changes, through numpy's PCG64.
        members: reruns; one copy of the weights is held at a time.

    Raises:
        TraceError: a free-running member makes what is not finite.
    """
    runs = [
        _Member(world_model, trace.precision, np.random.SeedSequence([seed, number])).measure(trace)
        for number in range(members)
    ]
    return replace(
        trace,
        sessions=tuple(_widen_session(s, [r[0][i] for r in runs]) for i, s in enumerate(trace.sessions)),
        calls=tuple(_widen_call(c, [r[1][i] for r in runs]) for i, c in enumerate(trace.calls)),
    )


class _Member:
    """PyTorch with every weight one unit in the last place away, up or down at random."""

    def __init__(self, world_model: WorldModel, precision: Precision, seed: np.random.SeedSequence) -> None:
        self.program, self.precision = world_model.program, precision
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.runners = {
            spec.name: TorchRunner(world_model.modules[spec.name], spec, compute=precision)
            for spec in self.program.components
        }
        for runner in self.runners.values():
            runner.change_weights(self._change)
        self.rollout = Rollout(self.program, self.runners)

    def measure(self, trace: Trace) -> tuple[list[tuple[Curve, list[dict[str, float]]]], list[dict[str, float]]]:
        """Per session its curve and the errors of every frame; then the errors of every call."""
        sessions = [
            (self._run_freely(f"session {number}", session), list(self._start_from_gold(session)))
            for number, session in enumerate(trace.sessions)
        ]
        return sessions, [self._repeat_call(call) for call in trace.calls]

    def _change(self, array: Array) -> Array:
        return change_last_bits(array, self.precision, self.generator)

    def _change_outside(self, session: TracedSession) -> tuple[dict[str, Array], dict[str, Array]]:
        """Session and frame inputs, context and noise changed; what a user does stays what it is."""
        kinds = {spec.tensor.name: spec.kind for spec in self.program.inputs}

        def change(arrays: Mapping[str, Array]) -> dict[str, Array]:
            return {n: self._change(a) if kinds[n] != "action" else a for n, a in arrays.items()}

        return change(session.session_inputs), change(session.frame_inputs)

    def _run_freely(self, where: str, session: TracedSession) -> Curve:
        """PSNR and SSIM of every frame of a rollout that feeds itself, against gold's frames.

        Raises:
            TraceError: a frame is not finite.
        """
        opening, frame_inputs = self._change_outside(session)
        self.rollout.open(opening)
        psnr, similarity = [], []
        for inputs, frame in zip(split_frames(frame_inputs, len(session.frames)), session.frames, strict=True):
            made, gold = self.rollout.step(inputs), frame.outputs[self.program.frame_value]
            psnr.append(psnr_db(made, gold))
            similarity.append(ssim(made, gold))
        if not all(map(math.isfinite, psnr)):
            raise TraceError(
                f"trace: {where}: free-running PyTorch is not finite; choose a wider precision or mend the checkpoint"
            )
        return psnr, similarity

    def _start_from_gold(self, session: TracedSession) -> Iterator[dict[str, float]]:
        """Errors of every frame, each started from gold's state with its last bits changed."""
        opening, frame_inputs = self._change_outside(session)
        self.rollout.open(opening)
        states: dict[str, Array] = {name: array.copy() for name, array in session.primed_states.items()}
        for index, (inputs, frame) in enumerate(
            zip(split_frames(frame_inputs, len(session.frames)), session.frames, strict=True)
        ):
            clock = session.primed_frames + index
            for name, array in states.items():
                self.rollout.write_state(name, self._change(array))
            self.rollout.seek(clock)
            self.rollout.step(inputs)
            yield _errors(
                join_made(self.rollout.values, read_writes(self.program, self.rollout, clock)),
                join_made(frame.outputs, frame.state_writes),
            )
            apply_writes(self.program, states, frame, clock)

    def _repeat_call(self, call: TracedCall) -> dict[str, float]:
        changed = {name: self._change(array) for name, array in call.inputs.items()}
        spec = self.program.component(call.component)
        return _errors(run_once(self.runners[call.component], spec, changed), call.outputs)


def _errors(made: Mapping[str, Buffer], gold: Mapping[str, Array]) -> dict[str, float]:
    return {name: relative_error(made[name], array) for name, array in gold.items()}


def _widen_session(session: TracedSession, runs: list[tuple[Curve, list[dict[str, float]]]]) -> TracedSession:
    frames = tuple(
        _widen_frame(frame, [errors[index] for _, errors in runs]) for index, frame in enumerate(session.frames)
    )
    return replace(
        session,
        frames=frames,
        envelope_psnr_db=np.array([psnr for (psnr, _), _ in runs], np.float64),
        envelope_ssim=np.array([similarity for (_, similarity), _ in runs], np.float64),
    )


def _widen_frame(frame: TracedFrame, members: list[dict[str, float]]) -> TracedFrame:
    return replace(frame, error_eager=_worst(frame.error_eager, members))


def _widen_call(call: TracedCall, members: list[dict[str, float]]) -> TracedCall:
    return replace(call, error_eager=_worst(call.error_eager, members))


def _worst(own: dict[str, float], members: list[dict[str, float]]) -> dict[str, float]:
    """Per output the largest finite error; what overflows in a member alone says nothing of size.

    An output without any error is a copy of an input: it stays exact, whatever the members were given.
    """
    return {
        name: max([error, *(m[name] for m in members if math.isfinite(m[name]))]) if error else error
        for name, error in own.items()
    }
