"""Runs a frame program on named buffers: the whole host side of a world model.

It knows numpy and runners; it knows no torch, no adapter, no backend. Everything is allocated and bound before the
first frame: a `replace` state has two buffers and every call is bound for both phases, a ring's slice is copied into
its slot, an index or a constant is a view. What a call does not write stays NaN, so that absence is seen.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from porting.errors import ProgramError, RunnerError
from porting.program import Call, ComponentSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.runners.base import BoundCall, Buffer, Runner, aligned_zeros, check_names, check_tensor, numpy_dtype
from porting.tensor_spec import TensorSpec


class RingClock:
    """How many frames one ring holds, and the age of each slot."""

    def __init__(self, spec: RingSpec) -> None:
        self.spec = spec
        self.committed = 0
        self.ages = aligned_zeros((spec.window,), np.dtype(np.int64))
        """Frames since each slot was written: 1 for the last one committed, 0 for a slot never written."""
        self._written = np.zeros(spec.window, np.int64)

    def advance(self) -> None:
        """One more frame was written, into slot `spec.slot(committed)`."""
        slot = self.spec.slot(self.committed)
        self.ages += self._written
        self.ages[slot] = self._written[slot] = 1
        self.committed += 1

    def seek(self, committed: int) -> None:
        """Ages as they are after `committed` frames, in exact integers."""
        self.committed = committed
        sink, period = self.spec.sink, self.spec.window - self.spec.sink
        for slot in range(self.spec.window):
            last = slot if slot < sink else committed - 1 - (committed - 1 - slot) % period
            self.ages[slot] = committed - last if slot <= last < committed else 0
        np.greater(self.ages, 0, out=self._written, casting="unsafe")


@dataclass(frozen=True)
class _RingWrite:
    """One slice on its way into a ring: the call's output, and a view of every slot."""

    made: Buffer
    slots: tuple[Buffer, ...]


@dataclass(frozen=True)
class _Step:
    """One call, bound, and what the host does after it."""

    component: str
    run: BoundCall
    ring_writes: tuple[tuple[RingClock, tuple[_RingWrite, ...]], ...]
    emitted: Buffer | None
    """The finished picture that this call writes."""


