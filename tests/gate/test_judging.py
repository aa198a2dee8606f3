"""What a change of the port does to the gate: worse is named, noise is left alone, and what is hidden shows."""

from typing import Any

import pytest

from porting.gate import Baseline, GateVerdict, Limits
from porting.gate.noise import Tolerance
from porting.record import Attestation, ChainLink, Distribution, Outcome, PortRecord
from tests.gate.records import (
    baseline_of,
    find,
    judge,
    make_kernel,
    ported,
    with_verdict,
)
from tests.verdict.records import TARGET, make_driver, with_target, with_throughput

P, F, N = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_MEASURED


def at_pace(factor: float, **changes: Any) -> PortRecord:
    """A port that takes `factor` times as long for a frame, eager being as fast as before."""
    ms = 10.0 * factor
    times = Distribution(frames=240, mean=ms, p50=0.99 * ms, p90=1.05 * ms, p99=1.2 * ms, max=1.5 * ms)
    drivers = (make_driver("port", ms), make_driver("eager", 40.0), make_driver("torch.compile", 20.0))
    return ported(frame_ms=times, frames_per_second=1000.0 / ms, drivers=drivers, **changes)


def outcomes(verdict: GateVerdict) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in verdict.checks if check.target == TARGET}


def test_a_slower_port_fails_by_rate_ratio_and_tail() -> None:
    found = outcomes(judge(at_pace(1.6), baseline_of(at_pace(1.0))))
    assert found["frames per second"] is F
    assert found["ratio to eager"] is F
    assert found["promised frames per second"] is P
    assert found["memory high water"] is P


def test_what_lies_within_the_written_tolerance_passes_and_is_told_as_unseen() -> None:
    baseline = baseline_of(at_pace(1.0))
    verdict = judge(at_pace(1.02), baseline)
    assert verdict.outcome is P
    timed = baseline.targets[TARGET].throughput
    assert timed is not None
    assert timed.tolerances.ratio_to_eager is not None
    effect = timed.tolerances.ratio_to_eager.smallest_effect
    assert f"{100 * effect:.2g} %" in find(verdict, "ratio to eager").unseen


def test_a_faster_port_passes() -> None:
    assert judge(at_pace(0.5), baseline_of(at_pace(1.0))).outcome is P


def test_a_missed_promise_fails_whatever_the_baseline_was() -> None:
    record = at_pace(5.0)
    found = outcomes(judge(record, baseline_of(at_pace(1.0))))
    assert found["promised frames per second"] is F


def test_a_tail_behind_the_deadline_fails_however_wide_the_tolerance() -> None:
    times = Distribution(frames=240, mean=10.0, p50=9.9, p90=10.5, p99=30.0, max=80.0)
    baseline = baseline_of(ported(frame_ms=times))
    late = times.model_copy(update={"p99": 45.0})
    check = find(judge(ported(frame_ms=late), baseline), "frame time p99")
    assert check.limit == pytest.approx(1000 / 24)
    assert check.outcome is F


def test_more_memory_fails() -> None:
    check = find(judge(ported(memory_high_water_bytes=2**30), baseline_of()), "memory high water")
    assert check.outcome is F
    assert "1024 MiB" in check.reason


def test_missed_deadlines_are_held_against_the_baselines_promise() -> None:
    paced = ported().targets[TARGET].throughput.paced.model_copy(update={"missed": 3})  # type: ignore[union-attr]
    record = with_throughput(ported(), paced=paced)
    assert find(judge(record, baseline_of()), "missed deadlines").outcome is F


def elsewhere(**host: Any) -> PortRecord:
    timed = ported().targets[TARGET].throughput
    assert timed is not None
    return ported(host=timed.host.model_copy(update=host))


def test_another_machine_refuses_absolute_figures_and_names_what_differs() -> None:
    verdict = judge(elsewhere(cpu="another", packages={"numpy": "9", "torch": "1"}), baseline_of())
    found = outcomes(verdict)
    assert [found[name] for name in ("frames per second", "frame time p99", "memory high water")] == [N, N, N]
    assert found["ratio to eager"] is P
    assert verdict.exit_code == 3
    reason = find(verdict, "frames per second").reason
    for words in ("cpu another (baseline a processor)", "numpy 9 (baseline 2.4.6)", "torch 1 (baseline not there)"):
        assert words in reason
    assert "Measured elsewhere: cpu another" in find(verdict, "ratio to eager").reason


def test_worldports_own_version_is_no_other_machine() -> None:
    packages = {"numpy": "2.4.6", "worldport": "9.9"}
    assert judge(elsewhere(packages=packages), baseline_of()).outcome is P


def test_ratios_alone_can_be_asked_for_and_it_is_said() -> None:
    verdict = judge(elsewhere(cpu="another"), baseline_of(), Limits(ratios_only=True))
    assert verdict.outcome is P
    assert "frames per second" not in outcomes(verdict)
    assert verdict.left_out == ("frames per second, frame time p99, memory high water: only ratios were asked for",)


