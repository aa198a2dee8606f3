"""Records the reference: a gold rollout in float64, and PyTorch's own error at the port's precision.

Gold computes in float64 from inputs at the port's precision and carries states rounded to it, so that any host can
start any frame from exactly gold's state. It runs on the engine that runs the port, and knows no family of models.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from porting.adapters.world_model import SampleSession, WorldModel
from porting.errors import TraceError
from porting.program import ComponentSpec, Program
from porting.rollout import Rollout
from porting.runners.base import Buffer, numpy_dtype
from porting.runners.eager import TorchRunner
from porting.tensor_spec import Precision
from porting.trace.data import Trace, TracedCall, TracedFrame, TracedSession
from porting.trace.hard_inputs import make_hard_inputs
from porting.trace.metrics import Array, find_not_finite, relative_error
from porting.trace.noise import add_noise
from porting.trace.playback import join_made, read_writes, run_once, split_frames
from porting.trace.sampling import CapturedCall, CapturingRunner, choose_calls

ENVELOPE_MEMBERS = 4
COMPONENT_SAMPLES = 12
SMALL_BYTES = 1 << 28
"""Weights below this are recorded on one thread."""


def record_trace(
    world_model: WorldModel,
    sessions: int,
    frames: int,
    precision: Precision,
    seed: int,
    component_samples: int = COMPONENT_SAMPLES,
    envelope_members: int = ENVELOPE_MEMBERS,
) -> Trace:
    """Roll the reference out and keep what parity needs.

    Args:
        world_model: its samples are the sessions' outside; the noise is drawn here, standard normal, and recorded.
        sessions: how many samples to take, the first ones.
        frames: generated frames a session.
        precision: what the port computes in, and what PyTorch's own error is measured at.
        seed: of the noise and of the last-bit changes, through numpy's PCG64.
        component_samples: calls kept a component, hard inputs not counted.
        envelope_members: reruns of eager with last-bit changes, for the envelope and for eager's own error.

    Raises:
        TraceError: nothing is asked for, there are too few samples, or PyTorch itself gives what is not finite.
    """
    outside = _take_samples(world_model, sessions, frames, seed)
    if envelope_members < 1 or component_samples < 1:
        raise TraceError(
            f"trace: {envelope_members} envelope members and {component_samples} component samples; ask for 1 or more"
        )
    with _few_threads(world_model):
        recorder = _Recorder(world_model, precision, sessions, frames, component_samples)
        recorded = tuple(recorder.record_session(number, session) for number, session in enumerate(outside))
        calls, dropped = recorder.finish_calls()
        trace = Trace(sessions=recorded, calls=calls, precision=precision, dropped=dropped)
        return add_noise(trace, world_model, seed, envelope_members)


@contextmanager
def _few_threads(world_model: WorldModel) -> Iterator[None]:
    """One thread for a small model.

    Compilers run beside the recording, and threads that wait for one another on busy cores cost a small module more
    than they give (seen: 62 s against 39 s for the bundled model on two cores).
    """
    before = torch.get_num_threads()
    if world_model.weight_bytes < SMALL_BYTES:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _take_samples(world_model: WorldModel, sessions: int, frames: int, seed: int) -> list[SampleSession]:
    """The sessions' inputs with noise, cut to `frames`."""
    available = len(world_model.samples)
    if not 1 <= sessions <= available:
        raise TraceError(f"trace: {sessions} sessions asked, {world_model.name} brings {available}; ask for 1 to those")
    if frames < 1:
        raise TraceError(f"trace: {frames} frames asked; ask for 1 or more")
    return [
        SampleSession(sample.session_inputs, _frame_inputs(world_model.program, sample, number, frames, seed))
        for number, sample in enumerate(world_model.samples[:sessions])
    ]


def _frame_inputs(
    program: Program, sample: SampleSession, number: int, frames: int, seed: int
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """(frames, *shape) of every frame input. A longer trace begins with the noise of a shorter one."""
    made = {}
    declared = [i for i in program.inputs if i.scope == "frame"]
    for index, spec in enumerate(declared):
        name, shape = spec.tensor.name, (frames, *spec.tensor.shape)
        if spec.kind == "noise":
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, 0, index])))
            made[name] = generator.standard_normal(shape).astype(numpy_dtype(spec.tensor.dtype))
            continue
        found = sample.frame_inputs.get(name)
        if found is None or found.shape[1:] != shape[1:] or found.shape[0] < frames:
            what = "no such input" if found is None else f"shape {found.shape}"
            raise TraceError(f"trace: session {number}, {name}: {what}; {shape} is needed, record fewer frames")
        made[name] = np.ascontiguousarray(found[:frames]).astype(numpy_dtype(spec.tensor.dtype))
    return made


