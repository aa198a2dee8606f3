"""What this host can do for a target, told for hosts that have everything, nothing, or something else."""

import pytest

from porting import content
from porting.devices import Census, FoundDevice
from porting.pipeline import abilities
from porting.pipeline.abilities import Ability, Link, describe_ability, match_device
from porting.pipeline.backends import BACKENDS
from porting.profile import Profile, find_profile
from porting.record import Step

NOWHERE = Census("cuda", note="no CUDA driver")
VERSIONS = {
    "torch": "2.13.0",
    "onnxruntime": "1.31.1",
    "openvino": "2026.4.1",
    "triton": "3.9.0",
    "tensorrt": "11.4.0",
    "tensorrt-rtx": "1.7.1.116",
    "onnxruntime-gpu": "1.31.1",
    "onnxruntime-migraphx": "1.27.1",
    "nvidia-cuda-nvdisasm": "13.5.37",
}


class FakeHost:
    """A host with knobs: it has every package, every module of worldport, and no device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.versions = dict(VERSIONS)
        self.compilers = set(BACKENDS)
        self.runners = set(BACKENDS)
        self.census = NOWHERE
        self.kernel_compiler = True
        monkeypatch.setattr(abilities, "find_version", self.versions.get)
        monkeypatch.setattr(abilities, "has_compiler", lambda backend: backend in self.compilers)
        monkeypatch.setattr(abilities, "has_runner", lambda backend: backend in self.runners)
        monkeypatch.setattr(abilities, "has_kernel_compiler", lambda: self.kernel_compiler)
        monkeypatch.setattr(abilities, "find_devices", lambda kind: self.census)

    def gets(self, *devices: FoundDevice, note: str = "") -> None:
        self.census = Census(devices[0].kind, devices, note=note)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return FakeHost(monkeypatch)


def profile(name: str) -> Profile:
    return find_profile(name, [content.folder("profiles")])


def ability(name: str) -> Ability:
    return describe_ability(profile(name))


def link(name: str, backend: str) -> Link:
    return next(found for found in ability(name).chain if found.backend == backend)


H100 = FoundDevice("cuda", "NVIDIA H100 80GB HBM3", "sm_90")
B200 = FoundDevice("cuda", "NVIDIA B200", "sm_100")
MI300X = FoundDevice("hip", "", "gfx942")


def test_a_cpu_is_always_here(host: FakeHost) -> None:
    found = ability("cpu")
    assert found.highest is Step.THROUGHPUT
    assert found.building == ("onnxruntime", "openvino", "inductor")
    assert found.kernels is None
    assert all(one.runs for one in found.chain)


@pytest.mark.parametrize("name", ["h100", "b200", "b300", "rubin", "mi300x", "mi355x", "mi455x"])
def test_without_the_device_triton_alone_builds(host: FakeHost, name: str) -> None:
    found = ability(name)
    assert found.highest is Step.ATTESTED
    assert found.building == ("triton",)
    assert not any(one.runs for one in found.chain)
    assert f"compiled by triton, not run, in place of {profile(name).compile.backends[0]}, which" in found.reason
    assert "no CUDA driver" in found.reason
    assert link(name, "triton").advice == f"on a host with the device: worldport verify BUNDLE --target {name}"
    first = found.chain[0]
    assert first.reason == "builds on the device itself, which is not here"
    assert first.advice == f"on a host with the device: worldport compile BUNDLE --target {name}"
    assert found.kernels is not None
    assert found.kernels.builds
    assert not found.kernels.runs


@pytest.mark.parametrize("name", ["rtx-pro-6000", "gb10"])
def test_tensorrt_rtx_builds_for_its_chips(host: FakeHost, name: str) -> None:
    assert ability(name).building == ("tensorrt_rtx", "triton")


def test_tensorrt_rtx_is_refused_for_other_chips(host: FakeHost) -> None:
    asked = profile("b200")
    choice = asked.compile.model_copy(update={"backends": ("tensorrt_rtx", "triton")})
    found = describe_ability(asked.model_copy(update={"compile": choice}))
    assert found.building == ("triton",)
    assert "builds for sm_75, sm_80, sm_86, sm_89, sm_120, sm_121 only" in found.chain[0].reason
    assert "tensorrt_rtx, which builds for sm_75" in found.reason


def test_on_the_device_everything_runs(host: FakeHost) -> None:
    host.gets(B200)
    found = ability("b200")
    assert found.highest is Step.THROUGHPUT
    assert found.device == B200
    assert found.building == profile("b200").compile.backends
    assert found.reason.startswith("NVIDIA B200 is here: run by tensorrt, tensorrt_plugins, triton")
    assert found.kernels is not None
    assert found.kernels.runs
    host.gets(MI300X)
    assert ability("mi300x").highest is Step.THROUGHPUT


def test_what_is_made_here_of_an_engine_that_is_built_there_is_told(host: FakeHost) -> None:
    told = "builds on the device itself, which is not here (its kernels are compiled here, by triton)"
    assert link("b200", "tensorrt_plugins").reason == told
    del host.versions["triton"]
    assert link("b200", "tensorrt_plugins").reason == "builds on the device itself, which is not here"


def test_another_architecture_is_not_the_device(host: FakeHost) -> None:
    host.gets(B200)
    for name in ("b300", "h100", "rubin"):
        found = ability(name)
        assert found.highest is Step.ATTESTED
        assert "here is NVIDIA B200 sm_100" in found.reason
        assert found.device is None


@pytest.mark.parametrize(
    ("target", "name", "same"),
    [
        ("h100", "NVIDIA H100 80GB HBM3", True),
        ("h200", "NVIDIA H100 80GB HBM3", False),
        ("h200", "NVIDIA H200", True),
        ("h200", "NVIDIA GH200 480GB", False),
        ("h100", "", False),
    ],
)
def test_products_of_one_architecture_are_told_apart(target: str, name: str, same: bool) -> None:
    found = FoundDevice("cuda", name, "sm_90")
    assert match_device(profile(target).device, Census("cuda", (found,))) == (found if same else None)


def test_drivers_that_contradict_each_other_are_told(host: FakeHost) -> None:
    host.gets(H100, note="CUDA offers sm_90, although NVML lists only NVIDIA B200")
    assert "but CUDA offers sm_90, although" in ability("h100").reason


def test_without_its_package_a_backend_says_what_to_install(host: FakeHost) -> None:
    del host.versions["triton"]
    found = ability("b200")
    assert found.highest is None
    assert found.backends == dict.fromkeys(profile("b200").compile.backends, True) | {"triton": False}
    assert "no backend of it builds here" in found.reason
    missing = link("b200", "triton")
    assert missing.reason == "is not installed (triton)"
    assert missing.advice == "pip install 'worldport[cross]'"
    assert found.kernels is not None
    assert not found.kernels.builds
    assert found.kernels.advice == "pip install 'worldport[cross]'"


def test_a_version_that_is_too_old_does_not_serve(host: FakeHost) -> None:
    host.versions["triton"] = "3.8.0"
    assert ability("b200").highest is Step.ATTESTED
    found = ability("rubin")
    assert found.highest is None
    assert link("rubin", "triton").reason == "3.8.0 is older than 3.9.0, the first for sm_107"
    assert found.kernels is not None
    assert not found.kernels.builds
    host.gets(FoundDevice("cuda", "NVIDIA VR200", "sm_107"))
    host.versions["tensorrt"] = "11.2.0"
    assert not link("rubin", "tensorrt").builds
    assert ability("rubin").reason.startswith("NVIDIA VR200 is here: run by inductor, onnxruntime_tensorrt")


def test_what_cannot_be_read_back_is_compiled_only(host: FakeHost) -> None:
    del host.versions["nvidia-cuda-nvdisasm"]
    assert ability("b200").highest is Step.COMPILED
    assert "is not read back (nvidia-cuda-nvdisasm is not installed)" in link("b200", "triton").reason
    assert link("b200", "triton").advice.startswith("pip install 'worldport[cross]'; on a host")
    # The plan of another backend is read without it, and AMD's code is text.
    assert ability("gb10").highest is Step.ATTESTED
    assert ability("mi355x").highest is Step.ATTESTED


def test_what_this_version_does_not_drive_is_not_promised(host: FakeHost) -> None:
    host.compilers -= {"triton"}
    host.kernel_compiler = False
    found = ability("mi355x")
    assert found.highest is None
    assert link("mi355x", "triton").reason == "is not driven by this version of worldport"
    assert found.kernels is not None
    assert found.kernels.reason == "are not compiled by this version of worldport"
    assert link("mi355x", "inductor").reason == "builds on the device itself, which is not here"


def test_what_has_no_runner_is_not_run(host: FakeHost) -> None:
    host.gets(B200)
    host.runners.clear()
    found = ability("b200")
    assert found.highest is Step.ATTESTED
    assert "has no runner" in link("b200", "tensorrt").reason


def test_a_backend_of_a_newer_version_is_no_error(host: FakeHost) -> None:
    asked = profile("b200")
    choice = asked.compile.model_copy(update={"backends": ("tomorrow",)})
    found = describe_ability(asked.model_copy(update={"compile": choice}))
    assert found.highest is None
    assert "is not driven" in found.chain[0].reason
