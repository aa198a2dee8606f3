"""Asks the system to let other processes wait while frames are timed.

A port that uses every core and shares them with another process spends most of a frame waiting for its own threads:
what is timed then is the scheduler. A granted priority takes that out of both sides alike. Threads inherit it from the
thread that starts them, so that it is asked for before the first artifact is opened.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
    session = _read_autogroup(autogroup)
    try:
        if session is None:
            yield f"niceness {HIGHEST} in place of {before}"
        elif _write_autogroup(autogroup, HIGHEST):
            yield f"niceness {HIGHEST} in place of {before}, the session's {HIGHEST} in place of {session}"
        else:
            yield f"niceness {HIGHEST} in place of {before}, inside a session that keeps its own of {session}"
    finally:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
        if session is not None:
            _write_autogroup(autogroup, session)


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
