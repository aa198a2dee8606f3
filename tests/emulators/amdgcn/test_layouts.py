"""The tables of layouts against AMD's Matrix Instruction Calculator, and against what other documents say in words."""

import numpy as np
import pytest

from porting.emulators.amdgcn.layouts import (
    BITS,
    PRODUCTS,
    OperandLayout,
    ResultLayout,
    gather_operand,
    mfma_operand,
    scale_bytes,
    scale_rows,
    scatter_result,
    wmma_operand,
    wmma_result,
)
from porting.emulators.amdgcn.matrix import operand_layout
from tests.emulators.amdgcn.calculator_places import PLACES


def place_of(layout: OperandLayout, block: int, row: int, depth: int) -> tuple[int, int]:
    """Lane and element that `gather_operand` takes an element of a matrix from."""
    names = np.arange(layout.lanes * layout.elements).reshape(1, layout.lanes, layout.elements)
    name = int(gather_operand(names, layout)[0, block, row, depth])
    return divmod(name, layout.elements)


def place_of_result(layout: ResultLayout, block: int, row: int, column: int) -> tuple[int, int]:
    """Lane and element that `scatter_result` puts an element of a matrix into."""
    names = np.arange(layout.blocks * layout.rows * layout.columns)
    scattered = scatter_result(names.reshape(1, layout.blocks, layout.rows, layout.columns), layout)[:, 0]
    name = (block * layout.rows + row) * layout.columns + column
    element, lane = np.argwhere(scattered == name)[0]
    return int(lane), int(element)


@pytest.mark.parametrize(("target", "mnemonic"), sorted(PLACES))
def test_elements_lie_where_the_calculator_says(target: str, mnemonic: str) -> None:
    product = PRODUCTS[target][mnemonic]
    lanes = 64 if target == "gfx942" else 32
    for matrix, block, row, column, lane, bit in PLACES[target, mnemonic]:
        if matrix == "D":
            bits = {"f16": 16, "bf16": 16, "f64": 64}.get(product.result, 32)
            found = place_of_result(product.layout, block, row, column)
        else:
            bits = BITS[product.a]
            found = place_of(operand_layout(product, matrix.lower(), bits, lanes), block, row, column)
        assert found == (lane, bit // bits), f"{matrix}[{row}][{column}] of block {block}"


@pytest.mark.parametrize("rows", [16, 32])
def test_eight_bit_elements_of_gfx950_lie_in_two_runs_of_sixteen(rows: int) -> None:
    """CDNA4 instruction set, dense F8F6F4: 32x32x64 and 16x16x128 as two instructions of half the depth, 8 bits."""
    depth = 2048 // rows
    groups = 64 // rows
    layout = mfma_operand(rows, depth, 8)
    for k in range(depth):
        half, rest = divmod(k, depth // 2)
        group, place = divmod(rest, 16)
        assert place_of(layout, 0, 5, k) == (group * rows + 5, half * 16 + place)
    assert groups * 16 == depth // 2


@pytest.mark.parametrize(("rows", "bits"), [(16, 4), (16, 6), (32, 4), (32, 6)])
def test_narrower_elements_of_gfx950_lie_in_one_run(rows: int, bits: int) -> None:
    layout = mfma_operand(rows, 2048 // rows, bits)
    for k in range(layout.depth):
        assert place_of(layout, 0, 7, k) == (k // 32 * rows + 7, k % 32)


@pytest.mark.parametrize(
    ("depth", "bits", "run"),
    [(32, 16, 8), (64, 8, 16), (128, 8, 16), (128, 6, 32), (128, 4, 32), (4, 32, 2)],
)
def test_runs_alternate_between_the_halves_of_a_wave_of_gfx1250(depth: int, bits: int, run: int) -> None:
    """AMD rocjitsu, wmma_input_loc and wmma_block_scaled_input_loc: the lane's half is bit log2(run) of K."""
    layout = wmma_operand(16, depth, bits)
    for k in range(depth):
        lane = 3 + 16 * (k // run % 2)
        assert place_of(layout, 0, 3, k) == (lane, k // (2 * run) * run + k % run)


def test_thirty_two_rows_are_two_tiles() -> None:
    layout = wmma_operand(32, 128, 4)
    assert place_of(layout, 0, 19, 40) == (3 + 16, 64 + 8)
    assert place_of_result(wmma_result(32), 0, 27, 4) == (16 + 4, 8 + 3)


def test_scales_of_mfma_are_one_byte_of_each_lane() -> None:
    """CDNA4: lane l holds the scale of row l % rows and of block l / rows of K."""
    words = (np.arange(64, dtype=np.uint32) * 0x01010101 + 0x03020100)[None]
    codes = scale_rows(words, rows=32, blocks=2, byte=1)
    assert codes.shape == (1, 32, 2)
    assert codes[0, 9, 0] == 9 + 1
    assert codes[0, 9, 1] == 32 + 9 + 1


def test_scales_of_wmma_are_all_bytes_of_one_half() -> None:
    """LLVM, amdgpu.scaled_wmma: the 16 lanes from the first scale lane on; byte i for block i of K."""
    words = np.arange(2 * 32 * 4, dtype=np.uint8).view(np.uint32).reshape(2, 1, 32)
    codes = scale_bytes(words, half=1)
    assert codes.shape == (1, 16, 8)
    assert codes[0, 3].tolist() == [*range(4 * 19, 4 * 19 + 4), *range(128 + 4 * 19, 128 + 4 * 19 + 4)]
