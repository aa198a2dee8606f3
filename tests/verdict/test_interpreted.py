"""The triton backend is judged by what the interpreter made of a rollout, and by nothing when it made none."""

import pytest

from porting.record import ArtifactRecord, ChainLink, Outcome, PortRecord, Step
from porting.verdict.artifacts import explain_fallback
from porting.verdict.interpreted import check_interpreted
from tests.verdict.records import TARGET, make_record, with_target


@pytest.fixture
def interpreted() -> PortRecord:
    """A port with a triton artifact of each component, whose short rollout agreed."""
    record = make_record()
    found = record.targets[TARGET]
    assert found.parity is not None
    artifacts = tuple(
        ArtifactRecord(component=c.name, backend="triton", precision="fp32", path=f"{c.name}.triton.pt2")
        for c in record.program.components
    )
    outputs = tuple(o.model_copy(update={"backend": "triton interpreter"}) for o in found.parity.outputs)
    evidence = found.parity.model_copy(update={"outputs": outputs})
    return with_target(record, artifacts=artifacts, parity=None).model_copy(update={"interpreted": evidence})


def outcome(record: PortRecord) -> tuple[Outcome, str]:
    (check,) = check_interpreted(record, record.targets[TARGET])
    assert check.step is Step.ATTESTED
    return check.outcome, check.reason


def test_a_rollout_that_agrees_is_told_with_its_frames_and_its_limits(interpreted: PortRecord) -> None:
    came_to, reason = outcome(interpreted)
    assert came_to is Outcome.PASSED
    assert "frames run by Triton's interpreter" in reason
    assert "compiled code was not run" in reason


def test_a_target_without_the_backend_has_no_such_check() -> None:
    record = make_record()
    assert check_interpreted(record, record.targets[TARGET]) == ()


def test_nothing_interpreted_is_not_measured(interpreted: PortRecord) -> None:
    came_to, _ = outcome(interpreted.model_copy(update={"interpreted": None}))
    assert came_to is Outcome.NOT_MEASURED


def test_one_output_that_is_off_fails_and_is_named(interpreted: PortRecord) -> None:
    evidence = interpreted.interpreted
    assert evidence is not None
    first, *others = evidence.outputs
    wrong = (first.model_copy(update={"ratio": 9.0, "error_port": 1e-3}), *others)
    spoilt = interpreted.model_copy(update={"interpreted": evidence.model_copy(update={"outputs": wrong})})
    came_to, reason = outcome(spoilt)
    assert came_to is Outcome.FAILED
    assert f"{first.component}.{first.output}" in reason


def test_a_rollout_of_one_frame_never_read_what_a_kernel_wrote(interpreted: PortRecord) -> None:
    evidence = interpreted.interpreted
    assert evidence is not None
    assert evidence.free_running is not None
    one = {
        name: getattr(evidence.free_running, name)[:1]
        for name in ("psnr_db", "ssim", "envelope_psnr_db", "envelope_ssim")
    }
    short = evidence.model_copy(update={"free_running": evidence.free_running.model_copy(update=one)})
    came_to, _ = outcome(interpreted.model_copy(update={"interpreted": short}))
    assert came_to is not Outcome.PASSED


def test_a_fallback_is_told_with_the_reason_of_each_that_it_stands_in_for(interpreted: PortRecord) -> None:
    component = interpreted.program.components[0].name
    chain = (
        ChainLink(backend="tensorrt", builds=False, reason="is not installed"),
        ChainLink(backend="tensorrt_rtx", builds=True, reason="builds here"),
        ChainLink(backend="triton", builds=True, reason="builds here"),
        ChainLink(backend="inductor", builds=False, reason="is not driven"),
    )
    failed = ArtifactRecord(
        component=component, backend="tensorrt_rtx", precision="fp32", path=None, error="no kernel for Attention"
    )
    artifacts = (*interpreted.targets[TARGET].artifacts, failed)
    target = with_target(interpreted, chain=chain, artifacts=artifacts).targets[TARGET]
    said = explain_fallback(target, component)
    assert said == " In place of tensorrt (is not installed); tensorrt_rtx (no kernel for Attention)."
    first = with_target(interpreted, chain=chain[2:]).targets[TARGET]
    assert explain_fallback(first, component) == ""
