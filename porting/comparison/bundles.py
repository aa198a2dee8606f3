"""Compares two bundles on this host and says what came of it, as a record. It prints nothing and ends nothing."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from porting.comparison.measure import Settings, measure
from porting.comparison.priority import prefer_this_process
from porting.comparison.sides import Side, open_sides
from porting.comparison.summary import say_unmeasured, summarise
from porting.comparison.turns import Load
from porting.errors import RunnerError
from porting.host import available_cores, describe_host
from porting.record import Comparison
from porting.throughput.clock import Instruments, instruments_for

__all__ = ["Settings", "compare_bundles"]

Note = Callable[[str], None]
"""Hears of each step, one line each."""


def compare_bundles(
    baseline: Path,
    candidate: Path,
    target: str | None,
    settings: Settings,
    note: Note,
    threads: int | None = None,
    instruments: Instruments | None = None,
) -> Comparison:
    """Drive the chosen artifacts of both in turn and decide whether the candidate is slower.

    Args:
        baseline: a bundle.
        candidate: another, of the same checkpoint, program and trace.
        target: which; the only one that both have by default.
        settings: limit, time, rebuilds.
        note: hears of each step.
        threads: what the runtimes are given; all cores by default.
        instruments: clock and watch; those of the target's device by default.

    Raises:
        BundleError: a bundle is missing, damaged, or was changed meanwhile.
        UsageError: the two have no target in common, do not compute the same, or cannot be built anew.
        TraceError: the trace has no frames.
    """
    threads = threads or available_cores()
    first, second = sides = open_sides(baseline, candidate, target)
    host = describe_host(threads)
    for side in sides:
        if side.unchosen:
            reason = (
                f"{side.bundle.path} has no chosen artifact of {', '.join(side.unchosen)} for {side.target};"
                " run worldport verify on it first"
            )
            return say_unmeasured(first, second, host, settings, reason)
    instruments = instruments or instruments_for(first.ported.profile.device.kind)
    with ExitStack() as stack:
        # Before anything is opened: threads inherit what the thread that starts them has.
        granted = stack.enter_context(prefer_this_process()) if settings.priority else ""
        loads = _load_all(sides, settings.rebuilds, threads, note, stack)
        note(f"driving {first.target} for at most {settings.seconds:g} s")
        try:
            found = measure(first.record.program, first.read_session(), *loads, settings, instruments, threads)
        except RunnerError as cause:
            return say_unmeasured(first, second, host, settings, str(cause))
    for side in sides:
        side.check_unchanged()
    return summarise(found, first, second, host, settings, granted)


def _load_all(
    sides: tuple[Side, Side], rebuilds: int, threads: int, note: Note, stack: ExitStack
) -> tuple[list[Load], list[Load]]:
    """What opens each build of each side."""
    if rebuilds == 1:
        return [sides[0].load(threads)], [sides[1].load(threads)]
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="worldport-compare-")))
    loads: tuple[list[Load], list[Load]] = ([], [])
    for build in range(rebuilds):
        for number, side in enumerate(sides):
            note(f"building {side.bundle.path} for the {build + 1}. time of {rebuilds}")
            loads[number].append(side.rebuild(folder / f"{number}-{build}", threads))
    return loads
