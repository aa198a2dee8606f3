"""mbarriers as PTX ISA 9, "Parallel Synchronization: mbarrier", has them."""

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind, Schedule
from tests.emulators.ptx.programs import SCHEDULES, in_every_schedule, run_program, wait_for

INIT = "@%first mbarrier.init.shared::cta.b64 [%s], {count};\nbar.sync 0;\n"
WORDS = np.arange(64, dtype=np.uint32)


def fault_of(lines: str, schedule: Schedule | None = None, threads: int = 64) -> Fault:
    with pytest.raises(Fault) as raised:
        run_program(lines, WORDS, threads=threads, schedule=schedule)
    return raised.value


def handing(release: str = "", acquire: str = "", count: int = 32, wait: bool = True) -> str:
    """Warp 1 stores a word a thread and arrives; warp 0 waits and reads the words from the other end."""
    waits = (
        f"LOOP: mbarrier.try_wait.parity{acquire}.shared::cta.b64 %done, [%s], 0;\n@!%done bra.uni LOOP;\n"
        if wait
        else ""
    )
    return (
        INIT.format(count=count)
        + f"""shl.b32 %u0, %t, 2; add.u32 %u1, %s, %u0;
@%warp0 bra READ;
mul.lo.u32 %u2, %t, 7;
st.shared.b32 [%u1+64], %u2;
mbarrier.arrive{release}.shared::cta.b64 _, [%s];
bra END;
READ: {waits}
sub.u32 %u3, 31, %t; shl.b32 %u3, %u3, 2; add.u32 %u3, %s, %u3;
ld.shared.b32 %u4, [%u3+192];
mad.wide.u32 %at, %t, 4, %base; st.global.b32 [%at], %u4;
END:"""
    )


def test_a_wait_orders_what_was_before_the_arrivals() -> None:
    result = in_every_schedule(handing(), WORDS, threads=64).view(np.uint32)
    np.testing.assert_array_equal(result[:32], 7 * np.arange(63, 31, -1))
    in_every_schedule(handing(".release.cta", ".acquire.cta"), WORDS, threads=64)


@pytest.mark.parametrize("schedule", SCHEDULES[:2])
def test_nothing_else_orders_it(schedule: Schedule) -> None:
    assert fault_of(handing(acquire=".relaxed.cta"), schedule).kind is FaultKind.RACE
    assert fault_of(handing(release=".relaxed.cta"), schedule).kind is FaultKind.RACE


def test_without_a_wait() -> None:
    kinds = {fault_of(handing(wait=False), schedule).kind for schedule in SCHEDULES[1:]}
    assert kinds <= {FaultKind.RACE, FaultKind.UNINITIALISED}


def test_too_few_arrivals_are_a_deadlock_and_too_many_misuse() -> None:
    assert fault_of(handing(count=33)).kind is FaultKind.DEADLOCK
    twice = INIT.format(count=2) + "@%first mbarrier.arrive.shared::cta.b64 _, [%s], 3;"
    fault = fault_of(twice)
    assert (fault.kind, "3 arrivals" in fault.detail) == (FaultKind.MISUSE, True)


def test_phases_alternate() -> None:
    """Of the parity before the first phase, and of every complete one, a wait succeeds at once."""
    lines = INIT.format(count=1) + wait_for(0, 1, "A") + "bar.sync 0;\n"
    for phase in range(4):
        lines += f"@%first mbarrier.arrive.shared::cta.b64 _, [%s];\n{wait_for(0, phase % 2, f'B{phase}')}bar.sync 0;\n"
    in_every_schedule(lines, WORDS, threads=64)
    assert fault_of(INIT.format(count=1) + wait_for(0, 0, "A")).kind is FaultKind.DEADLOCK


def test_a_phase_lasts_until_its_bytes_have_come() -> None:
    expect = INIT.format(count=1) + "@%first mbarrier.arrive.expect_tx.shared::cta.b64 _, [%s], 48;\n"
    come = "@%first mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%s], {size};\n"
    assert fault_of(expect + come.format(size=32) + wait_for(0, 0, "A")).kind is FaultKind.DEADLOCK
    in_every_schedule(expect + come.format(size=32) + come.format(size=16) + wait_for(0, 0, "A"), WORDS, threads=64)
    # Bytes may come before they are announced, and be announced apart from arriving.
    early = INIT.format(count=1) + come.format(size=16)
    early += "@%first mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%s], 16;\n"
    early += "@%first mbarrier.arrive.shared::cta.b64 _, [%s];\n" + wait_for(0, 0, "A")
    in_every_schedule(early, WORDS, threads=64)


def test_the_state_tells_the_phase() -> None:
    lines = (
        INIT.format(count=64)
        + """mbarrier.arrive.shared::cta.b64 %wide0, [%s];
A: mbarrier.test_wait.shared::cta.b64 %done, [%s], %wide0;
@!%done bra.uni A;"""
    )
    in_every_schedule(lines, WORDS, threads=64)


def test_who_drops_out_is_not_expected_again() -> None:
    lines = INIT.format(count=2) + "@%first mbarrier.arrive_drop.shared::cta.b64 _, [%s];\n"
    for phase in (0, 1):
        lines += f"@%first mbarrier.arrive.shared::cta.b64 _, [%s];\n{wait_for(0, phase, f'A{phase}')}bar.sync 0;\n"
    in_every_schedule(lines, WORDS, threads=64)


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ("@%first mbarrier.arrive.shared::cta.b64 _, [%s];", FaultKind.MISUSE),
        (wait_for(0, 1, "A"), FaultKind.MISUSE),
        ("@%first mbarrier.inval.shared::cta.b64 [%s];", FaultKind.MISUSE),
        ("@%first mbarrier.init.shared::cta.b64 [%s], 0;", FaultKind.MISUSE),
        ("@%first mbarrier.init.shared::cta.b64 [%s+4], 1;", FaultKind.MISALIGNED),
        ("@%first mbarrier.init.shared::cta.b64 [%s+2048], 1;", FaultKind.OUT_OF_BOUNDS),
        (INIT.format(count=1) + "@%first mbarrier.init.shared::cta.b64 [%s], 1;", FaultKind.MISUSE),
        (INIT.format(count=1) + "@%first ld.shared.b64 %wide0, [%s];", FaultKind.UNINITIALISED),
        (
            INIT.format(count=1) + "@%first mbarrier.inval.shared::cta.b64 [%s];\nbar.sync 0;\n" + wait_for(0, 1, "A"),
            FaultKind.MISUSE,
        ),
        # Nothing orders the second warp's wait with the first one's init, or inval.
        ("@%first mbarrier.init.shared::cta.b64 [%s], 1;\n" + wait_for(0, 1, "A"), FaultKind.RACE),
        (
            INIT.format(count=1) + wait_for(0, 1, "A") + "@%first mbarrier.inval.shared::cta.b64 [%s];",
            FaultKind.RACE,
        ),
    ],
)
def test_misuse(lines: str, kind: FaultKind) -> None:
    assert fault_of(lines).kind is kind


def test_an_ended_barrier_leaves_its_bytes() -> None:
    lines = INIT.format(count=1) + wait_for(0, 1, "A") + "bar.sync 0;\n"
    lines += "@%first mbarrier.inval.shared::cta.b64 [%s];\n@%first st.shared.b32 [%s], %t;\n"
    in_every_schedule(lines + "@%first ld.shared.b32 %u0, [%s];", WORDS, threads=64)
