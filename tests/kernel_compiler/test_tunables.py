"""The TUNABLES block: as small as it can be, and written without touching another line."""

from pathlib import Path

import pytest

from porting.errors import KernelError
from porting.kernel_compiler.tunables import make_tunables, write_tunables
from porting.kernel_library import load_kernel
from tests.kernel_compiler.sources import write_product

CHOSEN = {
    ("hip:gfx942", "bfloat16"): {"BLOCK_M": 64, "num_warps": 8},
    ("hip:gfx942", "float8_e4m3fn"): {"BLOCK_M": 64, "num_warps": 8},
    ("cuda:100", "bfloat16"): {"BLOCK_M": 128, "num_warps": 4},
    ("cuda:100", "float8_e4m3fn"): {"BLOCK_M": 256, "num_warps": 4},
    ("cuda:90", "bfloat16"): {"BLOCK_M": 64, "num_warps": 4},
    ("cuda:90", "float8_e4m3fn"): {"BLOCK_M": 64, "num_warps": 4},
}


def test_the_table_gives_every_choice_again_and_nothing_else(tmp_path: Path) -> None:
    path = write_product(tmp_path)
    kernel = load_kernel(path)
    tunables = make_tunables(kernel, CHOSEN)
    assert tunables == {
        "cuda:100": {"BLOCK_M": 128},
        "cuda:100 float8_e4m3fn": {"BLOCK_M": 256},
        "hip:gfx942": {"num_warps": 8},
    }
    before = path.read_text(encoding="utf-8").splitlines()
    assert write_tunables(path, tunables)
    after = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in after if line not in before] == [
        "TUNABLES = {",
        '    "default": DEFAULTS,',
        '    "cuda:100": {"BLOCK_M": 128},',
        '    "cuda:100 float8_e4m3fn": {"BLOCK_M": 256},',
        '    "hip:gfx942": {"num_warps": 8},',
        "}",
    ]
    assert [line for line in before if line not in after] == ['TUNABLES = {"default": DEFAULTS}']
    again = load_kernel(path)
    for (architecture, variant), tuning in CHOSEN.items():
        found = again.tuning_for(architecture, variant)
        assert found == {**kernel.tunables["default"], **tuning}
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_write_replaces_the_first_and_keeps_other_architectures(tmp_path: Path) -> None:
    path = write_product(tmp_path)
    write_tunables(path, make_tunables(load_kernel(path), CHOSEN))
    text = path.read_text(encoding="utf-8")
    assert not write_tunables(path, make_tunables(load_kernel(path), CHOSEN))
    assert path.read_text(encoding="utf-8") == text
    tunables = make_tunables(load_kernel(path), {("cuda:100", "bfloat16"): {"BLOCK_M": 64, "num_warps": 4}})
    assert tunables == {"hip:gfx942": {"num_warps": 8}}
    assert write_tunables(path, tunables)
    assert "cuda:100" not in path.read_text(encoding="utf-8")


def test_a_table_that_makes_no_kernel_is_not_written(tmp_path: Path) -> None:
    path = write_product(tmp_path)
    text = path.read_text(encoding="utf-8")
    with pytest.raises(KernelError, match="BLOCK_Q"):
        write_tunables(path, {"cuda:100": {"BLOCK_Q": 1}})
    assert path.read_text(encoding="utf-8") == text


def test_a_file_without_the_block_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.py"
    path.write_text("DEFAULTS = {}\n", encoding="utf-8")
    with pytest.raises(KernelError, match="has no statement TUNABLES"):
        write_tunables(path, {})
    path.write_text("TUNABLES = dict(default={})\n", encoding="utf-8")
    with pytest.raises(KernelError, match="no table that names"):
        write_tunables(path, {})