@dataclass(frozen=True)
class _Stage:
    """`prime` or `frame`, bound for one phase of the `replace` states."""

    steps: tuple[_Step, ...]
    values: dict[str, Buffer]


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
        """Frames committed."""
        self.call_seconds: dict[str, list[float]] | None = None
        """Set a dict to collect the seconds of every call by component; None costs nothing."""
        self._runners = runners
        self._inputs = {i.tensor.name: _zeros(i.tensor) for i in program.inputs}
        self._scopes = {
            scope: {i.tensor.name: (i.tensor, self._inputs[i.tensor.name]) for i in program.inputs if i.scope == scope}
            for scope in ("session", "frame")
        }
        self._rings = {ring.name: RingClock(ring) for ring in program.rings}
        self._states = {
            s.tensor.name: tuple(_zeros(s.tensor) for _ in range(1 if s.ring else 2)) for s in program.states
        }
        self._constants: dict[tuple[Any, ...], Buffer] = {}
        self._scratch: dict[tuple[Any, ...], Buffer] = {}
        self._bound: dict[tuple[Any, ...], BoundCall] = {}
        self._bind()
        self.values = self._prime.values
        """What the last stage that ran made, by name; overwritten by the next."""
        self._failed = False
        self._opened = False

    def _bind(self) -> None:
        """Bind `prime`, then `frame` twice: a state written an odd number of times changes its side each frame."""
        writes = _count_writes(self.program.frame, self.program.frame_value)
        if writes != 1:
            raise ProgramError(f"frame: {writes} calls write {self.program.frame_value!r}; a frame makes one picture")
        sides = dict.fromkeys(self._states, 0)
        self._prime = self._bind_stage(self.program.prime, sides)
        self._sides, self._frames = [], []
        for _ in range(2):
            self._sides.append(dict(sides))
            self._frames.append(self._bind_stage(self.program.frame, sides))
        self._phase = 0
        # The first ring keeps the clock; without one, the pictures do.
        keeper = {s.tensor.name for s in self.program.states if s.ring == next(iter(self._rings), "")}
        self._clock_names = keeper or {self.program.frame_value}
        self._primed_clock = sum(_writes_any(call, self._clock_names) for call in self.program.prime)
        self._needs_session = any(
            source.kind == "input" and self.program.input(source.name).scope == "session"
            for call in self.program.frame
            for source in call.inputs.values()
        )

    def _bind_stage(self, calls: tuple[Call, ...], sides: dict[str, int]) -> _Stage:
        """Bind one stage from the given sides of the states; leaves `sides` as they are after it."""
        values: dict[str, Buffer] = {}
        steps = tuple(self._bind_call(call, sides, values) for call in calls)
        return _Stage(steps, values)

    def _bind_call(self, call: Call, sides: dict[str, int], values: dict[str, Buffer]) -> _Step:
        spec = self.program.component(call.component)
        inputs = {t.name: self._find_source(call.inputs[t.name], t, sides, values) for t in spec.inputs}
        sinks = [(sink.kind, sink.name) for sink in call.outputs.values()]
        if len(set(sinks)) < len(sinks):
            raise ProgramError(f"{call.component}: writes one of {sinks} twice in one call; keep one of them")
        read = {_address(values[s.name]) for s in call.inputs.values() if s.kind == "value"}
        outputs = {t.name: self._find_sink(spec, t, call.outputs.get(t.name), sides, read) for t in spec.outputs}
        slices: dict[str, list[_RingWrite]] = {}
        for name, sink in call.outputs.items():
            if sink.kind == "value":
                values[sink.name] = outputs[name]
                continue
            state = self.program.state(sink.name)
            if state.ring is None:
                sides[sink.name] = 1 - sides[sink.name]
            else:
                slices.setdefault(state.ring, []).append(_RingWrite(outputs[name], self._slots(state)))
        writes = tuple((self._rings[ring], tuple(found)) for ring, found in slices.items())
        emits = ("value", self.program.frame_value) in sinks
        run = self._bind_once(call.component, inputs, outputs)
        return _Step(call.component, run, writes, values[self.program.frame_value] if emits else None)

    def _bind_once(self, component: str, inputs: dict[str, Buffer], outputs: dict[str, Buffer]) -> BoundCall:
        """Calls that read and write the same memory are one bound call."""
        key = (component, *map(_address, inputs.values()), *map(_address, outputs.values()))
        if key not in self._bound:
            self._bound[key] = self._runners[component].bind(inputs, outputs)
        return self._bound[key]

    def _find_source(
        self, source: Source, tensor: TensorSpec, sides: dict[str, int], values: dict[str, Buffer]
    ) -> Buffer:
        match source.kind:
            case "input":
                buffer = self._inputs[source.name]
            case "state":
                buffer = self._states[source.name][sides[source.name]]
            case "value":
                buffer = values[source.name]
            case "age":
                buffer = self._rings[source.name].ages
            case "constant":
                buffer = self._constants.setdefault((source.name, tensor.dtype), _zeros(tensor))
                buffer[...] = self.program.constants[source.name]
        return buffer if source.at is None or source.kind in {"age", "constant"} else buffer[:, source.at]

    def _find_sink(
        self, spec: ComponentSpec, tensor: TensorSpec, sink: Sink | None, sides: dict[str, int], read: set[int]
    ) -> Buffer:
        """The other side of a `replace` state, a value's buffer that the call does not read, or scratch."""
        if sink is None or (sink.kind == "state" and self.program.state(sink.name).ring is not None):
            return self._buffer(("scratch", spec.name, tensor.name), tensor)
        if sink.kind == "state":
            return self._states[sink.name][1 - sides[sink.name]]
        buffer = self._buffer(("value", sink.name, 0), tensor)
        return self._buffer(("value", sink.name, 1), tensor) if _address(buffer) in read else buffer

    def _buffer(self, key: tuple[Any, ...], tensor: TensorSpec) -> Buffer:
        """One buffer a key, shape and dtype."""
        return self._scratch.setdefault((*key, tensor.shape, tensor.dtype), _zeros(tensor))

    def _slots(self, state: StateSpec) -> tuple[Buffer, ...]:
        """A view of each slot of a ring state."""
        (ring,) = self._states[state.tensor.name]
        return tuple(np.moveaxis(ring, state.slot_axis or 0, 0))

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
        self._reset()
        frames: list[Buffer] = []
        self._run(self._prime, frames)
        self.clock = self._primed_clock
        self._opened = True
        return frames

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
        self._take("frame", frame_inputs)
        stage = self._frames[self._phase]
        self._run(stage)
        self._phase = 1 - self._phase
        self.clock += 1
        return stage.values[self.program.frame_value]

    def read_state(self, name: str) -> Buffer:
        """A copy of the state as the next call would read it; a ring as its whole buffer."""
        return self._current(name).copy()

    def write_state(self, name: str, array: Buffer) -> None:
        """Set the state that the next call reads; a ring as its whole buffer.

        Raises:
            RunnerError: there is no such state, or it is of another shape or dtype.
        """
        current = self._current(name)
        check_tensor("rollout", self.program.state(name).tensor, array)
        np.copyto(current, array)

    def seek(self, clock: int) -> None:
        """Set the clock; the rings' slots and ages become those after `clock` frames, the buffers stay.

        Raises:
            RunnerError: the clock is negative.
        """
        if clock < 0:
            raise RunnerError(f"rollout: cannot seek to frame {clock}; give 0 or more")
        for name, ring in self._rings.items():
            members = {s.tensor.name for s in self.program.states if s.ring == name}
            primed = sum(_writes_any(call, members) for call in self.program.prime)
            each = sum(_writes_any(call, members) for call in self.program.frame)
            ring.seek(max(0, primed + (clock - self._primed_clock) * each))
        self.clock = clock

    def _current(self, name: str) -> Buffer:
        if name not in self._states:
            raise RunnerError(f"rollout: no state {name!r}; there are {sorted(self._states)}")
        return self._states[name][self._sides[self._phase][name]]

    def _take(self, scope: str, given: Mapping[str, Buffer]) -> None:
        """Copy the outside's inputs in."""
        declared = self._scopes[scope]
        if given.keys() != declared.keys():
            check_names("rollout", f"{scope} inputs", given, declared)
        for name, (tensor, buffer) in declared.items():
            array = given[name]
            if array.shape != buffer.shape or array.dtype != buffer.dtype:
                check_tensor("rollout", tensor, array)
            np.copyto(buffer, array)

    def _reset(self) -> None:
        """States to zero; whatever a call must write first to NaN."""
        for buffer in self._scratch.values():
            if not np.issubdtype(buffer.dtype, np.integer) and buffer.dtype != np.bool_:
                buffer.fill(np.nan)
        for buffers in self._states.values():
            for buffer in buffers:
                buffer.fill(0)
        for ring in self._rings.values():
            ring.seek(0)
        self._phase = self.clock = 0

    def _run(self, stage: _Stage, emitted: list[Buffer] | None = None) -> None:
        """Run every call of a stage; copies of the pictures are added to `emitted`."""
        timed = self.call_seconds
        self._failed = True
        for step in stage.steps:
            if timed is None:
                step.run()
            else:
                start = time.perf_counter()
                step.run()
                timed.setdefault(step.component, []).append(time.perf_counter() - start)
            for clock, writes in step.ring_writes:
                slot = clock.spec.slot(clock.committed)
                for write in writes:
                    np.copyto(write.slots[slot], write.made)
                clock.advance()
            if emitted is not None and step.emitted is not None:
                emitted.append(step.emitted.copy())
        self.values = stage.values
        self._failed = False


def _zeros(tensor: TensorSpec) -> Buffer:
    return aligned_zeros(tensor.shape, numpy_dtype(tensor.dtype))


def _address(array: Buffer) -> int:
    return int(array.__array_interface__["data"][0])


def _writes_any(call: Call, names: set[str]) -> bool:
    return any(sink.name in names for sink in call.outputs.values())


def _count_writes(calls: tuple[Call, ...], value: str) -> int:
    return sum(sink == Sink(kind="value", name=value) for call in calls for sink in call.outputs.values())
