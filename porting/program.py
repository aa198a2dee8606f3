"""The frame program: which component runs when, what feeds what, what is kept. Data, not code.

`prime` runs once a session, `frame` once a frame. Everything is static: shapes, calls, their order. It knows nothing of
models or runtimes; `rollout` executes it on named buffers, and `Program` refuses one that could not run.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from porting.tensor_spec import Model, TensorSpec

NAME = re.compile(r"[a-z][a-z0-9_]*")


class ComponentSpec(Model):
    """One exportable graph: its inputs and outputs, in the graph's own order."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)


class InputSpec(Model):
    """What the world outside supplies: `session` inputs before `prime`, `frame` inputs before every frame."""

    tensor: TensorSpec
    scope: Literal["session", "frame"]
    kind: Literal["context", "action", "noise", "conditioning"]
    """What it is to a reader: real frames that open a session, an action, recorded standard normal noise, or what else
    a session is conditioned on: a prompt's embedding, a camera, a goal."""


class RingSpec(Model):
    """A clock that the states of one ring share: `window` slots, the first `sink` frames never evicted.

    After f frames were committed, frame f goes to slot f while f < sink, then to
    sink + (f - sink) % (window - sink). A slot's age is the number of frames since it was written, counted from the
    frame now being made: 1 is the frame before, 0 a slot that was never written.
    """

    name: str
    window: Annotated[int, Field(gt=0)]
    sink: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _sink_leaves_room(self) -> Self:
        if self.sink >= self.window:
            raise ValueError(f"ring {self.name}: sink {self.sink} fills window {self.window}")
        return self

    def slot(self, frame: int) -> int:
        """Where frame number `frame`, counted from 0, is written."""
        if frame < self.sink:
            return frame
        return self.sink + (frame - self.sink) % (self.window - self.sink)


class StateSpec(Model):
    """A tensor that is carried from call to call; zero when a session opens.

    `replace`: a call's output becomes the next call's input. `ring`: a call returns one frame's slice, without the slot
    axis, and the runner writes it into the ring's current slot.
    """

    tensor: TensorSpec
    update: Literal["replace", "ring"]
    ring: str | None = None
    slot_axis: int | None = None

    @model_validator(mode="after")
    def _ring_is_complete(self) -> Self:
        if (self.update == "ring") != (self.ring is not None and self.slot_axis is not None):
            raise ValueError(f"state {self.tensor.name}: a ring needs `ring` and `slot_axis`, `replace` neither")
        return self

    @property
    def slice_shape(self) -> tuple[int, ...]:
        """Shape of what a call writes: the whole tensor, or one slot of a ring."""
        shape = self.tensor.shape
        return shape if self.slot_axis is None else shape[: self.slot_axis] + shape[self.slot_axis + 1 :]


class Source(Model):
    """Where a component's input comes from."""

    kind: Literal["input", "state", "age", "value", "constant"]
    name: str
    """An input, state, ring (`age`: its slots' ages, int64 (window,)), earlier value, or constant."""
    at: Annotated[int, Field(ge=0)] | None = None
    """Frame of a clip: index on axis 1, which is dropped. The axis before it must be 1."""


class Sink(Model):
    """Where a component's output goes; an output without a sink is computed and dropped."""

    kind: Literal["state", "value"]
    name: str


class Call(Model):
    """One run of a component."""

    component: str
    inputs: dict[str, Source]
    outputs: dict[str, Sink]


