"""Every target gets a limit: measured where it ran, a projection where it did not, a reason where there is neither."""

from pathlib import Path
from typing import Any

import pytest

from porting.content import folder as content_folder
from porting.errors import RunnerError
from porting.pipeline import again, limiting
from porting.pipeline import port as port_module
from porting.pipeline.limiting import limit_name, limit_on_host
from porting.pipeline.progress import Silent
from porting.profile import Profile, read_profile
from porting.record import Calibration, CalibrationSample, PortRecord
from porting.roofline import settle_calibration
from tests.pipeline.fakes import COMPONENTS, Fakes, count_frame, make_profile, make_program, make_request


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.reused_names: list[str] = []
        self.failures: dict[str, str] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def reused(self, name: str) -> None:
        self.reused_names.append(name)

    def failed(self, name: str, reason: str) -> None:
        self.failures[name] = reason


def chip(name: str, **changes: Any) -> Profile:
    profile = read_profile(content_folder("profiles") / f"{name}.toml")
    choice = make_profile().compile.model_copy(update={"precisions": ("fp32",), **changes})
    return profile.model_copy(update={"compile": choice})


def port(out: Path, observer: Silent, *profiles: Profile) -> PortRecord:
    return port_module.port(make_request(out, profiles=(make_profile(), *profiles)), observer)


def test_a_target_that_ran_is_held_against_this_hosts_peaks(tmp_path: Path, fakes: Fakes) -> None:
    limit = port(tmp_path, Silent()).targets["cpu"].limit
    assert limit is not None
    assert [part.component for part in limit.components] == list(COMPONENTS)
    # 2 * 100^3 operations in 0.2 ms: a million take 0.1 ms.
    assert limit.floor_ms == pytest.approx(0.2)
    assert limit.measured_ms == 1.0
    assert not limit.peaks.projected
    assert limit.calibration is not None
    assert len(limit.calibration.samples) == 2
    assert limit.assumptions


def test_a_target_that_did_not_run_gets_a_projection_with_its_assumptions(tmp_path: Path, fakes: Fakes) -> None:
    limit = port(tmp_path, Silent(), chip("b200")).targets["b200"].limit
    assert limit is not None
    assert limit.peaks.projected
    assert (limit.measured_ms, limit.achieved, limit.calibration) == (None, None, None)
    assert {part.measured_ms for part in limit.components} == {None}
    assert any("80 TFLOP/s in dense products and 8000 GB/s" in line for line in limit.assumptions)


def test_a_profile_without_the_peak_is_a_reason_and_no_failure(tmp_path: Path, fakes: Fakes) -> None:
    profile = chip("b200")
    bare = profile.model_copy(update={"device": profile.device.model_copy(update={"peaks": {}})})
    observer = Notes()
    assert port(tmp_path, observer, bare).targets["b200"].limit is None
    assert observer.failures == {}
    assert any("b200: no limit" in note and "peaks.fp32" in note for note in observer.notes)


def test_a_second_port_reuses_limits_and_a_bench_makes_them_anew(
    tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    port(tmp_path, Silent(), chip("b200"))
    calls: list[int] = []

    def calibrate(threads: int) -> Calibration:
        calls.append(threads)
        samples = [CalibrationSample(what="matmul", size=100, seconds=1e-3)]
        return settle_calibration(threads, [*samples, CalibrationSample(what="copy", size=1000, seconds=1e-6)], ())

    monkeypatch.setattr(limiting, "calibrate_host", calibrate)
    observer = Notes()
    port(tmp_path, observer, chip("b200"))
    assert {limit_name("cpu"), limit_name("b200")} <= set(observer.reused_names)
    assert calls == []
    limit = again.bench(tmp_path, ("cpu",), 1, Silent()).targets["cpu"].limit
    assert calls == [1]
    assert limit is not None
    assert limit.floor_ms == pytest.approx(1.0)


def test_a_host_that_cannot_be_calibrated_costs_no_verdict(
    tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrate(threads: int) -> Calibration:
        raise RunnerError("calibration: the child measured nothing")

    monkeypatch.setattr(limiting, "calibrate_host", calibrate)
    observer = Notes()
    target = port(tmp_path, observer).targets["cpu"]
    assert target.limit is None
    assert target.verdict is not None
    assert target.verdict.outcome == "passed"
    assert "measured nothing" in observer.failures[limit_name("cpu")]


def test_a_peak_below_what_was_measured_is_measured_again() -> None:
    seconds = [2e-2, 2e-2, 1e-4]
    calls: list[int] = []

    def calibrate(threads: int) -> Calibration:
        product = CalibrationSample(what="matmul", size=100, seconds=seconds[len(calls)])
        calls.append(threads)
        copy = CalibrationSample(what="copy", size=1000, seconds=1e-6)
        return settle_calibration(threads, [product, copy], ("it was busy",))

    work = count_frame(make_program(), {}, "fp32")
    limit = limit_on_host(work, 2, {"encoder": 0.9}, 2.0, calibrate)
    assert calls == [2, 2, 2]
    assert limit.peaks.matrix_flops_per_second == pytest.approx(2e10)
    assert limit.components[0].achieved == pytest.approx(0.05 / 0.9)
    assert limit.calibration is not None
    assert len(limit.calibration.samples) == 6
    assert limit.calibration.disturbances == ("it was busy",)
    calls.clear()
    assert limit_on_host(work, 2, {"encoder": 100.0}, 200.0, calibrate).achieved is not None
    assert calls == [2]
