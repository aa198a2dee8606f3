"""Weights stay mapped: what exporting takes beside them does not grow with them."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.export.large_checkpoint import make_config, write_checkpoint

LIMIT_BYTES = 1.5e9
"""Of anonymous memory. The limit of a process's data segment would count the mapped weights, which are private."""


def export(weight_bytes: float, depth: int, half: bool = False) -> dict[str, float]:
    # Not the test's own folder, which outlives it.
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, out = Path(folder) / "checkpoint", Path(folder) / "out"
        written = write_checkpoint(checkpoint, make_config(weight_bytes, depth), half)
        command = [sys.executable, "-m", "tests.export.large_checkpoint", str(checkpoint), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        told: dict[str, float] = json.loads(done.stdout)
        data = (out / "denoiser.onnx.data").stat().st_size
        assert told["weight_bytes"] <= data * 1.01 <= 1.1 * written * (2 if half else 1)
        return told


@pytest.mark.slow
def test_six_gigabytes_are_exported_in_a_gigabyte_and_a_half() -> None:
    told = export(6.5e9, depth=4)
    assert told["weight_bytes"] > 6e9
    assert told["peak"] < LIMIT_BYTES, told


@pytest.mark.slow
def test_half_precision_is_widened_outside_of_memory() -> None:
    told = export(4e9, depth=4, half=True)
    assert told["weight_bytes"] > 3.7e9
    assert told["peak"] < LIMIT_BYTES, told
