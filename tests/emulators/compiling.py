"""What Triton compiles in a process of its own, for tests whose own process interprets it."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Code = dict[str, Any]
"""Text and facts of one compiled kernel."""


def compile_in_child(module: str, folder: Path, *names: str) -> dict[tuple[str, Any], Code]:
    """What the script `module` pickles into a file of `folder`: (kernel, processor) -> code."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder / "cache"), "TRITON_DEFAULT_FP_FUSION": "1"}
    command = [sys.executable, "-m", module, str(folder / "texts"), *names]
    subprocess.run(command, check=True, env=environment, cwd=ROOT)
    found: dict[tuple[str, Any], Code] = pickle.loads((folder / "texts").read_bytes())
    return found
