"""What a port is asked for, checked before anything is loaded or written."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from porting.errors import UsageError
from porting.profile import Profile
from porting.tensor_spec import Precision


@dataclass(frozen=True)
class PortRequest:
    """One `worldport port`."""

    checkpoint: str
    """A path, or `bundled:NAME`."""
    profiles: tuple[Profile, ...]
    out: Path
    precision: Precision
    jobs: int
    """Artifacts compiled at once."""
    threads: int
    """What every runtime, PyTorch included, may use."""
    command: str


def limit_frames(profile: Profile, frames: int | None) -> Profile:
    """The profile with every frame count replaced by `frames`; unchanged for None.

    Raises:
        UsageError: fewer than one frame: a port of no frames would prove nothing.
    """
    if frames is None:
        return profile
    if frames < 1:
        raise UsageError(f"--frames {frames}: no frame would be compared or timed; ask for at least 1")
    parity = {"teacher_forced_frames": frames, "free_running_frames": frames}
    throughput = {"timed_frames": frames, "paced_frames": frames}
    return profile.model_copy(
        update={
            "parity": profile.parity.model_copy(update=parity),
            "throughput": profile.throughput.model_copy(update=throughput),
        }
    )


def choose_precision(profiles: tuple[Profile, ...], asked: Precision | None) -> Precision:
    """The precision of one port: what was asked for, else the first that the profiles name.

    Raises:
        UsageError: a profile does not offer it, or the profiles begin with different ones.
    """
    if asked is None:
        first = {profile.compile.precisions[0] for profile in profiles}
        if len(first) != 1:
            raise UsageError(f"targets begin with precisions {sorted(first)}; choose one with --precision")
        (asked,) = first
    for profile in profiles:
        if asked not in profile.compile.precisions:
            offered = ", ".join(profile.compile.precisions)
            raise UsageError(f"target {profile.name!r}: does not offer precision {asked!r}; it offers {offered}")
    return asked


def count_threads() -> int:
    """Physical cores that this process may use: what PyTorch and the runtimes each take by themselves."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
