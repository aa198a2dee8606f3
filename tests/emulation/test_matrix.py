"""Every kernel of the library, executed as compiled: no fault, no race, the same bits in every order, small errors."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.emulation_matrix import list_architectures
from porting.emulation import emulate_kernels
from porting.host import available_cores
from porting.kernel_library import find_kernels
from porting.record import EmulatedKernel
from porting.verdict.emulated import find_trouble


def execute(folder: Path, chips: Sequence[str], variants: Sequence[str] | None) -> tuple[EmulatedKernel, ...]:
    return emulate_kernels(find_kernels(), chips, variants, folder, available_cores())


def tell_trouble(records: Sequence[EmulatedKernel]) -> list[str]:
    told = [(record, find_trouble(record)) for record in records]
    return [f"{r.kernel} {r.variant} {r.architecture}: {trouble}" for r, trouble in told if trouble is not None]


def test_every_kernel_computes_what_its_reference_does_on_two_chips(tmp_path: Path) -> None:
    records = execute(tmp_path, ("cuda:100", "hip:gfx950"), ("bfloat16", "mxfp4"))
    assert tell_trouble(records) == []
    assert {record.kernel for record in records if record.launches} == set(find_kernels())


@pytest.mark.slow
def test_the_whole_matrix_has_a_figure_or_a_reason_in_every_cell(tmp_path: Path) -> None:
    chips = list_architectures()
    records = execute(tmp_path, chips, None)
    assert tell_trouble(records) == []
    for kernel in find_kernels().values():
        own = [record for record in records if record.kernel == kernel.name]
        assert len(own) == len(kernel.variants) * len(chips)
        assert all(record.unsupported or (record.ratio is not None and record.ratio <= 2.0) for record in own)
    # Each emulated unit was really used.
    executed = {name.split(".")[0] for r in records for launch in r.launches for name in launch.instructions}
    assert executed >= {"wgmma", "tcgen05", "mma", "cp", "ldmatrix", "mbarrier", "shfl"}
