"""Kernels that an emulator executed: what is wrong fails by name, what was not executed passes nothing."""

import math
from typing import Any

import pytest

from porting.record import EMULATED, EmulatedKernel, EmulatedLaunch, Outcome, Step
from porting.verdict.emulated import check_emulated, find_trouble
from tests.verdict.records import TARGET, judge, make_record, with_target
from tests.verdict.test_kernels import GOOD as COMPILED

ORDERS = ("lazy", "eager", "lazy, last warp first")
GOOD_LAUNCH = EmulatedLaunch(
    sizes=(3, 67),
    grid=(2, 1, 1),
    warps=4,
    text_sha256="a" * 64,
    executed_as="cuda:100",
    ratio=1.1,
    schedules=ORDERS,
    same_bits=True,
    instructions={"add.f32": 8},
)
GOOD = EmulatedKernel(
    kernel="adaln",
    variant="bfloat16",
    architecture="cuda:103",
    source_digest="b" * 64,
    tuning={"num_warps": 4},
    launches=(GOOD_LAUNCH,),
)


def launched(**changes: Any) -> EmulatedKernel:
    return GOOD.model_copy(update={"launches": (GOOD_LAUNCH, GOOD_LAUNCH.model_copy(update=changes))})


def found(*records: EmulatedKernel) -> tuple[Outcome, str]:
    target = make_record().targets[TARGET].model_copy(update={"emulated": records, "kernels": ()})
    (check,) = check_emulated(target)
    assert (check.step, check.name) == (Step.ATTESTED, EMULATED)
    return check.outcome, check.reason


def test_what_nobody_asked_for_is_no_check() -> None:
    assert check_emulated(make_record().targets[TARGET]) == ()


def test_good_executions_pass_with_the_worst_ratio() -> None:
    other = launched(ratio=1.7).model_copy(update={"kernel": "rms_silu"})
    target = make_record().targets[TARGET].model_copy(update={"emulated": (GOOD, other), "kernels": ()})
    (check,) = check_emulated(target)
    assert (check.outcome, check.value, check.limit) == (Outcome.PASSED, 1.7, 2.0)
    assert "3 launches of 2 kernels and variants" in check.reason
    assert "1.7 times the reference's own rounding (rms_silu bfloat16)" in check.reason
    assert "The assembler and the device were not run." in check.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fault": "lazy: line 7: st.shared: race: warp 1 wrote"}, "3x67: lazy: line 7: st.shared: race"),
        ({"complaints": ("output 0: error is 3",)}, "3x67: output 0: error is 3"),
        ({"same_bits": False}, "schedules differ in the bits"),
        ({"same_bits": None}, "schedules differ in the bits"),
        ({"ratio": 2.01}, "2.01 times the reference's own rounding, the limit 2"),
        ({"ratio": math.inf}, "inf times"),
        ({"ratio": math.nan}, "nan times"),
        ({"ratio": None}, "schedules differ in the bits"),
    ],
)
def test_trouble_fails_by_name(changes: dict[str, Any], words: str) -> None:
    outcome, reason = found(GOOD.model_copy(update={"kernel": "fine"}), launched(**changes))
    assert outcome is Outcome.FAILED
    assert reason.startswith("1 of 2 do not: adaln bfloat16: ")
    assert words in reason


def test_what_was_not_executed_is_not_measured() -> None:
    lost = GOOD.model_copy(update={"launches": (), "error": "took longer than 600 s"})
    assert found(GOOD, lost) == (
        Outcome.NOT_MEASURED,
        "1 of 2 were not executed: adaln bfloat16: took longer than 600 s.",
    )
    absent = GOOD.model_copy(update={"launches": (), "unsupported": "no such format"})
    assert found(absent)[0] is Outcome.NOT_MEASURED
    assert found(GOOD, absent)[0] is Outcome.PASSED
    assert found(GOOD.model_copy(update={"launches": ()}))[0] is Outcome.FAILED
    assert find_trouble(absent) is None


def test_a_fault_outweighs_what_was_not_executed() -> None:
    lost = GOOD.model_copy(update={"launches": (), "error": "took longer than 600 s"})
    assert found(lost, launched(fault="race"))[0] is Outcome.FAILED


def test_executions_of_another_source_are_not_measured() -> None:
    other = COMPILED.model_copy(update={"kernel": "rms_silu"})
    record = with_target(make_record(), kernels=(COMPILED, other))
    fresh = tuple(
        GOOD.model_copy(update={"kernel": k.kernel, "variant": k.variant, "source_digest": k.source_digest})
        for k in (COMPILED, other)
    )
    assert judge(with_target(record, emulated=fresh)).outcome is Outcome.PASSED
    older = (fresh[0].model_copy(update={"source_digest": "c" * 64}), *fresh[1:])
    for stale in (older, fresh[1:]):
        verdict = judge(with_target(record, emulated=stale))
        (check,) = (check for check in verdict.checks if check.name == EMULATED)
        assert check.outcome is Outcome.NOT_MEASURED
        assert "run worldport verify" in check.reason
        assert verdict.outcome is Outcome.NOT_MEASURED