def test_the_ratio_is_judged_on_another_machine_too() -> None:
    slow = (make_driver("port", 20.0), make_driver("eager", 40.0))
    timed = ported().targets[TARGET].throughput
    assert timed is not None
    record = ported(host=timed.host.model_copy(update={"cpu": "another"}), drivers=slow)
    verdict = judge(record, baseline_of(), Limits(ratios_only=True))
    assert find(verdict, "ratio to eager").outcome is F


def test_another_device_driver_or_clock_is_another_machine() -> None:
    from porting.record import DeviceUsed

    device = DeviceUsed(name="B200", architecture="sm_100", driver="615", clock_mhz=1900.0)
    baseline = baseline_of(ported(device=device))
    assert judge(ported(device=device.model_copy(update={"clock_mhz": 1930.0})), baseline).outcome is P
    for changes in ({"name": "B300"}, {"driver": "616"}, {"clock_mhz": 1200.0}, {"clock_mhz": None}):
        verdict = judge(ported(device=device.model_copy(update=changes)), baseline)
        assert find(verdict, "frames per second").outcome is N
    assert find(judge(ported(), baseline), "frames per second").outcome is N


def test_a_run_noisier_than_the_baseline_is_not_measured_instead_of_failed() -> None:
    noisy = make_driver("port", 10.5, ratio_to_eager=3.2, ratio_low=2.0, ratio_high=4.2)
    record = ported(drivers=(noisy, make_driver("eager", 40.0)))
    check = find(judge(record, baseline_of()), "ratio to eager")
    assert check.outcome is N
    assert "too noisy" in check.reason


def test_a_slowdown_beyond_the_runs_own_noise_fails() -> None:
    noisy = make_driver("port", 40.0, ratio_to_eager=1.0, ratio_low=0.9, ratio_high=1.1)
    record = ported(drivers=(noisy, make_driver("eager", 40.0)))
    assert find(judge(record, baseline_of()), "ratio to eager").outcome is F


def test_a_disturbed_machine_excuses_a_miss_but_never_passes_it() -> None:
    disturbed = at_pace(1.6, valid=False, disturbances=("others took the cores",))
    found = outcomes(judge(disturbed, baseline_of(at_pace(1.0))))
    assert found["frames per second"] is N
    assert found["ratio to eager"] is N


def test_a_baseline_too_noisy_to_see_anything_judges_nothing() -> None:
    baseline = change_tolerance(baseline_of(), relative=0.7)
    check = find(judge(ported(), baseline), "ratio to eager")
    assert check.outcome is N
    assert "quieter machine" in check.reason


def change_tolerance(baseline: Baseline, relative: float) -> Baseline:
    wide = Tolerance(relative=relative, smallest_effect=0.9, basis="noise")
    target = baseline.targets[TARGET]
    assert target.throughput is not None
    tolerances = target.throughput.tolerances.model_copy(update={"ratio_to_eager": wide})
    timed = target.throughput.model_copy(update={"tolerances": tolerances})
    return baseline.model_copy(update={"targets": {TARGET: target.model_copy(update={"throughput": timed})}})


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("parity", "error_budget_ratio", 10.0),
        ("parity", "envelope_margin_db", 30.0),
        ("parity", "free_running_frames", 2),
        ("throughput", "frames_per_second", 1.0),
        ("throughput", "max_missed_share", 0.5),
        ("throughput", "timed_frames", 10),
    ],
)
def test_a_profile_that_asks_for_less_fails(part: str, field: str, value: float) -> None:
    profile = ported().targets[TARGET].profile
    looser = profile.model_copy(update={part: getattr(profile, part).model_copy(update={field: value})})
    check = find(judge(with_target(ported(), profile=looser), baseline_of()), "budgets")
    assert check.outcome is F
    assert field in check.reason


def test_a_stricter_profile_passes() -> None:
    profile = ported().targets[TARGET].profile
    stricter = profile.model_copy(update={"parity": profile.parity.model_copy(update={"error_budget_ratio": 1.5})})
    assert find(judge(with_target(ported(), profile=stricter), baseline_of()), "budgets").outcome is P


def test_limits_of_the_caller_hold_without_a_baseline() -> None:
    verdict = judge(ported(), None, Limits(min_fps=24, max_error_budget_ratio=1.5))
    assert verdict.outcome is P
    assert verdict.against == "no baseline"
    assert judge(ported(), None, Limits(min_fps=240)).exit_code == 1
    assert judge(ported(), None, Limits(max_error_budget_ratio=1.1)).exit_code == 1
    assert judge(with_target(ported(), throughput=None), None, Limits(min_fps=1)).exit_code == 3


def change_artifacts(**changes: Any) -> PortRecord:
    first, *others = ported().targets[TARGET].artifacts
    return with_target(ported(), artifacts=(first.model_copy(update=changes), *others))


