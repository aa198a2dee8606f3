import subprocess
import sys
from pathlib import Path

import pytest

from porting.errors import ConfigError
from porting.planning import Rack, read_racks
from porting.planning.published import (
    PublishedSystem,
    block_parameters,
    compare_floor,
    pass_flops,
    read_published,
)
from porting.profile import Profile, read_profiles


@pytest.fixture(scope="module")
def devices(project_root: Path) -> tuple[dict[str, Profile], dict[str, Rack]]:
    folders = [project_root / "profiles"]
    return {p.name: p for p in read_profiles(folders)}, {r.name: r for r in read_racks(folders)}


def system(**changes: object) -> PublishedSystem:
    row: dict[str, object] = {
        "system": "made up", "device": "h100", "gpus": 1, "format": "bf16", "layers": 2, "width": 8, "mlp_width": 32,
        "text_tokens": 0, "tokens_per_frame": 10, "frames": 3, "key_frames": 5, "passes": 4, "measured_ms": 1.0,
        "measured": "1 ms", "source": "this test", "inputs_source": "this test",
    }  # fmt: skip
    return PublishedSystem.model_validate({**row, **changes})


def test_operations_by_hand() -> None:
    row = system()
    assert block_parameters(row) == 4 * 64 + 2 * 8 * 32
    assert pass_flops(row) == 2 * 30 * 2 * block_parameters(row) + 2 * (4 * 30 * 50 * 8)
    asked = system(text_tokens=7)
    assert block_parameters(asked) == 6 * 64 + 2 * 8 * 32
    assert pass_flops(asked) == 2 * 30 * 2 * block_parameters(asked) + 2 * (4 * 30 * 57 * 8)


def test_a_rack_states_its_own_peak(devices: tuple[dict[str, Profile], dict[str, Rack]]) -> None:
    big = {"width": 4096, "mlp_width": 16384, "tokens_per_frame": 4096}
    one, two = (compare_floor(system(device=name, **big), *devices) for name in ("b200", "gb200-nvl72"))
    assert one.floor_ms / two.floor_ms == pytest.approx(2500 / 2250)
    assert one.bound == "compute"


def test_devices_share_the_work(devices: tuple[dict[str, Profile], dict[str, Rack]]) -> None:
    one, four = (compare_floor(system(gpus=gpus), *devices) for gpus in (1, 4))
    assert one.floor_ms == pytest.approx(4 * four.floor_ms)
    assert one.bound == "memory"


def test_a_floor_above_a_measurement_is_seen(devices: tuple[dict[str, Profile], dict[str, Rack]]) -> None:
    found = compare_floor(system(measured_ms=1e-9), *devices)
    assert not found.holds
    assert found.above < 1


@pytest.mark.parametrize("change", [{"device": "abacus"}, {"format": "nvfp4"}])
def test_a_row_without_a_figure_is_an_error(
    change: dict[str, object], devices: tuple[dict[str, Profile], dict[str, Rack]]
) -> None:
    with pytest.raises(ConfigError, match="leave"):
        compare_floor(system(**change), *devices)


def test_every_published_measurement_lies_above_its_floor(
    project_root: Path, devices: tuple[dict[str, Profile], dict[str, Rack]]
) -> None:
    published = read_published(project_root / "benchmarks/published.toml")
    rows = [compare_floor(row, *devices) for row in published.systems]
    assert len(rows) >= 5
    assert len({row.system.device for row in rows}) >= 3
    assert [row.system.system for row in rows if not row.holds] == []
    # A floor that is far too low would prove nothing.
    assert all(row.above < 20 for row in rows)
    assert all(gap.reason for gap in published.left_out)


def test_the_page_holds_the_table_that_the_command_makes(project_root: Path) -> None:
    made = subprocess.run(
        [sys.executable, "benchmarks/plan_against_published.py"],
        cwd=project_root, capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    assert made in (project_root / "docs/plan.md").read_text(encoding="utf-8")
