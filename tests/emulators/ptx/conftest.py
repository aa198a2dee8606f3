"""Texts that Triton compiled, for the tests that execute them."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "compiled.py"
Compiled = dict[tuple[str, int], dict[str, Any]]
"""(kernel, processor) -> text, warps, and bytes of shared memory (shared) and of a program's global scratch memory."""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Matrix products and a softmax."""
    names = ("soften", "multiply", "multiply_tiles", "multiply_scaled")
    return compile_kernels(tmp_path_factory.mktemp("compiled"), *names)


def compile_kernels(folder: Path, *names: str) -> Compiled:
    """What `compiled.py` compiles, in a process that has not been told to interpret Triton."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder / "cache"), "TRITON_DEFAULT_FP_FUSION": "1"}
    subprocess.run([sys.executable, str(SCRIPT), str(folder / "texts"), *names], check=True, env=environment)
    found: Compiled = pickle.loads((folder / "texts").read_bytes())
    return found
