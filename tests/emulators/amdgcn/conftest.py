"""Texts that Triton compiled, for the tests that execute or assemble them."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "compiled.py"
Compiled = dict[tuple[str, str], dict[str, Any]]
"""(kernel, processor) -> text, code object (hsaco), warps and bytes of LDS (shared)."""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """What `compiled.py` compiles, in a process that has not been told to interpret Triton."""
    folder = tmp_path_factory.mktemp("compiled")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder / "cache"), "TRITON_DEFAULT_FP_FUSION": "1"}
    subprocess.run([sys.executable, str(SCRIPT), str(folder / "texts")], check=True, env=environment)
    found: Compiled = pickle.loads((folder / "texts").read_bytes())
    return found
