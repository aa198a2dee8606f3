"""Texts that Triton compiled, for the tests that execute them."""

from pathlib import Path

import pytest

from tests.emulators.compiling import Code, compile_in_child

Compiled = dict[tuple[str, int], Code]
"""(kernel, processor) -> text, warps, and bytes of shared memory (shared) and of a program's global scratch memory."""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Matrix products and a softmax."""
    names = ("soften", "multiply", "multiply_tiles", "multiply_scaled")
    return compile_kernels(tmp_path_factory.mktemp("compiled"), *names)


def compile_kernels(folder: Path, *names: str) -> Compiled:
    """What `compiled.py` compiles."""
    return compile_in_child("tests.emulators.ptx.compiled", folder, *names)
