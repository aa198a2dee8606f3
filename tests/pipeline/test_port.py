import threading
from pathlib import Path

import pytest

from porting.bundle import Bundle
from porting.errors import BackendMissingError, BundleError, ExportError, RunnerError, UsageError
from porting.pipeline import again, emulating
from porting.pipeline.compiling import plan_compiles
from porting.pipeline.port import export, port
from porting.pipeline.progress import Silent
from porting.pipeline.request import choose_precision, limit_frames
from porting.pipeline.workshop import Workshop
from porting.profile import Device
from porting.record import ChainLink, Outcome, PortRecord, Step
from tests.pipeline.fakes import COMPONENTS, Fakes, make_profile, make_request


class Recorder(Silent):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def planned(self, names: tuple[str, ...]) -> None:
        self.heard += [("planned", name) for name in names]

    def started(self, name: str) -> None:
        self.heard.append(("started", name))

    def finished(self, name: str, seconds: float) -> None:
        self.heard.append(("finished", name))

    def failed(self, name: str, reason: str) -> None:
        self.heard.append(("failed", name))

    def reused(self, name: str) -> None:
        self.heard.append(("reused", name))

    def note(self, text: str) -> None:
        self.heard.append(("note", text))

    def names(self, kind: str) -> set[str]:
        return {name for heard, name in self.heard if heard == kind}


def chosen(record: PortRecord) -> dict[str, str]:
    return {a.component: a.backend for a in record.targets["cpu"].artifacts if a.chosen}


def outcome(record: PortRecord) -> Outcome:
    verdict = record.targets["cpu"].verdict
    assert verdict is not None
    return verdict.outcome


def test_the_fastest_proved_artifact_is_chosen_for_each_component(tmp_path: Path, fakes: Fakes) -> None:
    fakes.ratios["decoder", "onnxruntime"] = 2.5
    record = port(make_request(tmp_path), Silent())
    assert chosen(record) == {"encoder": "onnxruntime", "decoder": "openvino"}
    # What is judged is what was chosen.
    assert fakes.timed == [{"encoder": "onnxruntime", "decoder": "openvino"}]
    target = record.targets["cpu"]
    assert target.throughput is not None
    # Every backend is driven for the table, and the table says which of them is no port.
    assert {driver.name: driver.proved for driver in target.throughput.drivers} == {
        "port": True,
        "eager": None,
        "torch.compile": None,
        "openvino": True,
        "onnxruntime": False,
    }
    times = {(a.component, a.backend): a.median_ms for a in target.artifacts}
    assert times["encoder", "openvino"] == 2.0
    # An artifact that is not proved is no candidate, whatever its time.
    assert times["decoder", "onnxruntime"] is None
    assert target.parity is not None
    # The evidence against it is kept all the same.
    assert {(o.component, o.backend) for o in target.parity.outputs} == {
        (component, backend) for component in COMPONENTS for backend in ("openvino", "onnxruntime")
    }
    assert outcome(record) is Outcome.PASSED


@pytest.mark.parametrize("ratio", [float("nan"), float("inf")])
def test_what_is_not_a_number_proves_nothing(tmp_path: Path, fakes: Fakes, ratio: float) -> None:
    fakes.ratios["encoder", "onnxruntime"] = ratio
    assert chosen(port(make_request(tmp_path), Silent()))["encoder"] == "openvino"


def test_where_nothing_is_proved_the_least_wrong_is_shown(tmp_path: Path, fakes: Fakes) -> None:
    fakes.ratios = {("decoder", "onnxruntime"): 9.0, ("decoder", "openvino"): 7.0}
    record = port(make_request(tmp_path), Silent())
    assert chosen(record)["decoder"] == "openvino"


