"""A program's buffers, and its calls bound to them before the first frame.

A `replace` state has two buffers and every call is bound for both phases; a ring has one, and a view of each slot; an
index or a constant is a view. Calls that read and write the same memory are bound once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from porting.errors import ProgramError
from porting.program import Call, ComponentSpec, Program, Sink, Source, StateSpec
from porting.rollout.ring import RingClock
from porting.runners.base import BoundCall, Buffer, Runner, aligned_zeros, numpy_dtype
from porting.tensor_spec import TensorSpec


@dataclass(frozen=True)
class RingWrite:
    """One slice on its way into a ring: the call's output, and a view of every slot."""

    made: Buffer
    slots: tuple[Buffer, ...]


@dataclass(frozen=True)
class Step:
    """One call, bound, and what the host does after it."""

    component: str
    run: BoundCall
    ring_writes: tuple[tuple[RingClock, tuple[RingWrite, ...]], ...]
    emitted: Buffer | None
    """The finished picture that this call writes."""


@dataclass(frozen=True)
class Stage:
    """`prime` or `frame`, bound for one phase of the `replace` states."""

    steps: tuple[Step, ...]
    values: dict[str, Buffer]
    sides: dict[str, int]
    """Which buffer of each state holds its value when the stage begins."""


class Binding:
    """Every buffer of one session, and the bound stages."""

    def __init__(self, program: Program, runners: Mapping[str, Runner]) -> None:
        """Allocate and bind.

        Raises:
            RunnerError: a runner refuses a buffer.
            ProgramError: a frame makes more than one picture, or a call writes one thing twice.
        """
        self._program = program
        self._runners = runners
        self.inputs = {i.tensor.name: _zeros(i.tensor) for i in program.inputs}
        self.rings = {ring.name: RingClock(ring) for ring in program.rings}
        self.states = {
            s.tensor.name: tuple(_zeros(s.tensor) for _ in range(1 if s.ring else 2)) for s in program.states
        }
        self._constants: dict[tuple[Any, ...], Buffer] = {}
        self._scratch: dict[tuple[Any, ...], Buffer] = {}
        self._bound: dict[tuple[Any, ...], BoundCall] = {}
        picture = Sink(kind="value", name=program.frame_value)
        writes = sum(sink == picture for call in program.frame for sink in call.outputs.values())
        if writes != 1:
            raise ProgramError(f"frame: {writes} calls write {picture.name!r}; let a frame make one picture")
        sides = dict.fromkeys(self.states, 0)
        self.prime = self._bind_stage(program.prime, sides)
        # A state that a frame writes an odd number of times has changed its side when the next frame begins.
        self.frames = (self._bind_stage(program.frame, sides), self._bind_stage(program.frame, sides))

    def reset(self) -> None:
        """States and rings to zero; whatever a call must write before it is read to NaN, so that absence is seen."""
        for buffer in self._scratch.values():
            if buffer.dtype.kind not in "iub":
                buffer.fill(np.nan)
        for buffers in self.states.values():
            for buffer in buffers:
                buffer.fill(0)
        for ring in self.rings.values():
            ring.seek(0)

    def _bind_stage(self, calls: tuple[Call, ...], sides: dict[str, int]) -> Stage:
        """Bind one stage from the given sides of the states; leaves `sides` as they are after it."""
        values: dict[str, Buffer] = {}
        before = dict(sides)
        steps = tuple(self._bind_call(call, sides, values) for call in calls)
        return Stage(steps, values, before)

    def _bind_call(self, call: Call, sides: dict[str, int], values: dict[str, Buffer]) -> Step:
        spec = self._program.component(call.component)
        sinks = [(sink.kind, sink.name) for sink in call.outputs.values()]
        if len(set(sinks)) < len(sinks):
            raise ProgramError(f"{call.component}: one call writes something twice: {sinks}; keep one of them")
        inputs = {t.name: self._find_source(call.inputs[t.name], t, sides, values) for t in spec.inputs}
        read = {address(values[s.name]) for s in call.inputs.values() if s.kind == "value"}
        outputs = {t.name: self._find_sink(spec, t, call.outputs.get(t.name), sides, read) for t in spec.outputs}
        slices: dict[str, list[RingWrite]] = {}
        for name, sink in call.outputs.items():
            if sink.kind == "value":
                values[sink.name] = outputs[name]
                continue
            state = self._program.state(sink.name)
            if state.ring is None:
                sides[sink.name] = 1 - sides[sink.name]
            else:
                slices.setdefault(state.ring, []).append(RingWrite(outputs[name], self._slots(state)))
        writes = tuple((self.rings[ring], tuple(found)) for ring, found in slices.items())
        emits = ("value", self._program.frame_value) in sinks
        run = self._bind_once(call.component, inputs, outputs)
        return Step(call.component, run, writes, values[self._program.frame_value] if emits else None)

    def _bind_once(self, component: str, inputs: dict[str, Buffer], outputs: dict[str, Buffer]) -> BoundCall:
        key = (component, *map(address, inputs.values()), *map(address, outputs.values()))
        if key not in self._bound:
            self._bound[key] = self._runners[component].bind(inputs, outputs)
        return self._bound[key]

    def _find_source(
        self, source: Source, tensor: TensorSpec, sides: dict[str, int], values: dict[str, Buffer]
    ) -> Buffer:
        match source.kind:
            case "age":
                return self.rings[source.name].ages
            case "constant":
                return self._constant(source.name, tensor)
            case "input":
                buffer = self.inputs[source.name]
            case "state":
                buffers = self.states[source.name]
                buffer = buffers[sides[source.name]]
            case "value":
                buffer = values[source.name]
        return buffer if source.at is None else buffer[:, source.at]

    def _constant(self, name: str, tensor: TensorSpec) -> Buffer:
        key = (name, tensor.dtype)
        if key not in self._constants:
            self._constants[key] = _zeros(tensor)
            self._constants[key][...] = self._program.constants[name]
        return self._constants[key]

    def _find_sink(
        self, spec: ComponentSpec, tensor: TensorSpec, sink: Sink | None, sides: dict[str, int], read: set[int]
    ) -> Buffer:
        """The other side of a `replace` state, a value's buffer that the call does not read, or scratch."""
        if sink is None or (sink.kind == "state" and self._program.state(sink.name).ring is not None):
            return self._buffer(("scratch", spec.name, tensor.name), tensor)
        if sink.kind == "state":
            return self.states[sink.name][1 - sides[sink.name]]
        buffer = self._buffer(("value", sink.name, 0), tensor)
        return self._buffer(("value", sink.name, 1), tensor) if address(buffer) in read else buffer

    def _buffer(self, key: tuple[Any, ...], tensor: TensorSpec) -> Buffer:
        """One buffer a key, shape and dtype."""
        full = (*key, tensor.shape, tensor.dtype)
        if full not in self._scratch:
            self._scratch[full] = _zeros(tensor)
        return self._scratch[full]

    def _slots(self, state: StateSpec) -> tuple[Buffer, ...]:
        """A view of each slot of a ring state."""
        (ring,) = self.states[state.tensor.name]
        return tuple(np.moveaxis(ring, state.slot_axis or 0, 0))


def address(array: Buffer) -> int:
    """Where the array begins in memory."""
    return int(array.__array_interface__["data"][0])


def _zeros(tensor: TensorSpec) -> Buffer:
    return aligned_zeros(tensor.shape, numpy_dtype(tensor.dtype))
