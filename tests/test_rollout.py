"""The rollout engine against a simulation that keeps whole histories in Python lists."""

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from porting.errors import ProgramError, RunnerError
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.rollout import RingClock, Rollout
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
        made = mind_function(action, np.float32([level]), self.recurrent, ages, memory)
        if commit:
            self.recurrent = np.asarray(made["next_recurrent"], np.float32)
            self.committed.append(np.asarray(made["new_memory"], np.float32))

    def step(self, action: Buffer) -> Buffer:
        self.think(action, 0.5, self.commits == 2)
        self.think(action, 0.25, self.commits > 0)
        return self.recurrent[..., None, None]


@pytest.mark.parametrize("commits", [1, 2], ids=["odd writes", "even writes"])
@pytest.mark.parametrize(("window", "sink"), [(4, 0), (4, 1), (4, 3), (1, 0), (2, 1), (5, 2), (9, 4)])
def test_a_rollout_is_what_lists_would_make(window: int, sink: int, commits: int) -> None:
    program = make_program(window, sink, commits)
    rollout = Rollout(program, make_runners())
    session, frames = draw(program)
    simulation = Simulation(window, sink, commits)
    primed = rollout.open(session)
    for t in range(CONTEXT):
        simulation.think(session["context"][:, t], 0.25, True)
        np.testing.assert_array_equal(primed[t], simulation.recurrent[..., None, None])
    for number in range(3 * window + 3):
        assert rollout.clock == CONTEXT + number
        inputs = next(frames)
        np.testing.assert_array_equal(rollout.step(inputs), simulation.step(inputs["action"]))
        np.testing.assert_array_equal(rollout.read_state("memory"), simulation.contents()[1])
        np.testing.assert_array_equal(rollout.read_state("recurrent"), simulation.recurrent)


def test_each_call_sees_the_ages_of_its_moment() -> None:
    program, runners = make_program(window=4, sink=1), make_runners()
    rollout = Rollout(program, runners)
    session, frames = draw(program)
    rollout.open(session)
    for _ in range(5):
        rollout.step(next(frames))
    ages = [seen["age"].tolist() for seen in runners["mind"].seen]
    assert ages[:2] == [[0, 0, 0, 0], [1, 0, 0, 0]]  # the two context frames
    assert ages[2] == ages[3] == [2, 1, 0, 0]  # both calls of a frame stand before its commit
    assert ages[-1] == [6, 2, 1, 3]


@pytest.mark.parametrize(("window", "sink"), [(8, 1), (8, 0), (5, 4), (1, 0), (7, 3)])
def test_ages_at_frame_a_million_are_exact(window: int, sink: int) -> None:
    ring = RingSpec(name="ring", window=window, sink=sink)
    sought = RingClock(ring)
    sought.seek(1_000_000)
    expected = [0] * window
    for frame in [*range(sink), *range(1_000_000 - (window - sink), 1_000_000)]:
        expected[ring.slot(frame)] = 1_000_000 - frame
    assert sought.ages.tolist() == expected
    walked = RingClock(ring)
    walked.seek(1_000_000 - 2 * window)
    for _ in range(2 * window):
        walked.advance()
    assert walked.ages.tolist() == expected


def test_seeking_is_walking(window: int = 5, sink: int = 2) -> None:
    walked, sought = (RingClock(RingSpec(name="ring", window=window, sink=sink)) for _ in range(2))
    for committed in range(4 * window):
        sought.seek(committed)
        assert sought.ages.tolist() == walked.ages.tolist()
        walked.advance()


def test_a_rollout_at_frame_a_million_is_the_one_at_a_thousand() -> None:
    """Same states, and clocks that differ by whole turns of the ring: the same frames."""
    program = make_program(window=4, sink=1)
    made = []
    for clock in (1_000, 1_000 + 333_000):
        runners = make_runners()
        runners["mind"].function = lambda **inputs: mind_function(**{**inputs, "age": np.minimum(inputs["age"], 4)})
        rollout = Rollout(program, runners)
        session, frames = draw(program)
        rollout.open(session)
        rollout.write_state("memory", np.ones((1, 4, WIDTH), np.float32))
        rollout.seek(clock)
        made.append([rollout.step(next(frames)).copy() for _ in range(9)])
        assert rollout.clock == clock + 9
    np.testing.assert_array_equal(made[0], made[1])


def test_opening_again_forgets_everything() -> None:
    program = make_program(window=4, sink=1)
    rollout = Rollout(program, make_runners())
    made = []
    for _ in range(2):
        session, frames = draw(program)
        pictures = rollout.open(session)
        assert rollout.clock == CONTEXT
        made.append([*pictures, *(rollout.step(next(frames)).copy() for _ in range(7))])
    np.testing.assert_array_equal(made[0], made[1])


