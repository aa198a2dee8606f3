"""One session of a world model: open, step, and the states between."""

import time
from collections.abc import Mapping

import numpy as np

from porting.errors import RunnerError
from porting.program import Call, Program
from porting.rollout.binding import Binding, Stage
from porting.runners.base import Buffer, Runner, check_names, check_tensor
from porting.tensor_spec import TensorSpec

COPY = "copy"
"""What a span is of that is no component's call: inputs taken, slices written into rings."""
Span = tuple[str, float, float]
"""A component's name or COPY, start and finish in seconds of `time.perf_counter`."""


class Rollout:
    """One session of a world model at a time; every state lives here and is zero when a session opens."""

    def __init__(self, program: Program, runners: Mapping[str, Runner]) -> None:
        """Allocate every buffer and bind every call.

        Args:
            program: what to run.
            runners: one a component.

        Raises:
            RunnerError: a runner is missing, is of no component, or refuses a buffer.
            ProgramError: a frame makes more than one picture, or a call writes one thing twice.
        """
        check_names("rollout", "runners", runners, [component.name for component in program.components])
        self.program = program
        self.clock = 0
        """Frames committed: writes of the first ring; without one, pictures."""
        self.spans: list[Span] | None = None
        """Set a list to collect what each stretch of time went into, in order; None costs nothing."""
        self._binding = Binding(program, runners)
        self._phase = 0
        self._taken = {
            scope: {
                i.tensor.name: (i.tensor, self._binding.inputs[i.tensor.name])
                for i in program.inputs
                if i.scope == scope
            }
            for scope in ("session", "frame")
        }
        members = [s.tensor.name for s in program.states if s.ring is not None and s.ring == program.rings[0].name]
        self._primed_clock = _count_writing(program.prime, set(members) or {program.frame_value})
        self._needs_session = any(
            source.kind == "input" and source.name in self._taken["session"]
            for call in program.frame
            for source in call.inputs.values()
        )
        self._opened = self._failed = False
        self._binding.reset()
        self.values = self._binding.prime.values
        """What the last stage that ran made, by name; the next stage overwrites it."""

    def open(self, session_inputs: Mapping[str, Buffer]) -> list[Buffer]:
        """Begin a session: every state zero, clock 0, then `prime`.

        Args:
            session_inputs: every `session` input of the program.

        Returns:
            The pictures that priming made, copied.

        Raises:
            RunnerError: an input is missing, unknown, or of another shape or dtype; or a call failed.
        """
        self._take("session", session_inputs)
        self._binding.reset()
        self._phase = self.clock = 0
        pictures: list[Buffer] = []
        self._run(self._binding.prime, pictures)
        self.clock = self._primed_clock
        self._opened = True
        return pictures

    def step(self, frame_inputs: Mapping[str, Buffer]) -> Buffer:
        """Make one frame.

        Args:
            frame_inputs: every `frame` input of the program.

        Returns:
            The picture, a view that the next step overwrites.

        Raises:
            RunnerError: an input is missing, unknown, or of another shape or dtype; or a call failed, now or before.
        """
        if self._failed:
            raise RunnerError("rollout: a call failed and left the states half written; open a new session")
        if self._needs_session and not self._opened:
            raise RunnerError("rollout: the frame program reads session inputs; open a session before the first step")
        start = time.perf_counter() if self.spans is not None else 0.0
        self._take("frame", frame_inputs)
        if self.spans is not None:
            self.spans.append((COPY, start, time.perf_counter()))
        stage = self._binding.frames[self._phase]
        self._run(stage)
        self._phase = 1 - self._phase
        self.clock += 1
        return stage.values[self.program.frame_value]

    def read_state(self, name: str) -> Buffer:
        """A copy of the state as the next call would read it; a ring as its whole buffer.

        Raises:
            RunnerError: there is no such state.
        """
        return self._current(name).copy()

    def write_state(self, name: str, array: Buffer) -> None:
        """Set the state that the next call reads; a ring as its whole buffer.

        Raises:
            RunnerError: there is no such state, or it is of another shape or dtype.
        """
        current = self._current(name)
        _check_values("rollout", self.program.state(name).tensor, array)
        np.copyto(current, array)

    def seek(self, clock: int) -> None:
        """Set the clock; the rings' slots and ages become those after `clock` frames, the buffers stay.

        Raises:
            RunnerError: the clock is negative.
        """
        if clock < 0:
            raise RunnerError(f"rollout: cannot seek to frame {clock}; give 0 or more")
        for name, ring in self._binding.rings.items():
            members = {s.tensor.name for s in self.program.states if s.ring == name}
            primed, each = (_count_writing(calls, members) for calls in (self.program.prime, self.program.frame))
            ring.seek(max(0, primed + (clock - self._primed_clock) * each))
        self.clock = clock

    def _current(self, name: str) -> Buffer:
        buffers = self._binding.states.get(name)
        if buffers is None:
            raise RunnerError(f"rollout: has no state {name!r}; there are {sorted(self._binding.states)}")
        return buffers[self._binding.frames[self._phase].sides[name]]

    def _take(self, scope: str, given: Mapping[str, Buffer]) -> None:
        """Copy the outside's inputs in; all are checked before the first is copied."""
        declared = self._taken[scope]
        if given.keys() != declared.keys():
            check_names("rollout", f"{scope} inputs", given, declared)
        for name, (tensor, buffer) in declared.items():
            if given[name].shape != buffer.shape or given[name].dtype != buffer.dtype:
                _check_values("rollout", tensor, given[name])
        for name, (_, buffer) in declared.items():
            np.copyto(buffer, given[name])

    def _run(self, stage: Stage, pictures: list[Buffer] | None = None) -> None:
        """Run every call of a stage; copies of the pictures are added to `pictures`."""
        spans = self.spans
        self._failed = True
        for step in stage.steps:
            start = 0.0 if spans is None else time.perf_counter()
            step.run()
            finish = 0.0 if spans is None else time.perf_counter()
            for ring, writes in step.ring_writes:
                slot = ring.spec.slot(ring.committed)
                for write in writes:
                    np.copyto(write.slots[slot], write.made)
                ring.advance()
            if spans is not None:
                spans.append((step.component, start, finish))
                if step.ring_writes:
                    spans.append((COPY, finish, time.perf_counter()))
            if pictures is not None and step.emitted is not None:
                pictures.append(step.emitted.copy())
        self.values = stage.values
        self._failed = False


def _check_values(where: str, spec: TensorSpec, array: Buffer) -> None:
    """An array to copy from may be strided."""
    check_tensor(where, spec, np.ascontiguousarray(array) if array.ndim else array)


def _count_writing(calls: tuple[Call, ...], names: set[str]) -> int:
    """How many of the calls write any of these states or values."""
    return sum(any(sink.name in names for sink in call.outputs.values()) for call in calls)
