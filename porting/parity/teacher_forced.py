"""The second level of parity: every frame starts from gold's own state. Finds wrong frames, wherever they are."""

from collections.abc import Iterator, Mapping

from porting.errors import ComparisonError
from porting.program import Program
from porting.record import TeacherForced
from porting.rollout import Rollout
from porting.runners.base import Buffer
from porting.tensor_spec import Precision
from porting.trace.data import Trace, TracedFrame, TracedSession
from porting.trace.metrics import Array, error_budget_ratio, relative_error
from porting.trace.playback import apply_writes, join_made, read_writes, split_frames


def measure_teacher_forced(
    program: Program, rollout: Rollout, trace: Trace, frames: int, precision: Precision
) -> tuple[TeacherForced, ...]:
    """One entry an output and written state, over the first frames of every session; none where there are no frames.

    The states' gold is rounded to the port's precision, as every port's own are: that is at most one unit roundoff,
    half of the ratio's floor.

    Args:
        program: what the rollout runs.
        rollout: the port.
        trace: gold's states and values, eager's errors.
        frames: how many frames of each session at most.
        precision: what the port computes in.

    Raises:
        ComparisonError: a frame makes other values or states than gold's did.
        RunnerError: a call failed.
    """
    per_session = [list(_measure_session(program, rollout, session, frames)) for session in trace.sessions]
    count = min((len(errors) for errors in per_session), default=0)
    if count == 0:
        return ()
    names = list(trace.sessions[0].frames[0].error_eager)
    return tuple(_worst_of(name, [errors[:count] for errors in per_session], precision) for name in names)


def _worst_of(
    name: str, per_session: list[list[dict[str, tuple[float, float]]]], precision: Precision
) -> TeacherForced:
    """Per frame the session with the worst ratio."""
    worst = []
    for frame in zip(*per_session, strict=True):
        pairs = [errors[name] for errors in frame]
        worst.append(max((error_budget_ratio(port, eager, precision), port, eager) for port, eager in pairs))
    ratios, ports, eagers = zip(*worst, strict=True)
    return TeacherForced(output=name, error_port=ports, error_eager=eagers, ratio=ratios)


def _measure_session(
    program: Program, rollout: Rollout, session: TracedSession, frames: int
) -> Iterator[dict[str, tuple[float, float]]]:
    """Per frame (error of the port, error of eager) by name."""
    rollout.open(session.session_inputs)
    states = {name: array.copy() for name, array in session.primed_states.items()}
    inputs = split_frames(session.frame_inputs, frames)
    for index, (frame, outside) in enumerate(zip(session.frames[:frames], inputs, strict=False)):
        clock = session.primed_frames + index
        for name, array in states.items():
            rollout.write_state(name, array)
        rollout.seek(clock)
        rollout.step(outside)
        made = join_made(rollout.values, read_writes(program, rollout, clock))
        yield _compare_frame(index, made, frame)
        apply_writes(program, states, frame, clock)


def _compare_frame(index: int, made: Mapping[str, Buffer], frame: TracedFrame) -> dict[str, tuple[float, float]]:
    """Names before values.

    Raises:
        ComparisonError: the port's frame has other outputs than gold's.
    """
    gold: dict[str, Array] = join_made(frame.outputs, frame.state_writes)
    if not gold or made.keys() != gold.keys() or gold.keys() != frame.error_eager.keys():
        raise ComparisonError(
            f"frame {index}: the port makes {sorted(made)}, the trace holds {sorted(gold)}; record the trace anew"
        )
    return {name: (relative_error(made[name], array), frame.error_eager[name]) for name, array in gold.items()}