def test_a_written_state_is_what_the_next_call_reads() -> None:
    program, runners = make_program(window=4, sink=1), make_runners()
    rollout = Rollout(program, runners)
    session, frames = draw(program)
    rollout.open(session)
    for number in range(3):  # both phases
        wanted = np.full((1, WIDTH), float(number), np.float32)
        ring = np.full((1, 4, WIDTH), number + 0.5, np.float32)
        rollout.write_state("recurrent", wanted)
        rollout.write_state("memory", ring)
        np.testing.assert_array_equal(rollout.read_state("recurrent"), wanted)
        rollout.step(next(frames))
        np.testing.assert_array_equal(runners["mind"].seen[-2]["recurrent"], wanted)
        np.testing.assert_array_equal(runners["mind"].seen[-2]["memory"], ring)


def test_what_a_runner_does_not_write_is_not_a_number() -> None:
    program, runners = make_program(window=4, sink=1), make_runners()
    runners["eye"].function = lambda recurrent: {"unused": 0.0}
    rollout = Rollout(program, runners)
    session, frames = draw(program)
    assert np.isnan(rollout.open(session)).all()
    assert np.isnan(rollout.step(next(frames))).all()


def test_a_value_that_a_call_reads_and_writes_has_two_buffers() -> None:
    double = ComponentSpec(name="double", inputs=(tensor("x", 1, 2),), outputs=(tensor("y", 1, 2),))
    sink = Sink(kind="value", name="x")
    first = Call(component="double", inputs={"x": Source(kind="input", name="x")}, outputs={"y": sink})
    again = Call(component="double", inputs={"x": value("x")}, outputs={"y": sink})
    last = Call(component="double", inputs={"x": value("x")}, outputs={"y": Sink(kind="value", name="frame")})
    program = Program(
        components=(double,),
        inputs=(InputSpec(tensor=tensor("x", 1, 2), scope="frame", kind="action"),),
        states=(),
        prime=(),
        frame=(first, again, again, last),
    )
    runner = FunctionRunner(lambda x: {"y": 2 * x})
    rollout = Rollout(program, {"double": runner})
    np.testing.assert_array_equal(rollout.step({"x": np.float32([[1, 3]])}), [[16, 48]])
    np.testing.assert_array_equal(rollout.values["x"], [[8, 24]])
    assert rollout.clock == 1
    for inputs, outputs in runner.bound:
        assert not np.may_share_memory(inputs["x"], outputs["y"])


def test_bfloat16_goes_through() -> None:
    program = make_program(window=4, sink=1, dtype="bfloat16")
    rollout = Rollout(program, make_runners())
    rollout.open({"context": np.ones((1, CONTEXT, WIDTH), ml_dtypes.bfloat16)})
    picture = rollout.step({"action": np.ones((1, WIDTH), ml_dtypes.bfloat16)})
    assert picture.dtype == ml_dtypes.bfloat16
    assert np.isfinite(picture.astype(np.float32)).all()


ACTION = np.zeros((1, WIDTH), np.float32)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "lacks ['action']"),
        ({"action": ACTION, "noise": ACTION}, "does not know ['noise']"),
        ({"action": ACTION[0]}, "rollout.action: is (3,) float32; give (1, 3) float32"),
        ({"action": ACTION.astype(np.float64)}, "float64; give (1, 3) float32"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, Buffer], words: str) -> None:
    program = make_program(window=4, sink=1)
    rollout = Rollout(program, make_runners())
    session, frames = draw(program)
    rollout.open(session)
    with pytest.raises(RunnerError) as caught:
        rollout.step(inputs)
    assert words in str(caught.value)
    assert np.isfinite(rollout.step(next(frames))).all()  # nothing was harmed


def test_a_strided_input_is_copied_as_it_reads() -> None:
    program, runners = make_program(window=4, sink=1), make_runners()
    rollout = Rollout(program, runners)
    rollout.open(draw(program)[0])
    wide = np.arange(2 * WIDTH, dtype=np.float32)[None]
    rollout.step({"action": wide[:, ::2]})
    np.testing.assert_array_equal(runners["mind"].seen[-1]["action"], wide[:, ::2])


def test_misuse_is_refused_with_what_to_do() -> None:
    program = make_program(window=4, sink=1)
    rollout = Rollout(program, make_runners())
    session, _ = draw(program)
    with pytest.raises(RunnerError, match="lacks"):
        rollout.open({})
    rollout.open(session)
    with pytest.raises(RunnerError, match=r"no state 'momory'; there are \['memory', 'recurrent'\]"):
        rollout.read_state("momory")
    with pytest.raises(RunnerError, match=r"rollout\.memory: is \(1, 3\)"):
        rollout.write_state("memory", ACTION)
    with pytest.raises(RunnerError, match="cannot seek to frame -1"):
        rollout.seek(-1)