class Program(Model):
    """A world model's whole host side."""

    version: Literal[1] = 1
    components: tuple[ComponentSpec, ...]
    inputs: tuple[InputSpec, ...]
    rings: tuple[RingSpec, ...] = ()
    states: tuple[StateSpec, ...]
    constants: dict[str, tuple[float, ...]] = {}
    """Float values of shape (n,), cast to the dtype of the input that they feed."""
    prime: tuple[Call, ...]
    frame: tuple[Call, ...] = Field(min_length=1)
    frame_value: str = "frame"
    """The value that is a finished picture, (1, 3, H, W) in [0, 1]; each call that writes it emits one."""
    pictures_per_frame: Annotated[int, Field(gt=0)] = 1
    """Moments that the value shows, one below the other, oldest first: more than 1 for worlds that are made in chunks.
    Parity then compares chunk by chunk; a rate counts pictures, and an action waits for its chunk."""

    def component(self, name: str) -> ComponentSpec:
        """The component of that name; KeyError when there is none."""
        return {c.name: c for c in self.components}[name]

    def state(self, name: str) -> StateSpec:
        """The state of that name; KeyError when there is none."""
        return {s.tensor.name: s for s in self.states}[name]

    def ring(self, name: str) -> RingSpec:
        """The ring of that name; KeyError when there is none."""
        return {r.name: r for r in self.rings}[name]

    def input(self, name: str) -> InputSpec:
        """The outside input of that name; KeyError when there is none."""
        return {i.tensor.name: i for i in self.inputs}[name]

    def calls(self) -> Iterator[tuple[str, int, Call]]:
        """("prime" or "frame", index, call), in the order of execution."""
        yield from (("prime", index, call) for index, call in enumerate(self.prime))
        yield from (("frame", index, call) for index, call in enumerate(self.frame))

    @property
    def warmup_frames(self) -> int:
        """Frames after which every ring is full: the longest window."""
        return max((ring.window for ring in self.rings), default=1)

    @property
    def state_bytes(self) -> int:
        """Bytes of one session's states, one copy of each."""
        return sum(state.tensor.nbytes for state in self.states)

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        problems = list(_find_problems(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _find_problems(program: Program) -> Iterator[str]:
    """Every reason why the program could not run, each naming the call."""
    for kind, names in (
        ("component", [c.name for c in program.components]),
        ("input", [i.tensor.name for i in program.inputs]),
        ("ring", [r.name for r in program.rings]),
        ("state", [s.tensor.name for s in program.states]),
    ):
        yield from (f"{kind} name {n!r} is not {NAME.pattern}" for n in names if not NAME.fullmatch(n))
        yield from (f"{kind} {n!r} is declared twice" for n in sorted(set(names)) if names.count(n) > 1)
    ring_names = {r.name for r in program.rings}
    for state in program.states:
        name = state.tensor.name
        if state.ring is not None and state.ring not in ring_names:
            yield f"state {name!r} belongs to no declared ring: {state.ring!r}"
        elif state.ring is not None and state.slot_axis is not None:
            window = program.ring(state.ring).window
            if not state.slot_axis < len(state.tensor.shape) or state.tensor.shape[state.slot_axis] != window:
                yield f"state {name!r}: axis {state.slot_axis} of {state.tensor.shape} is not the window {window}"
    values: dict[str, TensorSpec] = {}
    for stage, index, call in program.calls():
        where = f"{stage}[{index}] {call.component}"
        if call.component not in {c.name for c in program.components}:
            yield f"{where}: no such component"
            continue
        if stage == "frame" and index == 0:
            values = {}
        yield from _find_call_problems(program, stage, where, call, values)
    picture = values.get(program.frame_value)
    if picture is not None and picture.shape[-2:-1] and picture.shape[-2] % program.pictures_per_frame:
        yield f"{picture} does not hold {program.pictures_per_frame} pictures of one height"
    if not any(sink.name == program.frame_value for c in program.frame for sink in c.outputs.values()):
        yield f"no call of `frame` makes {program.frame_value!r}"


def _find_call_problems(
    program: Program, stage: str, where: str, call: Call, values: dict[str, TensorSpec]
) -> Iterator[str]:
    """Problems of one call; adds what it makes to `values`."""
    component = program.component(call.component)
    declared = {t.name: t for t in component.inputs}
    if call.inputs.keys() != declared.keys():
        yield f"{where}: inputs {sorted(call.inputs)} are not the component's {sorted(declared)}"
    for name in call.inputs.keys() & declared.keys():
        found = _shape_of(program, stage, call.inputs[name], values, declared[name])
        if isinstance(found, str):
            yield f"{where}.{name}: {found}"
        elif found != (declared[name].shape, declared[name].dtype):
            yield f"{where}.{name}: gets {found}, needs {declared[name]}"
    made = {t.name: t for t in component.outputs}
    written_rings: dict[str, set[str]] = {}
    for name, sink in call.outputs.items():
        if name not in made:
            yield f"{where}: has no output {name!r}"
        elif sink.kind == "value":
            values[sink.name] = made[name]
        elif sink.name not in {s.tensor.name for s in program.states}:
            yield f"{where}.{name}: no such state {sink.name!r}"
        else:
            state = program.state(sink.name)
            if (made[name].shape, made[name].dtype) != (state.slice_shape, state.tensor.dtype):
                yield f"{where}.{name}: {made[name]} does not fit state {state.tensor} ({state.update})"
            if state.ring is not None:
                written_rings.setdefault(state.ring, set()).add(sink.name)
    for ring, written in written_rings.items():
        members = {s.tensor.name for s in program.states if s.ring == ring}
        if written != members:
            yield f"{where}: writes {sorted(written)} of ring {ring!r} but not {sorted(members - written)}"


def _shape_of(
    program: Program, stage: str, source: Source, values: dict[str, TensorSpec], wanted: TensorSpec
) -> tuple[tuple[int, ...], str] | str:
    """(shape, dtype) that a source supplies, or why it supplies nothing."""
    try:
        match source.kind:
            case "input":
                declared = program.input(source.name)
                if stage == "prime" and declared.scope == "frame":
                    return f"frame input {source.name!r} does not exist while priming"
                tensor = declared.tensor
            case "state":
                tensor = program.state(source.name).tensor
            case "age":
                return (program.ring(source.name).window,), "int64"
            case "value":
                tensor = values[source.name]
            case "constant":
                return (len(program.constants[source.name]),), wanted.dtype
    except KeyError:
        return f"no such {source.kind} {source.name!r} at this point"
    if source.at is None:
        return tensor.shape, tensor.dtype
    if len(tensor.shape) < 2 or tensor.shape[0] != 1 or source.at >= tensor.shape[1]:
        return f"{tensor} has no frame {source.at}"
    return (tensor.shape[0], *tensor.shape[2:]), tensor.dtype
