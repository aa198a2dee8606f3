"""Every wait and every barrier of a compiled kernel is needed, and the emulator knows it."""

import pytest

from tests.emulators.amdgcn.conftest import Compiled
from tests.emulators.amdgcn.delete_waits import IDLE, LATER, UNTOUCHED, counters_of, delete_all, find_deletions
from tests.emulators.amdgcn.test_planted_faults import PROBLEMS, make_launch


@pytest.mark.parametrize("target", ["gfx950", "gfx1250"])
def test_every_deletion_is_found(compiled: Compiled, target: str) -> None:
    code = compiled["soften", target]
    results = delete_all(make_launch(PROBLEMS["soften"](), code, code["text"], target))
    assert len(results) >= 8
    assert {how for _, how in results} <= {"use before it is there", "race", "uninitialised read", "wrong bits"}


def test_what_deleting_changes_nothing_is_explained(compiled: Compiled) -> None:
    """A second wait and a second barrier, planted behind the first ones."""
    code = compiled["soften", "gfx950"]
    text = code["text"].replace("\ts_barrier\n", "\ts_barrier\n\ts_waitcnt lgkmcnt(0)\n\ts_barrier\n", 1)
    assert text != code["text"]
    results = [how for _, how in delete_all(make_launch(PROBLEMS["soften"](), code, text, "gfx950"))]
    assert results.count(IDLE) == 1
    assert results.count(UNTOUCHED) == 2
    twice = code["text"].replace("\ts_waitcnt vmcnt(1)\n", "\ts_waitcnt vmcnt(1)\n\ts_waitcnt vmcnt(1)\n", 1)
    results = [how for _, how in delete_all(make_launch(PROBLEMS["soften"](), code, twice, "gfx950"))]
    assert sorted(how for how in results if how in (IDLE, LATER)) == sorted([LATER, IDLE])


def test_a_signal_goes_with_its_wait() -> None:
    text = "k:\n\ts_wait_dscnt 0x0\n\ts_barrier_signal -1\n\tv_nop\n\ts_barrier_wait -1\n"
    wait, barrier = find_deletions(text)
    assert wait.text.splitlines()[1] == "\ts_nop 0"
    assert [line.strip() for line in barrier.text.splitlines()[2:]] == ["s_nop 0", "v_nop", "s_nop 0"]


def test_counters() -> None:
    assert counters_of("s_waitcnt", "vmcnt(3) lgkmcnt(0)") == {"vmcnt": 3, "lgkmcnt": 0}
    assert counters_of("s_wait_loadcnt_dscnt", "0x302") == {"loadcnt": 3, "dscnt": 2}
    assert counters_of("s_wait_kmcnt", "0x0") == {"kmcnt": 0}