class _Recorder:
    """Gold and eager side by side, over every session."""

    def __init__(
        self, world_model: WorldModel, precision: Precision, sessions: int, frames: int, component_samples: int
    ) -> None:
        self.program = world_model.program
        self.precision, self.frames = precision, frames
        specs = {c.name: c for c in self.program.components}
        modules = world_model.modules
        self.exact: dict[int, Array] = {}
        self.gold_runners = {
            name: CapturingRunner(TorchRunner(modules[name], spec, compute="fp64"), self.exact)
            for name, spec in specs.items()
        }
        self.eager_runners = {name: TorchRunner(modules[name], spec, compute=precision) for name, spec in specs.items()}
        self.gold = Rollout(self.program, self.gold_runners)
        self.eager = Rollout(self.program, self.eager_runners)
        self.chosen = {name: choose_calls(self.program, name, sessions, frames, component_samples) for name in specs}
        self.captured: dict[str, list[CapturedCall]] = {name: [] for name in specs}

    def record_session(self, number: int, outside: SampleSession) -> TracedSession:
        """Gold's rollout with eager's error on every frame; no envelope yet."""
        for name, runner in self.gold_runners.items():
            runner.begin({place.number for place in self.chosen[name] if place.session == number})
        self.gold.open(outside.session_inputs)
        # Eager's own priming allocates nothing here: its states are gold's before every frame.
        self.eager.open(outside.session_inputs)
        primed = {s.tensor.name: self.gold.read_state(s.tensor.name) for s in self.program.states}
        primed_frames = self.gold.clock
        self._refuse(find_not_finite(primed), f"session {number}, priming")
        frames = tuple(
            self._record_frame(f"session {number}, frame {index}", inputs)
            for index, inputs in enumerate(split_frames(outside.frame_inputs, self.frames))
        )
        for name, runner in self.gold_runners.items():
            self.captured[name] += runner.captured
        return TracedSession(
            session_inputs=dict(outside.session_inputs),
            frame_inputs=dict(outside.frame_inputs),
            primed_states=primed,
            primed_frames=primed_frames,
            frames=frames,
            envelope_psnr_db=np.zeros((0, len(frames))),
            envelope_ssim=np.zeros((0, len(frames))),
        )

    def _record_frame(self, where: str, inputs: Mapping[str, Buffer]) -> TracedFrame:
        """One frame of gold, and of eager from the same state."""
        for state in self.program.states:
            self.eager.write_state(state.tensor.name, self.gold.read_state(state.tensor.name))
        self.eager.seek(self.gold.clock)
        clock = self.gold.clock
        self.eager.step(inputs)
        self.gold.step(inputs)
        outputs = {name: self.exact[buffer.ctypes.data].copy() for name, buffer in self.gold.values.items()}
        writes = read_writes(self.program, self.gold, clock)
        self._refuse(find_not_finite(join_made(outputs, writes)), f"{where} of gold")
        eager_outputs = join_made(self.eager.values, read_writes(self.program, self.eager, clock))
        self._refuse(find_not_finite(eager_outputs), f"{where} of PyTorch at {self.precision}")
        gold_outputs = join_made(outputs, writes)
        errors = {name: relative_error(eager_outputs[name], gold) for name, gold in gold_outputs.items()}
        return TracedFrame(writes, {n: o.astype(np.float64) for n, o in outputs.items()}, errors)

    def finish_calls(self) -> tuple[tuple[TracedCall, ...], tuple[str, ...]]:
        """The recorded calls, then hard inputs made from the last of each component; and what was dropped."""
        calls: list[TracedCall] = []
        dropped: list[str] = []
        for spec in self.program.components:
            captured = self.captured[spec.name]
            for call in captured:
                found = self._measure_call(spec, "trace", call.inputs)
                self._refuse(found if isinstance(found, str) else None, f"a recorded call of {spec.name}")
                calls += [found] if isinstance(found, TracedCall) else []
            if not captured:
                dropped.append(f"{spec.name}: every input: no call of the frame program runs it")
                continue
            for kind, inputs in make_hard_inputs(self.program, spec.name, captured[-1].inputs):
                found = self._measure_call(spec, kind, inputs)
                if isinstance(found, str):
                    dropped.append(f"{spec.name}: {kind}: not finite: {found}")
                else:
                    calls.append(found)
        return tuple(calls), tuple(dropped)

    def _measure_call(self, spec: ComponentSpec, kind: str, inputs: Mapping[str, Array]) -> TracedCall | str:
        """Gold's outputs and eager's error on one call, or what of it is not finite."""
        gold = run_once(self.gold_runners[spec.name].inner, spec, inputs, exact=True)
        eager = run_once(self.eager_runners[spec.name], spec, inputs)
        for who, outputs in (("gold", gold), (f"PyTorch at {self.precision}", eager)):
            name = find_not_finite(outputs)
            if name is not None:
                return f"{name} of {who}"
        errors = {name: relative_error(eager[name], array) for name, array in gold.items()}
        return TracedCall(spec.name, kind, dict(inputs), {n: a.astype(np.float64) for n, a in gold.items()}, errors)

    def _refuse(self, name: str | None, where: str) -> None:
        """A reference that is not finite is no reference.

        Raises:
            TraceError: `name` is not None.
        """
        if name is not None:
            raise TraceError(f"trace: {where}: {name} is not finite; choose a wider precision or mend the checkpoint")
