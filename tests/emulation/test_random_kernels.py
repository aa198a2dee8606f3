"""Random kernels: the compiled code, executed, comes to what Triton's interpreter comes to, bit for bit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.emulation.random_kernels import INTERPRETER

SEEDS = range(6)
CHIPS = ("cuda:80", "cuda:100", "hip:gfx942", "hip:gfx1250")


def run(folder: Path, way: str) -> None:
    command = [sys.executable, "-m", "tests.emulation.random_kernels", str(folder), way, *map(str, SEEDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the interpreter made of the kernels."""
    folder = tmp_path_factory.mktemp("random")
    run(folder, INTERPRETER)
    return folder


@pytest.mark.parametrize("chip", CHIPS)
def test_random_kernels_agree_with_the_interpreter(interpreted: Path, chip: str) -> None:
    run(interpreted, chip)
    for seed in SEEDS:
        with (
            np.load(interpreted / f"{INTERPRETER}.{seed}.npz") as kept,
            np.load(interpreted / f"{chip}.{seed}.npz") as own,
        ):
            assert kept.files == own.files
            for name in kept.files:
                wanted, found = kept[name], own[name]
                wrong = np.flatnonzero(~((found == wanted) | (np.isnan(found) & np.isnan(wanted))))
                assert not wrong.size, (seed, name, wrong[:5], found[wrong[:5]], wanted[wrong[:5]])
