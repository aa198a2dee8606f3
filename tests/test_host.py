"""The host is described without gaps, and what others take of it is seen."""

import itertools
import os
from dataclasses import replace

import pytest

from porting.host import SPINS, HostWatch, Load, describe_host, read_load, spin_briefly


def loads(seconds: int, others: float, own: float = 2.0, **changes: float) -> list[Load]:
    """One look a second, others and own in cores; a keyword gives a total's growth per second."""
    return [
        Load(
            wall=float(t),
            busy=t * (others + own),
            steal=t * changes.get("steal", 0.0),
            own=t * own,
            throttled=t * changes.get("throttled", 0.0),
            clock_mhz=3000.0 - t * changes.get("cooling", 0.0),
        )
        for t in range(seconds + 1)
    ]


def watch(threads: int, cores: int, samples: list[Load]) -> tuple[str, ...]:
    source = itertools.chain(samples, itertools.repeat(samples[-1]))
    watcher = HostWatch(threads, cores, lambda: next(source), now=lambda: float("inf"))
    for _ in samples[1:]:
        watcher.sample()
    return watcher.disturbances()


def test_the_host_is_described_without_gaps() -> None:
    host = describe_host(threads=2)
    assert host.threads == 2
    assert host.cores >= 1
    assert host.memory_bytes > 2**20
    assert all((host.machine, host.cpu, host.system, host.python))
    assert host.packages["numpy"]
    assert None not in host.packages.values()


def test_threads_wait_briefly_unless_the_user_said_how(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    spin_briefly()
    assert describe_host(threads=2).settings["GOMP_SPINCOUNT"] == SPINS
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    spin_briefly()
    assert "GOMP_SPINCOUNT" not in describe_host(threads=2).settings
    assert describe_host(threads=2).settings["OMP_WAIT_POLICY"] == "passive"


def test_a_quiet_machine_is_quiet() -> None:
    assert watch(2, 2, loads(10, others=0.0)) == ()


def test_a_little_noise_is_no_disturbance() -> None:
    assert watch(2, 2, loads(10, others=0.2)) == ()


def test_a_competing_process_is_named_with_its_share() -> None:
    (sentence,) = watch(2, 2, loads(10, others=1.0, own=1.0))
    assert "other processes took 50% of the 2 cores" in sentence


def test_a_process_on_cores_that_are_not_needed_disturbs_nothing() -> None:
    assert watch(2, 8, loads(10, others=5.0)) == ()
    assert watch(2, 8, loads(10, others=7.0)) != ()


def test_a_burst_of_some_seconds_is_seen() -> None:
    quiet = loads(20, others=0.0)
    assert watch(2, 2, quiet) == ()
    # 1.6 cores for two seconds: 8 % of the whole, 80 % of the worst second.
    samples = [replace(load, busy=load.busy + 1.6 * min(max(load.wall - 10.0, 0.0), 2.0)) for load in quiet]
    (sentence,) = watch(2, 2, samples)
    assert "80% in the worst second" in sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steal": 0.5}, "hypervisor withheld 25%"),
        ({"throttled": 0.2}, "quota stopped the process for 20%"),
        ({"cooling": 100.0}, "clock fell from"),
    ],
)
def test_other_troubles_are_named(changes: dict[str, float], words: str) -> None:
    (sentence,) = watch(2, 2, loads(10, 0.0, **changes))
    assert words in sentence


def test_a_steady_clock_and_small_steal_are_no_disturbance() -> None:
    assert watch(2, 2, loads(10, 0.0, steal=0.02, cooling=5.0)) == ()


def test_a_watch_that_saw_no_time_says_nothing() -> None:
    assert watch(1, 1, loads(0, 0.0)) == ()


def test_totals_of_this_system_grow_with_own_work() -> None:
    before = read_load()
    deadline = os.times().user + 0.05
    while os.times().user < deadline:
        pass
    after = read_load()
    assert after.wall > before.wall
    assert after.own - before.own > 0.03