def test_a_backend_that_fails_is_recorded_and_tried_again(tmp_path: Path, fakes: Fakes) -> None:
    fakes.compile_errors["onnxruntime"] = "no such operator"
    observer = Recorder()
    record = port(make_request(tmp_path), observer)
    assert chosen(record) == dict.fromkeys(COMPONENTS, "openvino")
    errors = {a.backend: a.error for a in record.targets["cpu"].artifacts}
    assert errors == {"openvino": None, "onnxruntime": "no such operator"}
    assert observer.names("failed") == {"compile cpu encoder onnxruntime", "compile cpu decoder onnxruntime"}
    assert observer.names("planned") == observer.names("finished") | observer.names("failed")
    Bundle(tmp_path).verify_files(record)
    fakes.compile_errors.clear()
    assert chosen(port(make_request(tmp_path), Silent())) == dict.fromkeys(COMPONENTS, "onnxruntime")


def test_a_compiler_that_breaks_unexpectedly_is_one_backend_less(tmp_path: Path, fakes: Fakes) -> None:
    fakes.broken["compile decoder onnxruntime"] = MemoryError()
    record = port(make_request(tmp_path), Silent())
    assert chosen(record) == {"encoder": "onnxruntime", "decoder": "openvino"}
    (broken,) = [a for a in record.targets["cpu"].artifacts if a.error is not None]
    assert broken.error == "MemoryError()"


def test_a_component_without_any_artifact_is_not_timed_and_does_not_pass(tmp_path: Path, fakes: Fakes) -> None:
    fakes.compile_errors = dict.fromkeys(("onnxruntime", "openvino"), "no")
    record = port(make_request(tmp_path), Silent())
    assert chosen(record) == {}
    assert record.targets["cpu"].throughput is None
    assert outcome(record) is not Outcome.PASSED


def test_a_runtime_that_is_missing_says_nothing_of_its_artifact(tmp_path: Path, fakes: Fakes) -> None:
    fakes.open_errors["onnxruntime"] = BackendMissingError("onnxruntime: is not here; pip install it")
    observer = Recorder()
    record = port(make_request(tmp_path), observer)
    assert chosen(record) == dict.fromkeys(COMPONENTS, "openvino")
    assert all(a.error is None for a in record.targets["cpu"].artifacts)
    assert "onnxruntime: is not here; pip install it" in observer.names("note")


def test_an_artifact_that_does_not_load_is_no_candidate(tmp_path: Path, fakes: Fakes) -> None:
    fakes.open_errors["onnxruntime"] = RunnerError("decoder: has other inputs; compile it again")
    record = port(make_request(tmp_path), Silent())
    assert chosen(record) == dict.fromkeys(COMPONENTS, "openvino")
    assert "other inputs" in str([a.error for a in record.targets["cpu"].artifacts if a.backend == "onnxruntime"])


@pytest.mark.parametrize("stage", ["export decoder", "trace", "parity", "throughput"])
def test_a_stage_that_breaks_is_recorded_and_fails_the_port(tmp_path: Path, fakes: Fakes, stage: str) -> None:
    assert outcome(port(make_request(tmp_path), Silent())) is Outcome.PASSED
    fakes.broken[stage] = ZeroDivisionError("by zero")
    fakes.digest = "b" * 64
    record = port(make_request(tmp_path), Silent())
    target = record.targets["cpu"]
    assert outcome(record) is Outcome.FAILED
    (broken,) = [made for made in record.stages if made.error is not None]
    assert broken.name.removesuffix(" cpu") == stage
    assert "Traceback" in str(broken.error)
    assert "ZeroDivisionError: by zero" in str(broken.error)
    assert target.throughput is None
    assert target.verdict is not None
    (check,) = [check for check in target.verdict.checks if check.subject == broken.name]
    assert "ZeroDivisionError: by zero" in check.reason
    assert target.verdict.reached is not Step.THROUGHPUT
    fakes.broken.clear()
    assert outcome(port(make_request(tmp_path), Silent())) is Outcome.PASSED


@pytest.mark.parametrize("stage", ["parity", "throughput"])
def test_a_broken_stage_does_not_leave_old_evidence(tmp_path: Path, fakes: Fakes, stage: str) -> None:
    port(make_request(tmp_path), Silent())
    fakes.broken[stage] = ZeroDivisionError()
    (tmp_path / "targets/cpu/frames.csv").write_text("damaged")
    (tmp_path / "targets/cpu/rollout_port.png").write_text("damaged")
    record = port(make_request(tmp_path), Silent())
    target = record.targets["cpu"]
    assert target.throughput is None
    assert (target.parity is None) == (stage == "parity")
    assert outcome(record) is Outcome.FAILED


