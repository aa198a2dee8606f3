"""A world of two components and four numbers, its runners as numpy functions, and a simulation that keeps lists."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.runners.base import BoundCall, Buffer
from porting.tensor_spec import DType, TensorSpec

WIDTH = 3
CONTEXT = 2


class FunctionRunner:
    """A component as a numpy function of its inputs; keeps what it was bound to and what it saw."""

    backend = "function"

    def __init__(self, function: Callable[..., dict[str, Any]]) -> None:
        self.function = function
        self.bound: list[tuple[dict[str, Buffer], dict[str, Buffer]]] = []
        self.seen: list[dict[str, Buffer]] = []

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        self.bound.append((dict(inputs), dict(outputs)))

        def call() -> None:
            self.seen.append({name: array.copy() for name, array in inputs.items()})
            for name, value in self.function(**self.seen[-1]).items():
                outputs[name][...] = value

        return call

    def close(self) -> None:
        pass


def tensor(name: str, *shape: int, dtype: DType = "float32") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype)


def state(name: str) -> Source:
    return Source(kind="state", name=name)


def value(name: str) -> Source:
    return Source(kind="value", name=name)


def make_program(window: int, sink: int, commits: int = 1, dtype: DType = "float32") -> Program:
    """Two calls of `mind` a frame, of which `commits` commit; `eye` reads the recurrent state after it was written."""
    mind = ComponentSpec(
        name="mind",
        inputs=(
            tensor("action", 1, WIDTH, dtype=dtype),
            tensor("level", 1, dtype=dtype),
            tensor("recurrent", 1, WIDTH, dtype=dtype),
            tensor("age", window, dtype="int64"),
            tensor("memory", 1, window, WIDTH, dtype=dtype),
        ),
        outputs=(tensor("next_recurrent", 1, WIDTH, dtype=dtype), tensor("new_memory", 1, WIDTH, dtype=dtype)),
    )
    eye = ComponentSpec(
        name="eye",
        inputs=(tensor("recurrent", 1, WIDTH, dtype=dtype),),
        outputs=(tensor("frame", 1, WIDTH, 1, 1, dtype=dtype), tensor("unused", 1, dtype=dtype)),
    )

    def think(action: Source, level: str, commit: bool) -> Call:
        inputs = {
            "action": action,
            "level": Source(kind="constant", name=level),
            "recurrent": state("recurrent"),
            "age": Source(kind="age", name="ring"),
            "memory": state("memory"),
        }
        sinks = {n: Sink(kind="state", name=s) for n, s in (("next_recurrent", "recurrent"), ("new_memory", "memory"))}
        return Call(component="mind", inputs=inputs, outputs=sinks if commit else {})

    look = Call(
        component="eye", inputs={"recurrent": state("recurrent")}, outputs={"frame": Sink(kind="value", name="frame")}
    )
    context = [Source(kind="input", name="context", at=t) for t in range(CONTEXT)]
    action = Source(kind="input", name="action")
    return Program(
        components=(mind, eye),
        inputs=(
            InputSpec(tensor=tensor("context", 1, CONTEXT, WIDTH, dtype=dtype), scope="session", kind="context"),
            InputSpec(tensor=tensor("action", 1, WIDTH, dtype=dtype), scope="frame", kind="action"),
        ),
        rings=(RingSpec(name="ring", window=window, sink=sink),),
        states=(
            StateSpec(tensor=tensor("recurrent", 1, WIDTH, dtype=dtype), update="replace"),
            StateSpec(tensor=tensor("memory", 1, window, WIDTH, dtype=dtype), update="ring", ring="ring", slot_axis=1),
        ),
        constants={"high": (0.5,), "low": (0.25,)},
        prime=tuple(call for source in context for call in (think(source, "low", True), look)),
        frame=(think(action, "high", commits == 2), think(action, "low", commits > 0), look),
    )


def mind_function(
    action: Buffer, level: Buffer, recurrent: Buffer, age: Buffer, memory: Buffer
) -> dict[str, Buffer | float]:
    """Every input matters: each slot is weighted by its age."""
    mixed = 0.5 * recurrent + action * level + 0.01 * (memory * age[None, :, None]).sum(axis=1) % 7.0
    return {"next_recurrent": mixed, "new_memory": mixed + 1.0}


def eye_function(recurrent: Buffer) -> dict[str, Buffer | float]:
    return {"frame": recurrent[..., None, None], "unused": 1.0}


def make_runners() -> dict[str, FunctionRunner]:
    return {"mind": FunctionRunner(mind_function), "eye": FunctionRunner(eye_function)}


def draw(program: Program, seed: int = 0) -> tuple[dict[str, Buffer], Iterator[dict[str, Buffer]]]:
    """Session inputs, and frame inputs for ever."""
    random = np.random.default_rng(seed)

    def some(scope: str) -> dict[str, Buffer]:
        specs = [i.tensor for i in program.inputs if i.scope == scope]
        return {t.name: random.standard_normal(t.shape).astype(t.dtype) for t in specs}

    return some("session"), iter(lambda: some("frame"), None)


class Simulation:
    """The same world with nothing but lists: every frame that was ever committed is kept."""

    def __init__(self, window: int, sink: int, commits: int) -> None:
        self.window, self.sink, self.commits = window, sink, commits
        self.recurrent = np.zeros((1, WIDTH), np.float32)
        self.committed: list[Buffer] = []

    def contents(self) -> tuple[Buffer, Buffer]:
        """(ages, memory): replay every write in order."""
        last: dict[int, int] = {}
        for frame in range(len(self.committed)):
            slot = frame if frame < self.sink else self.sink + (frame - self.sink) % (self.window - self.sink)
            last[slot] = frame
        ages, memory = np.zeros(self.window, np.int64), np.zeros((1, self.window, WIDTH), np.float32)
        for slot, frame in last.items():
            ages[slot], memory[:, slot] = len(self.committed) - frame, self.committed[frame]
        return ages, memory

    def think(self, action: Buffer, level: float, commit: bool) -> None:
        ages, memory = self.contents()
        made = mind_function(action, np.array([level], np.float32), self.recurrent, ages, memory)
        if commit:
            self.recurrent = np.asarray(made["next_recurrent"], np.float32)
            self.committed.append(np.asarray(made["new_memory"], np.float32))

    def step(self, action: Buffer) -> Buffer:
        self.think(action, 0.5, self.commits == 2)
        self.think(action, 0.25, self.commits > 0)
        return self.recurrent[..., None, None]