@pytest.mark.parametrize("names", [("mind",), ("mind", "eye", "ear")])
def test_runners_must_be_the_components(names: tuple[str, ...]) -> None:
    with pytest.raises(RunnerError, match="runners"):
        Rollout(make_program(4, 1), {name: FunctionRunner(eye_function) for name in names})


def test_a_call_that_fails_ends_the_session() -> None:
    program, runners = make_program(window=4, sink=1), make_runners()
    rollout = Rollout(program, runners)
    session, frames = draw(program)
    rollout.open(session)

    def fail(**_: Buffer) -> dict[str, Any]:
        raise RunnerError("mind: out of memory; use less")

    runners["mind"].function = fail
    with pytest.raises(RunnerError, match="out of memory"):
        rollout.step(next(frames))
    runners["mind"].function = mind_function
    with pytest.raises(RunnerError, match="open a new session"):
        rollout.step(next(frames))
    rollout.open(session)
    assert np.isfinite(rollout.step(next(frames))).all()


def test_a_frame_with_two_pictures_is_refused() -> None:
    program = make_program(window=4, sink=1)
    twice = program.model_copy(update={"frame": (*program.frame, program.frame[-1])})
    with pytest.raises(ProgramError, match="2 calls write 'frame'"):
        Rollout(twice, make_runners())


def test_two_outputs_into_one_value_are_refused() -> None:
    program = make_program(window=4, sink=1)
    sinks = {name: Sink(kind="value", name="frame") for name in ("frame", "unused")}
    look = program.frame[-1].model_copy(update={"outputs": sinks})
    program = program.model_copy(update={"prime": (*program.prime, look)})
    with pytest.raises(ProgramError, match="something twice"):
        Rollout(program, make_runners())


def test_frames_that_read_session_inputs_need_a_session() -> None:
    program = make_program(window=4, sink=1)
    think = program.frame[1]
    reads = {**think.inputs, "action": Source(kind="input", name="context", at=0)}
    program = program.model_copy(update={"frame": (think.model_copy(update={"inputs": reads}), *program.frame[1:])})
    rollout = Rollout(program, make_runners())
    with pytest.raises(RunnerError, match="open a session"):
        rollout.step({"action": ACTION})


def test_call_seconds_hold_every_call() -> None:
    program = make_program(window=4, sink=1)
    rollout = Rollout(program, make_runners())
    session, frames = draw(program)
    rollout.open(session)
    rollout.call_seconds = {}
    for _ in range(3):
        rollout.step(next(frames))
    assert {name: len(seconds) for name, seconds in rollout.call_seconds.items()} == {"mind": 6, "eye": 3}
    assert all(second >= 0.0 for seconds in rollout.call_seconds.values() for second in seconds)


class IdleRunner:
    """Does nothing at once."""

    backend = "idle"

    def __init__(self) -> None:
        self.addresses: set[int] = set()

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        self.addresses |= {array.ctypes.data for array in (*inputs.values(), *outputs.values())}
        return lambda: None

    def close(self) -> None:
        pass


def test_a_frame_costs_the_host_little_and_keeps_nothing() -> None:
    """Generous: tens of microseconds are usual. Memory must not grow by as much as one state."""
    program = make_program(window=64, sink=1)
    runners = {name: IdleRunner() for name in ("mind", "eye")}
    rollout = Rollout(program, runners)
    session, frames = draw(program)
    rollout.open(session)
    inputs = next(frames)
    rollout.step(inputs)
    times = []
    for _ in range(500):
        start = time.perf_counter()
        rollout.step(inputs)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 300e-6
    gc.collect()
    tracemalloc.start()
    rollout.step(inputs)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in range(500):
        rollout.step(inputs)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    smallest = min(s.tensor.nbytes for s in program.states if s.update == "ring")
    assert after - before < 512
    assert peak - before < max(smallest, 2048)


def test_buffers_stay_where_they_are_and_calls_are_bound_once() -> None:
    program, runners = make_program(window=4, sink=1), make_runners()
    rollout = Rollout(program, runners)
    session, frames = draw(program)
    # mind: 2 context frames that commit from either side, 2 phases of 2 calls of which one commits; eye: 2 sides.
    assert len(runners["mind"].bound) == 2 + 4
    assert len(runners["eye"].bound) == 2
    rollout.open(session)
    for _ in range(5):
        rollout.step(next(frames))
    assert len(runners["mind"].bound) == 2 + 4
    picture = rollout.step(next(frames))
    assert picture is rollout.step(next(frames))
    assert {array.ctypes.data % 64 for _, outputs in runners["mind"].bound for array in outputs.values()} == {0}
