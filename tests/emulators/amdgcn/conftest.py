"""Texts that Triton compiled, for the tests that execute or assemble them."""

import pytest

from tests.emulators.compiling import Code, compile_in_child

Compiled = dict[tuple[str, str], Code]
"""(kernel, processor) -> text, code object (hsaco), warps and bytes of LDS (shared)."""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_in_child("tests.emulators.amdgcn.compiled", tmp_path_factory.mktemp("compiled"))
