"""What a verdict does not say, in sentences made from the record."""

from collections.abc import Iterator

from porting.record import LADDER, PortRecord, Step, TargetRecord
from porting.report.numbers import number, plural


def list_limits(record: PortRecord) -> list[str]:
    """Sentences for the section "what this does not prove"."""
    return [*_of_model(record), *(line for name, target in record.targets.items() for line in _of_target(name, target))]


def _of_model(record: PortRecord) -> Iterator[str]:
    yield (
        "That the model is any good. The reference is the same checkpoint in PyTorch: a poor model, faithfully ported, "
        "passes."
    )
    trace = record.trace
    if trace is None:
        yield "Anything about outputs: no reference rollout was recorded."
        return
    yield (
        f"Anything beyond {plural(trace.sessions, 'session')} of {plural(trace.frames, 'frame')} from seed "
        f"{trace.seed} ({trace.source or 'source not recorded'}), and the hard inputs listed. Other inputs were not "
        "compared."
    )
    if trace.gold != "fp64":
        yield f"Errors below the rounding of {trace.gold}, in which the gold outputs were computed."


def _of_target(name: str, target: TargetRecord) -> Iterator[str]:
    verdict = target.verdict
    if verdict is not None and verdict.highest_possible is not Step.THROUGHPUT:
        beyond = " and ".join(LADDER[LADDER.index(verdict.highest_possible) + 1 :])
        yield f"{name}: {beyond}. This host cannot reach more than {verdict.highest_possible} for this target."
    free = target.parity.free_running if target.parity else None
    if free is not None:
        yield (
            f"{name}: drift after frame {len(free.psnr_db) - 1}. The envelope is the worst of "
            f"{plural(free.envelope_members, 'rerun')} of the reference, an estimate of its own noise and not a bound."
        )
    timed = target.throughput
    if timed is None:
        yield f"{name}: any frame rate. No throughput was measured."
        return
    seconds = timed.paced.frames * timed.deadline_ms / 1000
    yield (
        f"{name}: the frame rate of another machine, of this one under other load, or after longer than it was "
        f"measured: {plural(timed.closed_loop.frames, 'frame')} closed-loop, {plural(timed.paced.frames, 'frame')} "
        f"paced ({number(seconds, 's')}). Heat and leaks that take longer to show were not seen."
    )
    yield f"{name}: latency to a display. A frame is done when its pixels are in memory."