def test_what_the_user_can_change_is_raised(tmp_path: Path, fakes: Fakes) -> None:
    fakes.broken["export decoder"] = ExportError("decoder: hides a buffer; declare it")
    with pytest.raises(ExportError, match="hides a buffer"):
        port(make_request(tmp_path), Silent())
    record = Bundle(tmp_path).read_record()
    assert record.targets["cpu"].verdict is None
    assert "export encoder" in {made.name for made in record.stages}


def test_compiles_run_at_once(tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(4, timeout=30)
    from porting import compilers

    def wait(request: object) -> object:
        meeting.wait()
        return fakes.compile_component(request)

    monkeypatch.setattr(compilers, "compile_component", wait)
    assert outcome(port(make_request(tmp_path, jobs=4), Silent())) is Outcome.PASSED


def test_export_stops_after_the_trace(tmp_path: Path, fakes: Fakes) -> None:
    record = export(make_request(tmp_path), Silent())
    assert fakes.log.read_text().splitlines() == ["export encoder", "export decoder", "trace"]
    assert outcome(record) is Outcome.NOT_MEASURED


def test_a_target_without_its_device_is_compiled_and_not_run(tmp_path: Path, fakes: Fakes) -> None:
    profile = make_profile(device=Device(kind="hip", architecture="gfx950"))
    choice = profile.compile.model_copy(update={"backends": ("triton",)})
    fakes.installed.add("triton")
    record = port(make_request(tmp_path, profiles=(profile.model_copy(update={"compile": choice}),)), Silent())
    target = record.targets["cpu"]
    assert len(target.artifacts) == 2
    assert target.parity is None
    assert target.verdict is not None
    assert target.verdict.highest_possible is Step.ATTESTED
    assert [link.backend for link in target.chain if link.builds] == ["triton"]
    done = fakes.log.read_text().splitlines()
    # A component with its kernels is there before what compiles it, and the library is compiled in one go.
    for component in COMPONENTS:
        assert done.index(f"export {component} with kernels") < done.index(f"compile {component} triton")
    assert done.index("fill hip:gfx950") < done.index("kernels hip:gfx950")
    assert done.index("trace") < done.index("interpret")
    assert record.interpreted is not None
    assert (tmp_path / "targets/cpu/kernels/adaln.cubin").read_text() == "hip:gfx950"


def test_two_targets_share_one_compile_of_the_kernel_library(tmp_path: Path, fakes: Fakes) -> None:
    fakes.installed.add("triton")
    chips = {"cpu": "gfx950", "other": "gfx942"}
    profiles = tuple(
        profile.model_copy(
            update={"name": name, "compile": profile.compile.model_copy(update={"backends": ("triton",)})}
        )
        for name, chip in chips.items()
        for profile in [make_profile(device=Device(kind="hip", architecture=chip))]
    )
    record = port(make_request(tmp_path, profiles=profiles), Silent())
    assert fakes.log.read_text().splitlines().count("fill hip:gfx950 hip:gfx942") == 1
    assert {stage.name for stage in record.stages} >= {"kernels cpu", "kernels other"}
    assert record.interpreted is not None
    fakes.log.write_text("")
    again_made = port(make_request(tmp_path, profiles=profiles), Silent())
    assert fakes.log.read_text() == ""
    assert again_made.interpreted == record.interpreted


def test_verify_measures_parity_anew_and_keeps_the_choice(tmp_path: Path, fakes: Fakes) -> None:
    before = port(make_request(tmp_path), Silent())
    fakes.log.write_text("")
    fakes.call_ms = {"openvino": 1.0, "onnxruntime": 2.0}
    after = again.verify(tmp_path, (), 1, Silent())
    assert fakes.log.read_text().splitlines() == ["parity"]
    assert chosen(after) == chosen(before)
    assert after.targets["cpu"].throughput == before.targets["cpu"].throughput
    Bundle(tmp_path).verify_files(after)
    fakes.log.write_text("")
    # A port of the same request knows the new parity as its own.
    port(make_request(tmp_path), Silent())
    assert "parity" not in fakes.log.read_text()


def test_verify_executes_the_kernels_of_targets_that_are_not_here(tmp_path: Path, fakes: Fakes) -> None:
    fakes.installed.add("triton")
    profiles = (
        make_profile(),
        *(
            make_profile(device=Device(kind="hip", architecture=chip)).model_copy(update={"name": name})
            for name, chip in {"mi355x": "gfx950", "mi300x": "gfx942"}.items()
        ),
    )
    port(make_request(tmp_path, profiles=profiles), Silent())
    fakes.log.write_text("")
    record = again.verify(tmp_path, (), 1, Silent())
    emulated = [line for line in fakes.log.read_text().splitlines() if line.startswith("emulate")]
    # All of them at once, which fills the cache; then each for itself.
    assert emulated == ["emulate hip:gfx942 hip:gfx950", "emulate hip:gfx942", "emulate hip:gfx950"]
    assert record.targets["cpu"].emulated == ()
    assert [kernel.architecture for kernel in record.targets["mi355x"].emulated] == ["hip:gfx950"]
    fakes.log.write_text("")
    again.verify(tmp_path, ("mi355x",), 1, Silent())
    assert fakes.log.read_text() == ""
    # A port keeps what was executed, as long as the kernels are the same.
    kept = port(make_request(tmp_path, profiles=profiles), Silent()).targets["mi355x"].emulated
    assert kept == record.targets["mi355x"].emulated


def test_an_emulation_that_breaks_fails_its_target(
    tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.installed.add("triton")
    amd = make_profile(device=Device(kind="hip", architecture="gfx950")).model_copy(update={"name": "mi355x"})
    port(make_request(tmp_path, profiles=(make_profile(), amd)), Silent())

    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("porting.emulation.emulate_kernels", break_down)
    verdict = again.verify(tmp_path, (), 1, Silent()).targets["mi355x"].verdict
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert "emulate mi355x broke: ZeroDivisionError: by zero" in {check.reason for check in verdict.checks}


def test_verify_says_what_it_lacks_to_execute_kernels(
    tmp_path: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.installed.add("triton")
    amd = make_profile(device=Device(kind="hip", architecture="gfx950")).model_copy(update={"name": "mi355x"})
    port(make_request(tmp_path, profiles=(make_profile(), amd)), Silent())
    monkeypatch.setattr(emulating, "find_spec", lambda name: None if name == "triton" else object())
    heard: list[str] = []
    observer = Silent()
    monkeypatch.setattr(observer, "note", heard.append, raising=False)
    record = again.verify(tmp_path, (), 1, observer)
    assert record.targets["mi355x"].emulated == ()
    assert heard[-1] == "kernels are not executed in an emulator: triton not installed; install worldport[triton]"


def test_verify_chooses_anew_where_the_chosen_cannot_run(tmp_path: Path, fakes: Fakes) -> None:
    port(make_request(tmp_path), Silent())
    fakes.open_errors["onnxruntime"] = BackendMissingError("onnxruntime: is not here; pip install it")
    record = again.verify(tmp_path, (), 1, Silent())
    assert chosen(record) == dict.fromkeys(COMPONENTS, "openvino")
    # Throughput of the other artifacts says nothing about these.
    assert record.targets["cpu"].throughput is None
    assert outcome(record) is Outcome.NOT_MEASURED
    Bundle(tmp_path).verify_files(record)


def test_a_chosen_artifact_that_went_wrong_stays_chosen_and_fails(tmp_path: Path, fakes: Fakes) -> None:
    port(make_request(tmp_path), Silent())
    fakes.ratios["decoder", "onnxruntime"] = 100.0
    record = again.verify(tmp_path, ("cpu",), 1, Silent())
    assert chosen(record)["decoder"] == "onnxruntime"
    parity = record.targets["cpu"].parity
    assert parity is not None
    assert max(o.ratio for o in parity.outputs if o.component == "decoder" and o.backend == "onnxruntime") == 100.0


def test_bench_times_the_chosen_anew(tmp_path: Path, fakes: Fakes) -> None:
    port(make_request(tmp_path), Silent())
    fakes.log.write_text("")
    record = again.bench(tmp_path, (), 1, Silent())
    assert fakes.log.read_text().splitlines() == ["throughput"]
    assert outcome(record) is Outcome.PASSED
    Bundle(tmp_path).verify_files(record)


def test_compile_again_drops_the_evidence_of_the_old_artifacts(tmp_path: Path, fakes: Fakes) -> None:
    port(make_request(tmp_path), Silent())
    fakes.log.write_text("")
    record = again.compile_again(tmp_path, (), 1, 2, Silent())
    assert len(fakes.log.read_text().splitlines()) == 4
    target = record.targets["cpu"]
    assert target.parity is None
    assert target.throughput is None
    assert not chosen(record)
    Bundle(tmp_path).verify_files(record)
    with pytest.raises(UsageError, match="verify first"):
        again.bench(tmp_path, (), 1, Silent())
    assert outcome(again.verify(tmp_path, (), 1, Silent())) is Outcome.NOT_MEASURED
    assert outcome(again.bench(tmp_path, (), 1, Silent())) is Outcome.PASSED


@pytest.mark.parametrize("command", [again.verify, again.bench])
def test_a_damaged_bundle_is_refused_before_anything_runs(tmp_path: Path, fakes: Fakes, command) -> None:  # type: ignore[no-untyped-def]
    port(make_request(tmp_path), Silent())
    (tmp_path / "targets/cpu/decoder.openvino.bin").write_text("damaged")
    fakes.log.write_text("")
    before = (tmp_path / "port.json").read_bytes()
    with pytest.raises(BundleError, match=r"targets/cpu/decoder\.openvino\.bin"):
        command(tmp_path, (), 1, Silent())
    assert fakes.log.read_text() == ""
    assert (tmp_path / "port.json").read_bytes() == before


def test_a_target_that_the_bundle_lacks_is_refused(tmp_path: Path, fakes: Fakes) -> None:
    port(make_request(tmp_path), Silent())
    with pytest.raises(UsageError, match="target 'b200': is not in the bundle; it has cpu"):
        again.verify(tmp_path, ("b200",), 1, Silent())


@pytest.mark.parametrize("frames", [0, -1])
def test_no_frames_are_refused(frames: int) -> None:
    with pytest.raises(UsageError, match=f"--frames {frames}: no frame would be compared"):
        limit_frames(make_profile(), frames)


def test_frames_replace_every_count() -> None:
    profile = limit_frames(make_profile(), 5)
    assert (profile.parity.free_running_frames, profile.parity.teacher_forced_frames) == (5, 5)
    assert (profile.throughput.timed_frames, profile.throughput.paced_frames) == (5, 5)
    assert limit_frames(make_profile(), None) == make_profile()


def test_a_precision_that_a_target_does_not_offer_is_refused() -> None:
    assert choose_precision((make_profile(),), None) == "fp32"
    with pytest.raises(UsageError, match="does not offer precision 'fp16'; it offers fp32"):
        choose_precision((make_profile(),), "fp16")


def test_plugins_are_made_before_the_engine_that_takes_them(tmp_path: Path, fakes: Fakes) -> None:
    profile = make_profile()
    choice = profile.compile.model_copy(update={"backends": ("tensorrt_plugins", "triton")})
    asked = make_request(tmp_path, profiles=(profile.model_copy(update={"compile": choice}),))
    record = port(make_request(tmp_path / "any"), Silent())
    target = record.targets["cpu"]
    chain = tuple(ChainLink(backend=name, builds=True, reason="") for name in choice.backends)
    changed = target.model_copy(update={"profile": asked.profiles[0], "chain": chain})
    workshop = Workshop(Bundle(tmp_path / "any"), record.model_copy(update={"targets": {"cpu": changed}}), Silent())
    (together,) = plan_compiles(workshop, "cpu", "encoder", record.host)
    assert [stage.name for stage in together] == ["compile cpu encoder triton", "compile cpu encoder tensorrt_plugins"]
    assert together[0].inputs["plugins"] is True
    assert set(together[1].after) >= {together[0].name, "export encoder with kernels"}