def attestation(**changes: Any) -> Attestation:
    read = ported().targets[TARGET].artifacts[0].attestation
    assert read is not None
    return read.model_copy(update=changes)


@pytest.mark.parametrize(
    ("record", "outcome", "words"),
    [
        (change_artifacts(attestation=attestation(layers_by_precision={"fp32": 3, "fp16": 1})), F, "fp16"),
        (change_artifacts(attestation=attestation(layers_by_backend={"CPUExecutionProvider": 1, "x": 1})), F, "on x"),
        (change_artifacts(attestation=attestation(layers_by_precision={})), N, "nothing was read back"),
        (change_artifacts(attestation=None), N, "nothing was read back"),
        (change_artifacts(path=None, error="RuntimeError: no"), F, "RuntimeError: no"),
        (change_artifacts(backend="tensorrt"), F, "does no more"),
    ],
)
def test_what_is_in_an_artifact(record: PortRecord, outcome: Outcome, words: str) -> None:
    check = find(judge(record, baseline_of()), "attestation", subject="dreamer")
    assert check.outcome is outcome
    assert words in check.reason


def test_a_backend_that_this_host_cannot_build_is_not_measured() -> None:
    gone = ported().targets[TARGET].artifacts[1:]
    link = ChainLink(backend="onnxruntime", builds=False, reason="onnxruntime is not installed")
    record = with_target(ported(), artifacts=gone, chain=(link,))
    check = find(judge(record, baseline_of()), "attestation", subject="dreamer")
    assert check.outcome is N
    assert "not installed" in check.reason


def test_another_proved_backend_may_be_chosen() -> None:
    """Two backends within each other's noise take turns in being the fastest: that is no finding."""
    own = ported().targets[TARGET].artifacts
    rivals = tuple(artifact.model_copy(update={"backend": "openvino", "chosen": False}) for artifact in own)
    baseline = baseline_of(with_target(ported(), artifacts=(*own, *rivals)))
    swapped = tuple(artifact.model_copy(update={"chosen": artifact.backend == "openvino"}) for artifact in own + rivals)
    check = find(judge(with_target(ported(), artifacts=swapped), baseline), "attestation", subject="decoder")
    assert check.outcome is P


@pytest.mark.parametrize(
    ("kernels", "outcome", "words"),
    [
        ((make_kernel(), make_kernel("rms")), P, "All 2 kernels are there"),
        ((make_kernel(), make_kernel("rms"), make_kernel("new")), P, "1 more are not in the baseline"),
        ((make_kernel(),), F, "rms.bfloat16"),
        ((make_kernel(), make_kernel("rms", error="no registers left", files=())), F, "no registers left"),
        ((), N, "No kernel was compiled"),
        ((make_kernel(), make_kernel("rms", architecture_found="cuda:90")), F, "cuda:90"),
        ((make_kernel(), make_kernel("rms", spill_store_bytes=64)), F, "64 bytes a thread, 0 before"),
        ((make_kernel(), make_kernel("rms", spill_store_bytes=None)), N, "could not be read"),
        ((make_kernel(), make_kernel("rms", tensor_instructions={})), F, "have none any more"),
    ],
)
def test_kernels(kernels: tuple[Any, ...], outcome: Outcome, words: str) -> None:
    baseline = baseline_of(with_target(ported(), kernels=(make_kernel(), make_kernel("rms"))))
    check = find(judge(with_target(ported(), kernels=kernels), baseline), "kernels")
    assert check.outcome is outcome
    assert words in check.reason


def test_a_failed_verdict_fails_with_its_reason() -> None:
    parity = ported().targets[TARGET].parity
    assert parity is not None
    wrong = tuple(output.model_copy(update={"ratio": 3.0, "error_port": 3e-7}) for output in parity.outputs)
    record = with_verdict(with_target(ported(), parity=parity.model_copy(update={"outputs": wrong})))
    verdict = judge(record, baseline_of())
    assert find(verdict, "verdict").outcome is F
    assert find(verdict, "error budget ratio", subject="dreamer").outcome is F


def test_an_infinite_figure_passes_nothing() -> None:
    check = find(judge(with_throughput(ported(), frames_per_second=float("inf")), baseline_of()), "frames per second")
    assert check.outcome is F


def test_a_loosened_budget_is_not_what_ratios_are_held_against() -> None:
    target = ported().targets[TARGET]
    assert target.parity is not None
    looser = target.profile.model_copy(
        update={"parity": target.profile.parity.model_copy(update={"error_budget_ratio": 10.0})}
    )
    wrong = tuple(output.model_copy(update={"ratio": 3.0, "error_port": 3e-7}) for output in target.parity.outputs)
    parity = target.parity.model_copy(update={"outputs": wrong})
    record = with_verdict(with_target(ported(), profile=looser, parity=parity))
    verdict = judge(record, baseline_of())
    assert find(verdict, "verdict").outcome is P
    assert find(verdict, "error budget ratio", subject="dreamer").outcome is F
