"""What a component is given while its contract is proved: plausible inputs, and its states kept as a host keeps them.

It plays the part of the host for one component alone: the calls of the other components are not made, and what they
would have supplied is drawn at random from a fixed seed. Rings turn by `RingSpec.slot`; a `replace` state has two
buffers that change places.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from porting.errors import ExportError
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Source, StateSpec
from porting.tensor_spec import TensorSpec

Array = npt.NDArray[np.generic]


@dataclass
class _Clock:
    """One ring: which frame each slot holds, -1 for none."""

    spec: RingSpec
    committed: int = 0
    frames: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.frames = np.full(self.spec.window, -1, np.int64)

    def ages(self) -> npt.NDArray[np.int64]:
        """Frames since each slot was written, 1 for the frame before this one, 0 for a slot never written."""
        return np.where(self.frames < 0, 0, self.committed - self.frames)

    def advance(self) -> None:
        self.frames[self.spec.slot(self.committed)] = self.committed
        self.committed += 1


class Feed:
    """One session of one component."""

    def __init__(self, program: Program, component: str, seed: int) -> None:
        self._program = program
        self._spec = program.component(component)
        self._generator = np.random.default_rng(seed)
        self._clocks = {ring.name: _Clock(ring) for ring in program.rings}
        self.states = {state.tensor.name: _zeros(state.tensor) for state in self._touched()}
        self._spares = {s.tensor.name: _zeros(s.tensor) for s in self._touched() if s.update == "replace"}
        self._given: dict[str, Array] = {}
        """Inputs and values of the stage that is running."""
        self._foreign = self.states.keys() - written_states(program, component)

    def _touched(self) -> Iterator[StateSpec]:
        names = read_states(self._program, self._spec.name) | written_states(self._program, self._spec.name)
        return (state for state in self._program.states if state.tensor.name in names)

    def begin_stage(self) -> None:
        """Forget the last stage's inputs and values; draw anew the states that only other components write."""
        self._given.clear()
        for name in sorted(self._foreign):
            self.states[name] = self._draw(self._program.state(name).tensor)

    def inputs_of(self, call: Call) -> dict[str, Array]:
        """Values of every input of the call, C-contiguous; states are the buffers themselves."""
        return {tensor.name: self._value_of(call.inputs[tensor.name], tensor) for tensor in self._spec.inputs}

    def output_buffers(self, call: Call) -> dict[str, Array]:
        """Where the call's outputs go, full of NaN: the other buffer of a `replace` state, or a new array."""
        buffers = {}
        for tensor in self._spec.outputs:
            sink = call.outputs.get(tensor.name)
            spare = self._spares.get(sink.name) if sink is not None and sink.kind == "state" else None
            buffers[tensor.name] = _zeros(tensor) if spare is None else spare
            _spoil(buffers[tensor.name])
        return buffers

    def commit(self, call: Call, outputs: dict[str, Array]) -> None:
        """Take the outputs as the host would: change places, write slots, keep values."""
        rings: set[str] = set()
        for name, sink in call.outputs.items():
            if sink.kind == "value":
                self._given[f"value {sink.name}"] = outputs[name]
                continue
            state = self._program.state(sink.name)
            if state.ring is None or state.slot_axis is None:
                self._spares[sink.name], self.states[sink.name] = self.states[sink.name], outputs[name]
            else:
                clock = self._clocks[state.ring]
                slot = clock.spec.slot(clock.committed)
                self.states[sink.name][(slice(None),) * state.slot_axis + (slot,)] = outputs[name]
                rings.add(state.ring)
        for ring in rings:
            self._clocks[ring].advance()

    def _value_of(self, source: Source, tensor: TensorSpec) -> Array:
        match source.kind:
            case "state":
                value = self.states[source.name]
            case "age":
                return self._clocks[source.name].ages()
            case "constant":
                return np.asarray(self._program.constants[source.name], numpy_dtype(tensor))
            case _:
                value = self._outside(source)
        return value if source.at is None else np.ascontiguousarray(value[:, source.at])

    def _outside(self, source: Source) -> Array:
        """An input, or a value that this component or another one made; drawn once a stage."""
        key = f"{source.kind} {source.name}"
        if key not in self._given:
            if source.kind == "input":
                self._given[key] = self._draw_input(self._program.input(source.name))
            else:
                self._given[key] = self._draw(_find_value(self._program, source.name))
        return self._given[key]

    def _draw_input(self, declared: InputSpec) -> Array:
        """Pictures in [0, 1], actions in [-1, 1]; noise and conditioning standard normal."""
        tensor = declared.tensor
        if declared.kind in {"noise", "conditioning"} or not _is_float(tensor):
            return self._draw(tensor)
        low = 0.0 if declared.kind == "context" else -1.0
        return self._generator.uniform(low, 1.0, tensor.shape).astype(numpy_dtype(tensor))

    def _draw(self, tensor: TensorSpec) -> Array:
        if _is_float(tensor):
            return self._generator.standard_normal(tensor.shape).astype(numpy_dtype(tensor))
        return self._generator.integers(0, 2, tensor.shape).astype(numpy_dtype(tensor))


