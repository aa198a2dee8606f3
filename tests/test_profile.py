"""Every profile is read, its figures have sources and agree with each other, and a file that is wrong is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from porting.errors import ProfileError
from porting.pipeline.backends import BACKENDS
from porting.profile import (
    BACKEND_KINDS,
    Figure,
    Minimum,
    Profile,
    find_profile,
    find_profiles,
    read_profile,
    read_profiles,
)

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ROOT / "profiles"
NAMES = sorted(path.stem for path in PROFILES.glob("*.toml"))
ACCELERATORS = [name for name in NAMES if name != "cpu"]
FAMILIES = {
    "blackwell": {"b200", "b300", "rtx-pro-6000", "gb10"},
    "rubin": {"rubin"},
    "amd": {"mi300x", "mi355x", "mi455x"},
    "hopper": {"h100", "h200"},
    "nvidia": {"h100", "h200", "b200", "b300", "rtx-pro-6000", "gb10", "rubin"},
}
ARCHITECTURES = {
    "h100": "sm_90",
    "h200": "sm_90",
    "b200": "sm_100",
    "b300": "sm_103",
    "rubin": "sm_107",
    "rtx-pro-6000": "sm_120",
    "gb10": "sm_121",
    "mi300x": "gfx942",
    "mi355x": "gfx950",
    "mi455x": "gfx1250",
}
RANGES = {
    "warp_size": (32, 64),
    "multiprocessors": (16, 400),
    "registers_per_thread": (255, 1024),
    "shared_kib": (64, 512),
    "shared_kib_per_block": (48, 512),
    "tensor_memory_kib": (256, 512),
    "l2_mib": (4, 512),
    "last_level_cache_mib": (64, 1024),
    "memory_gb": (16, 1024),
    "bandwidth_gb_per_s": (200, 30_000),
    "link_gb_per_s": (500, 5_000),
    "power_watts": (100, 3_000),
    "peaks": (20, 100_000),
    "measured": (50, 10_000),
}
"""What any accelerator of these years lies in: a slip of a thousand, or of a unit, is outside."""
# A user's file for hardware that ships no profile: figures of AMD's table of GPU specifications.
RX_9070_XT = """
schema = 1
name = "rx-9070-xt"
title = "AMD Radeon RX 9070 XT (RDNA 4)"
families = ["amd", "home"]

[device]
kind = "hip"
architecture = "gfx1201"
source = "[GS]"
multiprocessor = "CU"
warp_size = { value = 32, source = "[GS]", note = "64 on request" }
multiprocessors = { value = 64, source = "[GS]" }
memory_gb = { value = 16, source = "[GS]" }
bandwidth_gb_per_s = { value = 640, source = "[GS]" }

[device.peaks]
fp32 = { value = 48.7, source = "[GS]" }

[software]
rocm = { version = "6.4.1", source = "llama.cpp PR 15994" }

[compile]
backends = ["migraphx", "triton"]
precisions = ["fp32", "fp16"]
opset = 20

[parity]
error_budget_ratio = 2.0
envelope_margin_db = 3.0
psnr_cap_db = 100.0
component_samples = 12
teacher_forced_frames = 48
free_running_frames = 64

[throughput]
frames_per_second = 24.0
max_missed_share = 0.01
max_memory_slope_bytes_per_frame = 256.0
timed_frames = 240
paced_frames = 72

