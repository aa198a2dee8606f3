"""Peak memory of an export, in a process of its own.

Anonymous memory is what counts: the exported file is mapped to prove it, and its pages may be dropped at any time.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WEIGHT_BYTES = 2_684_354_560
EXPORT = """
import json, sys, threading
from pathlib import Path
import torch
from torch import nn
from porting.export import export_component
from tests.export.large_checkpoint import watch_memory
from tests.export.small import big_model

peak = [0]
threading.Thread(target=watch_memory, args=(peak,), daemon=True).start()
model = big_model(layers=10, width=8192)
record = export_component(model, "step", Path(sys.argv[1]), 20)
print(json.dumps({"peak": peak[0], "weights": record.weight_bytes, "exercised": record.contract.exercised}))
"""


@pytest.mark.slow
def test_an_export_keeps_one_copy_of_the_weights(tmp_path: Path, project_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(tmp_path)], cwd=project_root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["weights"] == WEIGHT_BYTES
    assert "closed loop" in measured["exercised"]
    assert (tmp_path / "step.onnx.data").stat().st_size >= WEIGHT_BYTES
    assert (tmp_path / "step.onnx").stat().st_size < 2**20
    assert (tmp_path / "step.pt2").stat().st_size >= WEIGHT_BYTES
    assert WEIGHT_BYTES < measured["peak"] < 1.2 * WEIGHT_BYTES + 0.5e9
