"""What the rollout engine refuses, and that a refusal harms nothing."""

from typing import Any

import numpy as np
import pytest

from porting.errors import ProgramError, RunnerError
from porting.program import Sink, Source
from porting.rollout import Rollout
from porting.runners.base import Buffer
from tests.rollout.toy import WIDTH, FunctionRunner, draw, eye_function, make_program, make_runners, mind_function

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
