"""Asks the system to let other processes wait while frames are timed.

A port that uses every core and shares them with another process spends most of a frame waiting for its own threads:
what is timed then is the scheduler. A granted priority takes that out of both sides alike, together with the shortest
slice of time, which lets a thread that wakes interrupt another process. Threads inherit both from the thread that
starts them, so that they are asked for before the first artifact is opened.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from porting.comparison.time_slice import SHORTEST, ask_for_slice

HIGHEST = -20
"""Of the niceness of POSIX systems."""
AUTOGROUP = Path("/proc/self/autogroup")
"""Where Linux shares the cores out among sessions first, niceness counts inside a session only, and this is the
session's own."""


@contextmanager
def prefer_this_process(autogroup: Path = AUTOGROUP) -> Iterator[str]:
    """Hold the highest priority that is granted; what was before comes back at the end.

    Yields:
        A sentence for the record.
    """
    if not hasattr(os, "setpriority"):
        yield "this system knows no niceness"
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, HIGHEST)
    except OSError as refusal:
        yield f"no priority over other processes was granted ({refusal.strerror})"
        return
    try:
        with _raise_session(autogroup) as said, _shorten_slice() as also:
            yield f"niceness {HIGHEST} in place of {before}{said}{also}"
    finally:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def _shorten_slice() -> Iterator[str]:
    if not ask_for_slice(SHORTEST):
        yield ", the system's own slice of time"
        return
    try:
        yield f", a slice of {SHORTEST / 1e6:g} ms"
    finally:
        ask_for_slice(0)


@contextmanager
def _raise_session(path: Path) -> Iterator[str]:
    """The same for the session, where it has a niceness of its own.

    A session outlives this process, so that a process beside it gives the niceness back: also when this one is killed.
    """
    before = _read_autogroup(path)
    if before is None:
        yield ""
        return
    script = f"trap '' TERM INT HUP; read -r line; echo {before} > {shlex.quote(str(path))}"
    # In a group of its own, which a signal to this one's does not reach; in the same session, whose file it writes.
    guard = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, process_group=0)
    try:
        if _write_autogroup(path, HIGHEST):
            yield f", the session's {HIGHEST} in place of {before}"
        else:
            yield f", inside a session that keeps its own of {before}"
    finally:
        guard.communicate()


def _read_autogroup(path: Path) -> int | None:
    """The session's niceness, from a line like "/autogroup-25 nice 0"; None where sessions have none."""
    try:
        return int(path.read_text(encoding="ascii").split()[-1])
    except (OSError, ValueError, IndexError):
        return None


def _write_autogroup(path: Path, niceness: int) -> bool:
    try:
        path.write_text(str(niceness), encoding="ascii")
    except OSError:
        return False
    return True
