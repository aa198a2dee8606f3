"""How long Linux lets a thread run before it asks whom to run next: what decides who waits for whom when one wakes.

Niceness alone does not let a thread of a port interrupt another process: since Linux 6.6 whoever runs keeps the core up
to its slice of some milliseconds, longer than many frames, and a port's threads sleep and wake several times a frame.
Since 6.12 a thread that asked for a shorter slice interrupts one with a longer. Python and its packages do not offer
the call.

Source: sched_setattr(2); Documentation/scheduler/sched-eevdf.rst of Linux 6.12.
"""

import ctypes
import os
import platform
import sys

SHORTEST = 100_000
"""Nanoseconds, the least that Linux grants."""
SYSTEM_CALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""Numbers of sched_setattr and sched_getattr."""


class _Attributes(ctypes.Structure):
    """The kernel's struct sched_attr, in its first version of 48 bytes."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("niceness", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def read_slice() -> int | None:
    """The calling thread's in nanoseconds; None where the system does not tell."""
    found = _read()
    return int(found.runtime) or None if found is not None else None


def ask_for_slice(nanoseconds: int) -> bool:
    """Ask for the calling thread, and for threads that it starts from now on; 0 asks for the system's own length.

    Returns:
        Whether it was granted, as the system says afterwards: older ones take the wish and ignore it.
    """
    found = _read()
    if found is None:
        return False
    found.size, found.runtime = ctypes.sizeof(found), nanoseconds
    if _call(0, ctypes.byref(found), 0) != 0:
        return False
    return read_slice() == nanoseconds if nanoseconds else True


def _read() -> _Attributes | None:
    if sys.platform != "linux" or platform.machine() not in SYSTEM_CALLS:
        return None
    found = _Attributes()
    failed = _call(1, ctypes.byref(found), ctypes.sizeof(found), 0)
    # Other classes than the ordinary one have no slice, or one that means something else.
    return None if failed or found.policy != os.SCHED_OTHER else found


def _call(which: int, *arguments: object) -> int:
    """One of `SYSTEM_CALLS` for the calling thread."""
    return int(ctypes.CDLL(None).syscall(SYSTEM_CALLS[platform.machine()][which], 0, *arguments))