[sources]
GS = "rocm.docs.amd.com gpu-specs"
"""


@pytest.fixture(scope="module")
def profiles() -> dict[str, Profile]:
    return {profile.name: profile for profile in read_profiles([PROFILES])}


def write(folder: Path, text: str, name: str = "rx-9070-xt") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_the_targets_that_were_promised_are_there(profiles: dict[str, Profile]) -> None:
    assert {name: profiles[name].device.architecture for name in ACCELERATORS} == ARCHITECTURES
    assert profiles["cpu"].device.architecture is None
    assert all(profile.throughput.frames_per_second == 24.0 for profile in profiles.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_stands_for_its_members(family: str) -> None:
    members = find_profiles(family, [PROFILES])
    assert {profile.name for profile in members} == FAMILIES[family]
    assert len(members) == len(FAMILIES[family])


@pytest.mark.parametrize("name", ACCELERATORS)
def test_figures_lie_where_any_accelerator_lies(name: str, profiles: dict[str, Profile]) -> None:
    figures = profiles[name].device.figures()
    assert {"warp_size", "memory_gb", "bandwidth_gb_per_s"} <= set(figures)
    for key, figure in figures.items():
        lowest, highest = RANGES[key.partition(".")[0]]
        assert lowest <= figure.conservative <= figure.optimistic <= highest, key
        assert all(len(claim.source) > 4 and "[" not in claim.source for claim in figure.claims), key
        # A claim is only repeated when it differs, or when a specification was confirmed.
        assert len({(claim.value, claim.basis) for claim in figure.claims}) == len(figure.claims), key


@pytest.mark.parametrize("name", ACCELERATORS)
def test_peaks_agree_with_each_other_and_with_the_formats(name: str, profiles: dict[str, Profile]) -> None:
    device, formats = profiles[name].device, profiles[name].compile.formats
    assert formats is not None
    peaks = {key: figure.conservative for key, figure in device.peaks.items()}
    # Every halving of the width doubles the rate on these units; vendors round to two digits.
    doubles = 1.95
    if "fp8" in peaks:
        assert "fp8" in formats.native
        assert peaks["fp8"] >= doubles * peaks["bf16"]
        assert device.peaks["fp8"].optimistic < 5 * peaks["bf16"]
    for narrow in ("nvfp4", "mxfp4"):
        if narrow in peaks:
            assert narrow in formats.native
            assert peaks[narrow] >= doubles * peaks["fp8"]
    if "tf32" in peaks:
        assert peaks["fp32"] < peaks["tf32"] < 0.6 * peaks["bf16"]
    if "bf16" in peaks:
        assert peaks["fp32"] < peaks["bf16"]
        assert peaks["bf16"] == peaks.get("fp16", peaks["bf16"])
    for precision in ("bf16", "fp8"):
        measured = device.measured.get(f"gemm_{precision}_tflops")  # type: ignore[call-overload]
        if measured is not None:
            assert measured.optimistic < peaks[precision]


@pytest.mark.parametrize("name", ACCELERATORS)
def test_memories_nest(name: str, profiles: dict[str, Profile]) -> None:
    device = profiles[name].device
    if device.shared_kib_per_block is not None:
        assert device.shared_kib is not None
        assert device.shared_kib_per_block.optimistic < device.shared_kib.conservative
    if device.last_level_cache_mib is not None:
        assert device.l2_mib is not None
        assert device.l2_mib.optimistic < device.last_level_cache_mib.conservative
    assert device.memory_bytes is not None
    assert device.memory_bytes >= 16 * 10**9


@pytest.mark.parametrize("name", NAMES)
def test_backends_are_known_and_stand_in_the_agreed_order(name: str, profiles: dict[str, Profile]) -> None:
    profile = profiles[name]
    order = {
        "cpu": ["onnxruntime", "openvino", "inductor"],
        "cuda": [
            *("tensorrt", "tensorrt_plugins", "tensorrt_rtx", "triton", "inductor"),
            *("onnxruntime_tensorrt", "onnxruntime_cuda"),
        ],
        "hip": ["migraphx", "triton", "inductor"],
    }[profile.device.kind]
    chips = BACKENDS["tensorrt_rtx"].chips
    assert chips is not None
    takes_rtx = profile.device.architecture in chips
    assert list(profile.compile.backends) == [b for b in order if b != "tensorrt_rtx" or takes_rtx]
    assert profile.compile.precisions[0] == "fp32"
    if name != "cpu":
        assert set(profile.compile.precisions) == {"fp32", "bf16", "fp16"}
        assert profile.compile.chips_of("triton", profile.device) == (profile.device.architecture,)


def test_every_backend_that_a_profile_may_name_is_described() -> None:
    assert set(BACKENDS) == set(BACKEND_KINDS)


def test_products_that_share_an_architecture_are_told_apart(profiles: dict[str, Profile]) -> None:
    by_architecture: dict[str | None, list[Profile]] = {}
    for name in ACCELERATORS:
        by_architecture.setdefault(profiles[name].device.architecture, []).append(profiles[name])
    for members in by_architecture.values():
        products = [set(member.device.products) for member in members]
        assert len(members) == 1 or (all(products) and not set.intersection(*products))


@pytest.mark.parametrize(
    ("name", "target", "key"),
    [
        ("b200", ("cuda", 100, 32), "cuda:100"),
        ("rubin", ("cuda", 107, 32), "cuda:107"),
        ("mi355x", ("hip", "gfx950", 64), "hip:gfx950"),
        ("mi455x", ("hip", "gfx1250", 32), "hip:gfx1250"),
    ],
)
def test_kernels_are_told_the_target(
    profiles: dict[str, Profile], name: str, target: tuple[str, int | str, int], key: str
) -> None:
    assert profiles[name].device.kernel_target == target
    assert profiles[name].device.tuning_key == key
    assert profiles["cpu"].device.tuning_key == "cpu"
    with pytest.raises(ValueError, match="no kernel target"):
        _ = profiles["cpu"].device.kernel_target


def test_disputed_figures_stand_side_by_side(profiles: dict[str, Profile]) -> None:
    fp8 = profiles["mi455x"].device.peaks["fp8"]
    assert fp8.disputed
    assert (fp8.conservative, fp8.optimistic) == (10000, 20100)
    assert len(fp8.sources) == 2
    power = profiles["h100"].device.power_watts
    assert power is not None
    assert not power.disputed


def test_a_profile_survives_being_recorded(profiles: dict[str, Profile]) -> None:
    for profile in profiles.values():
        assert Profile.model_validate_json(profile.model_dump_json(by_alias=True)) == profile


def test_a_record_of_an_older_version_is_still_read() -> None:
    old = json.loads(find_profile("cpu", [PROFILES]).model_dump_json(by_alias=True))
    new = {"families", "software"}
    kept = {key: value for key, value in old.items() if key not in new}
    kept["device"] = {"kind": "cpu", "architecture": None, "source": ""}
    kept["compile"] = {key: old["compile"][key] for key in ("backends", "precisions", "opset")}
    assert Profile.model_validate(kept) == find_profile("cpu", [PROFILES])


def test_one_file_adds_a_target(tmp_path: Path) -> None:
    write(tmp_path, RX_9070_XT)
    command = [sys.executable, "-m", "porting.cli", "targets", "amd", "home", "--profiles", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["target"]: row for row in json.loads(done.stdout)}
    assert set(rows) == FAMILIES["amd"] | {"rx-9070-xt"}
    added = rows["rx-9070-xt"]
    assert added["device"]["architecture"] == "gfx1201"
    assert added["device"]["bandwidth_gb_per_s"] == [
        {"value": 640, "source": "rocm.docs.amd.com gpu-specs", "basis": "specified", "note": ""}
    ]
    assert [link["backend"] for link in added["chain"]] == ["migraphx", "triton"]
    # Kernels are compiled for it as for the others: no file of the engine knows the chip.
    assert added["kernels"]["builds"] == rows["mi300x"]["kernels"]["builds"]
    shown = subprocess.run([part for part in command if part != "--json"], capture_output=True, text=True, cwd=ROOT)
    assert "AMD Radeon RX 9070 XT (RDNA 4)" in shown.stdout


def test_an_own_profile_hides_one_that_ships(tmp_path: Path) -> None:
    text = (PROFILES / "b200.toml").read_text()
    write(tmp_path, text.replace("NVIDIA B200 (Blackwell)", "ours"), "b200")
    folders = [tmp_path, PROFILES]
    assert find_profile("b200", folders).title == "ours"
    assert {p.title for p in find_profiles("blackwell", folders) if p.name == "b200"} == {"ours"}
    assert len(find_profiles("blackwell", folders)) == 4
    assert len(read_profiles(folders)) == len(NAMES)


def test_a_target_by_its_own_name_is_alone_though_a_family_is_called_so(tmp_path: Path) -> None:
    write(tmp_path, RX_9070_XT.replace('"home"', '"rubin"'))
    assert [profile.name for profile in find_profiles("rubin", [tmp_path, PROFILES])] == ["rubin"]


def test_an_unknown_name_lists_profiles_and_families() -> None:
    with pytest.raises(ProfileError, match="no such profile or family") as caught:
        find_profiles("b20", [PROFILES])
    assert "b200, b300, cpu" in str(caught.value)
    assert "families: amd, blackwell, hopper, nvidia" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('{ value = 640, source = "[GS]" }', "640", "device.bandwidth_gb_per_s: has no source"),
        ('{ value = 640, source = "[GS]" }', "{ value = 640 }", "source"),
        ('{ value = 640, source = "[GS]" }', '{ value = 640, source = "" }', "source"),
        ('{ value = 640, source = "[GS]" }', '{ value = 0, source = "[GS]" }', "greater than 0"),
        ('{ value = 640, source = "[GS]" }', '{ value = inf, source = "[GS]" }', "finite"),
        ('{ value = 640, source = "[GS]" }', "[]", "device.bandwidth_gb_per_s"),
        ('source = "llama.cpp PR 15994"', 'source = "[LC]"', "source [LC] is not in [sources]"),
        ("[sources]\n", '[sources]\nLC = "llama.cpp"\n', "sources.LC: nothing cites it"),
        ('version = "6.4.1"', 'version = "newest"', "software.rocm.version"),
        ("rocm = {", "rocmm = {", "software.rocmm"),
        ("[device.peaks]", "[device.measured]", "device.measured.fp32"),
        ("fp32 = { value = 48.7,", 'fp32 = { basis = "measured", value = 48.7,', "peaks.fp32 was measured"),
        ("fp32 = { value", "fp31 = { value", "device.peaks.fp31"),
        ('"gfx1201"', '"sm_120"', "architecture 'sm_120' is none of kind 'hip'"),
        ('architecture = "gfx1201"\n', "", "device.architecture: is missing"),
        ('warp_size = { value = 32, source = "[GS]", note = "64 on request" }\n', "", "device.warp_size: is missing"),
        ('["migraphx", "triton"]', '["tensort"]', "'tensort': no such backend; there are"),
        ('["migraphx", "triton"]', '["tensorrt"]', "'tensorrt' makes nothing for hip; choose from inductor"),
        ('["migraphx", "triton"]', '["triton", "triton"]', "names one twice"),
        ("opset = 20", 'opset = 20\nchips = { triton = ["gfx1200"] }', "does not serve gfx1201 itself"),
        ("opset = 20", 'opset = 20\nchips = { tensorrt = ["gfx1201"] }', "'tensorrt' is not among the backends"),
        ('["fp32", "fp16"]', '["fp32", "fp8"]', "compile.precisions"),
        ('name = "rx-9070-xt"', 'name = "rx"', "name is 'rx'"),
        ("schema = 1", "schema = 2", "schema"),
        ("opset = 20", "opset = 20\nopsets = 21", "opsets"),
        ("[parity]", "[parity", "cannot be read as TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_its_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert RX_9070_XT.count(old) >= 1
    path = write(tmp_path, RX_9070_XT.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        read_profile(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_chips_may_be_more_than_the_targets_own(tmp_path: Path) -> None:
    text = RX_9070_XT.replace("opset = 20", 'opset = 20\nchips = { triton = ["gfx1201", "gfx1200"] }')
    profile = read_profile(write(tmp_path, text))
    assert profile.compile.chips_of("triton", profile.device) == ("gfx1201", "gfx1200")
    assert profile.compile.chips_of("migraphx", profile.device) == ("gfx1201",)


@pytest.mark.parametrize(
    ("installed", "floor", "admitted"),
    [
        ("3.9.0", "3.9", True),
        ("3.9", "3.9.0", True),
        ("3.10.0", "3.9", True),
        ("3.8.1", "3.9", False),
        ("2.13.0+cu130", "2.13", True),
        ("13.4.59", "13.4", True),
        ("7.2", "7.14", False),
        ("unknown", "1", False),
    ],
)
def test_versions_are_compared_as_numbers(installed: str, floor: str, admitted: bool) -> None:
    assert Minimum(version=floor, source="someone").admits(installed) is admitted


def test_a_figure_may_be_one_claim_or_several() -> None:
    one = Figure.model_validate({"value": 3, "source": "a"})
    two = Figure.model_validate([{"value": 3, "source": "a"}, {"value": 5, "source": "b"}])
    assert (one.conservative, one.optimistic, one.disputed) == (3, 3, False)
    assert (two.conservative, two.optimistic, two.disputed, two.sources) == (3, 5, True, ("a", "b"))