def calls_of(program: Program, component: str) -> tuple[list[Call], list[Call]]:
    """The component's calls while priming, and in every frame.

    Raises:
        ExportError: the program never calls it.
    """
    prime, frame = ([c for c in stage if c.component == component] for stage in (program.prime, program.frame))
    if not prime and not frame:
        raise ExportError(f"{component}: is called by neither `prime` nor `frame`; drop it or call it")
    return prime, frame


def read_states(program: Program, component: str) -> set[str]:
    """States that feed an input of the component."""
    calls = [call for _, _, call in program.calls() if call.component == component]
    return {source.name for call in calls for source in call.inputs.values() if source.kind == "state"}


def written_states(program: Program, component: str) -> set[str]:
    """States that an output of the component goes to."""
    calls = [call for _, _, call in program.calls() if call.component == component]
    return {sink.name for call in calls for sink in call.outputs.values() if sink.kind == "state"}


def draw_example(program: Program, spec: ComponentSpec, seed: int) -> dict[str, Array]:
    """One set of plausible inputs: those of the component's last kind of call, states random and rings full."""
    prime, frame = calls_of(program, spec.name)
    feed = Feed(program, spec.name, seed)
    for name, state in feed.states.items():
        state[...] = feed._draw(program.state(name).tensor)
    for clock in feed._clocks.values():
        for _ in range(clock.spec.window + 1 + seed % 2):
            clock.advance()
    return feed.inputs_of((frame or prime)[-1])


def numpy_dtype(tensor: TensorSpec) -> np.dtype[np.generic]:
    """numpy's dtype of a tensor.

    Raises:
        ExportError: numpy has none: modules are exported in float32 and compiled to a lower precision later.
    """
    if tensor.dtype == "bfloat16":
        raise ExportError(f"{tensor}: components are exported in float32; choose bf16 when compiling")
    return np.dtype(tensor.dtype)


def _find_value(program: Program, name: str) -> TensorSpec:
    """What a value is, from the call that makes it."""
    for _, _, call in program.calls():
        outputs = {tensor.name: tensor for tensor in program.component(call.component).outputs}
        for output, sink in call.outputs.items():
            if sink.kind == "value" and sink.name == name:
                return outputs[output]
    raise ExportError(f"value {name!r}: no call makes it; a program that validates cannot get here")


def _is_float(tensor: TensorSpec) -> bool:
    return tensor.dtype.startswith("float")


def _zeros(tensor: TensorSpec) -> Array:
    return np.zeros(tensor.shape, numpy_dtype(tensor))


def _spoil(array: Array) -> None:
    """What is not written afterwards must be seen."""
    array.fill(np.nan if array.dtype.kind == "f" else True if array.dtype.kind == "b" else 111)
