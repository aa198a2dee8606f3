"""Every kernel of the project, on every architecture that profiles name, in every variant that it claims."""

from pathlib import Path

import pytest

from porting.kernel_compiler import compile_kernels, fill_cache
from porting.kernel_compiler.search import find_problem
from porting.kernel_library import find_kernels, kernel_paths

ARCHITECTURES = (
    *("cuda:90", "cuda:100", "cuda:103", "cuda:107", "cuda:120", "cuda:121"),
    *("hip:gfx942", "hip:gfx950", "hip:gfx1201", "hip:gfx1250"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", kernel_paths())
def test_no_shipped_kernel_spills_or_loses_its_matrix_units(name: str, tmp_path: Path) -> None:
    """Every cell is a sound binary, or the kernel file gives the reason why it cannot be one."""
    kernels = {name: find_kernels()[name]}
    fill_cache(kernels, ARCHITECTURES, None, tmp_path / "cache", jobs=2)
    cells, problems = 0, []
    for architecture in ARCHITECTURES:
        for record in compile_kernels(kernels, architecture, None, tmp_path / "out", tmp_path / "cache", jobs=2):
            cells += 1
            problem = None if record.unsupported and record.error else find_problem(record)
            problems += [f"{record.kernel} {record.variant} {architecture}: {problem}"] if problem else []
    assert cells
    assert problems == []
