from dataclasses import replace
from pathlib import Path

import pytest

from porting.errors import ProfileError
from porting.planning import Rack, plan_rack, read_model, read_racks
from porting.planning.racks import Assumptions, RackPlan, split_frame
from porting.planning.work import PlannedModel
from porting.profile import read_profile, read_profiles

IDEAL = Assumptions(
    flops_per_second=1e15,
    bytes_per_second=1e18,
    link_bytes_per_second=1e18,
    base_seconds=0,
    step_seconds=0,
    utilisation=1.0,
    memory_bytes=10**12,
)


@pytest.fixture(scope="module")
def model() -> PlannedModel:
    return read_model("config:gwm-hd-14b")


@pytest.fixture(scope="module")
def racks(project_root: Path) -> dict[str, Rack]:
    return {rack.name: rack for rack in read_racks([project_root / "profiles"])}


def plan(model: PlannedModel, rack: Rack, root: Path, fps: float = 24.0) -> dict[str, RackPlan]:
    found = plan_rack(model, rack, read_profile(root / f"profiles/{rack.target}.toml"), fps)
    return {planned.format: planned for planned in found}


def test_every_rack_has_a_profile_and_stays_out_of_the_profiles(racks: dict[str, Rack], project_root: Path) -> None:
    profiles = {profile.name for profile in read_profiles([project_root / "profiles"])}
    assert {"gb200-nvl72", "gb300-nvl72", "vr-nvl72", "mi455x-helios"} <= racks.keys()
    assert {rack.target for rack in racks.values()} <= profiles
    assert not racks.keys() & profiles


def test_without_latency_and_with_endless_links_work_is_divided(model: PlannedModel) -> None:
    alone = split_frame(model, "bf16", IDEAL, 1, 1)
    assert alone.frame_ms == pytest.approx(model.flops_per_frame / 1e15 * 1000, rel=1e-4)
    assert alone.link_ms == 0
    for tensor, context in ((8, 1), (1, 8), (4, 2)):
        split = split_frame(model, "bf16", IDEAL, tensor, context)
        assert split.frame_ms == pytest.approx(alone.frame_ms / 8, rel=1e-3)


def test_a_ring_all_reduce_costs_what_its_formula_says(model: PlannedModel) -> None:
    links = replace(IDEAL, link_bytes_per_second=1e11, base_seconds=1e-5, step_seconds=1e-6)
    split = split_frame(model, "bf16", links, 4, 1)
    activations = 3600 * 5120 * 2
    once = 1e-5 + 6 * 1e-6 + 2 * 3 / 4 * activations / 1e11
    assert split.link_ms == pytest.approx(1000 * 5 * 40 * 2 * once)


def test_an_all_to_all_costs_what_its_formula_says(model: PlannedModel) -> None:
    links = replace(IDEAL, link_bytes_per_second=1e11, base_seconds=1e-5, step_seconds=1e-6)
    split = split_frame(model, "bf16", links, 1, 4)
    share = 3600 * 5120 * 2 / 4
    once = 2 * (1e-5 + 1e-6) + (3 + 1) * share * 3 / 4 / 1e11
    assert split.link_ms == pytest.approx(1000 * 5 * 40 * once)


def test_weights_are_split_by_tensor_and_repeated_by_context(model: PlannedModel) -> None:
    starved = replace(IDEAL, bytes_per_second=1e10, flops_per_second=1e30)
    tensor, context = (split_frame(model, "bf16", starved, *shape) for shape in ((8, 1), (1, 8)))
    assert context.frame_ms > 1.5 * tensor.frame_ms


def test_fewest_devices_that_suffice(model: PlannedModel, racks: dict[str, Rack], project_root: Path) -> None:
    found = plan(model, racks["gb300-nvl72"], project_root)
    least = found["bf16"].nominal.smallest
    assert least is not None
    assert least.fps >= 24
    assert least.gpus == least.tensor * least.context <= 72
    assert model.transformer.heads % least.gpus == 0
    four_bit = found["nvfp4"].nominal.smallest
    assert four_bit is not None
    assert four_bit.gpus < least.gpus


def test_every_assumption_is_varied_and_moves_the_right_way(
    model: PlannedModel, racks: dict[str, Rack], project_root: Path
) -> None:
    found = plan(model, racks["mi455x-helios"], project_root)["fp8"]
    best = {scenario.name: scenario.best.fps for scenario in (found.nominal, *found.sensitivity)}
    nominal = best.pop("60 % of the peak in arithmetic")
    assert best["40 % of the peak in arithmetic"] < nominal < best["80 % of the peak in arithmetic"]
    assert best["link bandwidth - 20 %"] < nominal < best["link bandwidth + 20 %"]
    assert best["latencies doubled"] < nominal < best["latencies halved"]
    assert best["memory bandwidth - 20 %"] <= nominal <= best["memory bandwidth + 20 %"]
    assert best["largest claims of peak and bandwidth"] > nominal


def test_when_no_split_suffices_it_says_so(model: PlannedModel, racks: dict[str, Rack], project_root: Path) -> None:
    found = plan(model, racks["gb200-nvl72"], project_root, fps=1e5)["bf16"]
    assert found.nominal.smallest is None
    assert 0 < found.nominal.best.fps < 1e5


def test_a_device_needs_room_for_its_share(model: PlannedModel, racks: dict[str, Rack], project_root: Path) -> None:
    profile = read_profile(project_root / "profiles/b300.toml")
    tiny = profile.model_dump(by_alias=True)
    tiny["device"]["memory_gb"] = [{"value": 12, "source": "this test"}]
    small = type(profile).model_validate(tiny)
    (found, *_) = plan_rack(model, racks["gb300-nvl72"], small, 1.0)
    assert found.nominal.smallest is not None
    assert found.nominal.smallest.tensor > 1  # 27 GB of weights have to be split
    assert plan(model, racks["gb300-nvl72"], project_root, 1.0)["bf16"].nominal.smallest.gpus == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("text", "words"), [("schema = 1", "Field required"), ("schema = ", "cannot be read as TOML")])
def test_a_broken_rack_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "racks").mkdir()
    (tmp_path / "racks/mine.toml").write_text(text)
    with pytest.raises(ProfileError, match=rf"mine\.toml.*{words}"):
        read_racks([tmp_path])


def test_a_rack_is_called_like_its_file(tmp_path: Path, project_root: Path) -> None:
    (tmp_path / "racks").mkdir()
    (tmp_path / "racks/mine.toml").write_text((project_root / "profiles/racks/vr-nvl72.toml").read_text())
    with pytest.raises(ProfileError, match=r"name the file vr-nvl72\.toml"):
        read_racks([tmp_path])
