"""The rollout engine against a simulation that keeps whole histories in Python lists."""

import ml_dtypes
import numpy as np
import pytest

from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source
from porting.rollout import RingClock, Rollout
from tests.rollout.toy import (
    CONTEXT,
    WIDTH,
    FunctionRunner,
    Simulation,
    draw,
    make_program,
    make_runners,
    mind_function,
    tensor,
    value,
)


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


def test_seeking_is_walking() -> None:
    walked, sought = (RingClock(RingSpec(name="ring", window=5, sink=2)) for _ in range(2))
    for committed in range(20):
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
    np.testing.assert_array_equal(rollout.step({"x": np.array([[1, 3]], np.float32)}), [[16, 48]])
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
