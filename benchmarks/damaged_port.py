"""Damage a port's compiled weights on purpose and let worldport prove it anew: what a failed port looks like.

Run as `python -m benchmarks.damaged_port BUNDLE OUT`. OUT is a copy of the bundle with the target cpu alone, its
chosen artifacts OpenVINO's. A quarter of the decoder's weights is scaled by 2 %, and the record's digest made to fit,
as no digest helps against who compiled wrongly. Every figure in OUT is then measured by `worldport verify`.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

TARGET, BACKEND, COMPONENT = "cpu", "openvino", "decoder"
SCALE = 1.02


def damage_weights(path: Path) -> None:
    """Scale the last quarter of a file of float32 weights; values that are no ordinary weights stay."""
    weights = np.fromfile(path, dtype=np.float32)
    tail = weights[3 * len(weights) // 4 :]
    ordinary = np.isfinite(tail) & (np.abs(tail) > 1e-6) & (np.abs(tail) < 1e3)
    tail[ordinary] *= np.float32(SCALE)
    path.unlink()  # may be a hard link to the original's file
    weights.tofile(path)


def make_damaged(bundle: Path, out: Path) -> int:
    """Write the damaged copy and verify it; returns the exit code of verify, 1 where it finds the damage."""
    shutil.copytree(bundle, out)
    record = json.loads((out / "port.json").read_text(encoding="utf-8"))
    target = record["targets"][TARGET]
    target["artifacts"] = [
        {**artifact, "chosen": True} for artifact in target["artifacts"] if artifact["backend"] == BACKEND
    ]
    target |= {"parity": None, "throughput": None, "verdict": None}
    record["targets"] = {TARGET: target}
    name = f"targets/{TARGET}/{COMPONENT}.{BACKEND}.bin"
    damage_weights(out / name)
    for file in record["files"]:
        if file["path"] == name:
            file["sha256"] = hashlib.sha256((out / name).read_bytes()).hexdigest()
    (out / "port.json").write_text(json.dumps(record), encoding="utf-8")
    return subprocess.run([sys.executable, "-m", "porting.cli", "verify", str(out), "--target", TARGET]).returncode


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    return make_damaged(arguments.bundle, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
