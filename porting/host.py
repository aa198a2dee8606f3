"""Says what machine a measurement was made on, and whether something else was using it meanwhile.

It knows the operating system's own accounts only. It never decides what a disturbance means for a port.
"""

import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol

import psutil

from porting.record import Host

PACKAGES = (
    "worldport",
    "numpy",
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-migraphx",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "triton",
    "nvidia-cuda-nvdisasm",
)
"""Whose version changes what a port computes or how fast."""

THREAD_SETTINGS = (
    "GOMP_SPINCOUNT",
    "OMP_WAIT_POLICY",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "LD_PRELOAD",
)
"""Environment variables that change how the runtimes' threads wait, or where they run."""
SPINS = "1000"
"""Turns that an OpenMP thread waits for work before it sleeps; the library itself takes 300,000.

Those cost a core's time slice whenever another process has the core of the thread waited for; sleeping at once makes
every parallel loop wait for the system. docs/throughput.md has the figures (`python -m benchmarks.thread_waits`).
"""

CONTENTION_LIMIT = 0.25
"""Share of the needed cores that others may take: beyond a quarter, a frame that uses them all is late by a third."""
BURST_LIMIT = 0.5
"""The same over the worst second: half the cores gone doubles frames, but one core's housekeeping stays below it."""
STEAL_LIMIT = 0.05
"""Share of the cores' time that the hypervisor may withhold; a quiet virtual machine shows well under 1 %."""
THROTTLE_LIMIT = 0.05
"""Share of the time for which a CPU quota may stop the process."""
CLOCK_LIMIT = 0.85
"""Lowest later clock over the first: hardware that heats up falls by more, steps between turbo bins are smaller."""
BURST_SECONDS = 1.0
"""Shortest window looked at; the system counts CPU time in ticks of 10 ms."""


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def user_cache(name: str) -> Path:
    """Where this user's cache of that name stands, made or not: in WORLDPORT_CACHE, else where the system has them."""
    named = os.environ.get("WORLDPORT_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(named) if named else home / "worldport") / name


def spin_briefly() -> None:
    """Have OpenMP's threads sleep early, for this process and its children, unless the user said how they wait.

    To be called before anything loads the OpenMP library, which reads this once: torch does.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def describe_host(threads: int) -> Host:
    """The machine, its system and the versions that matter; `threads` is what the runtimes were given."""
    versions = {name: _version(name) for name in PACKAGES}
    return Host(
        machine=platform.machine() or "unknown",
        cpu=_cpu_name(),
        cores=available_cores(),
        memory_bytes=int(psutil.virtual_memory().total),
        system=f"{platform.system()} {platform.release()}".strip() or "unknown",
        python=platform.python_version(),
        packages={name: version for name, version in versions.items() if version is not None},
        threads=threads,
        settings={name: os.environ[name] for name in THREAD_SETTINGS if os.environ.get(name)},
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """The model's name where Linux tells it, else what Python knows."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in {"model name", "Model", "cpu model"} and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


@dataclass(frozen=True)
class Load:
    """Running totals of the system at one moment, in seconds of CPU time unless said otherwise."""

    wall: float
    """Seconds of a steady clock."""
    busy: float
    """All processes, on all cores."""
    steal: float
    """Withheld by the hypervisor, on all cores."""
    own: float
    """This process. Its children are others: a compiler that still runs takes cores like anyone else."""
    throttled: float
    """Seconds for which a quota stopped this process's group."""
    clock_mhz: float | None


class Watch(Protocol):
    """Looks at the machine while something is measured."""

    def sample(self) -> None:
        """Look once; cheap enough to be called between frames."""
        ...

    def disturbances(self) -> tuple[str, ...]:
        """What was seen since the first sample, each a sentence with figures; empty on a quiet machine."""
        ...


class HostWatch:
    """Watches what others take of the cores that a measurement needs."""

    def __init__(
        self,
        threads: int,
        cores: int | None = None,
        read: Callable[[], Load] | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin to watch.

        Args:
            threads: cores that the measurement needs.
            cores: cores that there are; what the system accounts for, by default.
            read: where the totals come from.
            now: seconds of the clock that `read` tells.
        """
        self._now = now
        self._cores = cores or psutil.cpu_count() or available_cores()
        self._threads = min(max(threads, 1), self._cores)
        self._read = read or read_load
        self._loads = [self._read()]

    def sample(self) -> None:
        """Look at the totals, if the last look is a window ago; reading them takes milliseconds."""
        if self._now() - self._loads[-1].wall >= BURST_SECONDS:
            self._loads.append(self._read())

    def disturbances(self) -> tuple[str, ...]:
        """Sentences on contention, steal, quota and clock."""
        loads = [*self._loads, self._read()]
        if loads[-1].wall <= loads[0].wall:
            return ()
        found = [self._contention(loads), _steal(loads, self._cores), _throttling(loads), _clock_fall(loads)]
        return tuple(sentence for sentence in found if sentence is not None)

    def _contention(self, loads: list[Load]) -> str | None:
        whole = self._shortfall(loads[0], loads[-1])
        # The last window is whatever is left; a short one says nothing, in ticks of 10 ms.
        windows = [self._shortfall(a, b) for a, b in itertools.pairwise(loads) if b.wall - a.wall >= BURST_SECONDS]
        worst = max(windows, default=whole)
        if whole <= CONTENTION_LIMIT and worst <= BURST_LIMIT:
            return None
        return (
            f"other processes took {whole:.0%} of the {self._threads} cores needed, {worst:.0%} in the worst"
            f" second (limits {CONTENTION_LIMIT:.0%} and {BURST_LIMIT:.0%})"
        )

    def _shortfall(self, first: Load, last: Load) -> float:
        """Share of the needed cores that others' work left no room for."""
        others = max(last.busy - first.busy - (last.own - first.own), 0.0) / (last.wall - first.wall)
        return max(others + self._threads - self._cores, 0.0) / self._threads


def _steal(loads: list[Load], cores: int) -> str | None:
    share = (loads[-1].steal - loads[0].steal) / (loads[-1].wall - loads[0].wall) / cores
    if share <= STEAL_LIMIT:
        return None
    return f"the hypervisor withheld {share:.0%} of the cores' time (limit {STEAL_LIMIT:.0%})"


def _throttling(loads: list[Load]) -> str | None:
    share = (loads[-1].throttled - loads[0].throttled) / (loads[-1].wall - loads[0].wall)
    if share <= THROTTLE_LIMIT:
        return None
    return f"a CPU quota stopped the process for {share:.0%} of the time (limit {THROTTLE_LIMIT:.0%})"


def _clock_fall(loads: list[Load]) -> str | None:
    """The clock of the later samples against the earlier ones; the first look precedes the load, so it is left out."""
    clocks = [load.clock_mhz for load in loads[1:] if load.clock_mhz]
    if len(clocks) < 4:
        return None
    half = len(clocks) // 2
    early, late = statistics.median(clocks[:half]), statistics.median(clocks[half:])
    if late >= CLOCK_LIMIT * early:
        return None
    return f"the CPU clock fell from {early:.0f} to {late:.0f} MHz while measuring"


def read_load() -> Load:
    """The totals now. What a system does not account for stays zero."""
    times = psutil.cpu_times()
    own = psutil.Process().cpu_times()
    # guest time is part of user time already; waiting for a disk leaves the core free.
    busy = times.user + times.system + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq"))
    return Load(
        wall=time.perf_counter(),
        busy=busy,
        steal=getattr(times, "steal", 0.0),
        own=own.user + own.system,
        throttled=_throttled_seconds(),
        clock_mhz=_clock_mhz(),
    )


def _throttled_seconds() -> float:
    """Time lost to a CPU quota, from control groups version 2 or 1; 0 where there are none."""
    for path, key, unit in (
        ("/sys/fs/cgroup/cpu.stat", "throttled_usec", 1e-6),
        ("/sys/fs/cgroup/cpu/cpu.stat", "throttled_time", 1e-9),
    ):
        try:
            pairs = dict(line.split() for line in Path(path).read_text(encoding="ascii").splitlines())
            return int(pairs[key]) * unit
        except (OSError, KeyError, ValueError):
            continue
    return 0.0


def _clock_mhz() -> float | None:
    """Mean clock of the cores, None where the system does not tell."""
    if not hasattr(psutil, "cpu_freq"):
        return None
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        return None
    return float(frequency.current) if frequency is not None and frequency.current else None
