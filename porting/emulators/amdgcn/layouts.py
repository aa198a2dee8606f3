"""Where the elements of matrices lie in the lanes and registers of a wave: tables, and the moves that they describe.

Sources: AMD CDNA3 and CDNA4 instruction set architecture (chapter "Matrix Arithmetic Instructions"), RDNA4 instruction
set architecture (chapter "WMMA"), AMD Matrix Instruction Calculator (input and output register equations of CDNA3 and
RDNA4), LLVM's AMDGPU dialect (scales of gfx1250), AMD rocjitsu (the order of K on gfx1250). The order of K within one
lane is seen in scaled products and in products of two formats only: elsewhere A and B are permuted alike.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.number_formats import BF16, E2M1, E2M3, E3M2, E4M3, E4M3_FNUZ, E5M2, E5M2_FNUZ, F16, NumberFormat

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OperandLayout:
    """Where A (its rows) or B (its columns) lies.

    Lane = (group, block, row), element of a lane = (tile, repeat, place): it holds row 'tile * rows + row' of the
    block's matrix at K = (repeat * groups + group) * run + place.
    """

    lanes: int
    rows: int
    depth: int
    """K."""
    run: int
    """Elements of K that follow each other in one lane before the next group of lanes goes on."""
    blocks: int = 1
    """Independent products."""
    tiles: int = 1

    @property
    def groups(self) -> int:
        """Groups of lanes that share K."""
        return self.lanes // (self.rows * self.blocks)

    @property
    def elements(self) -> int:
        """Of one lane."""
        return self.tiles * self.depth // self.groups


@dataclass(frozen=True)
class ResultLayout:
    """Where C and D lie.

    Lane = (group, column), or (group, block, column) where `blocks_in_lanes`; element of a lane = (block, repeat,
    place): it holds row (repeat * groups + group) * run + place.
    """

    lanes: int
    rows: int
    columns: int
    run: int
    blocks: int = 1
    blocks_in_lanes: bool = False

    @property
    def groups(self) -> int:
        """Groups of lanes that share the rows."""
        return self.lanes // (self.columns * (self.blocks if self.blocks_in_lanes else 1))

    @property
    def elements(self) -> int:
        """Of one lane."""
        return self.rows * self.columns * self.blocks // self.lanes


def gather_operand(values: Array, layout: OperandLayout) -> Array:
    """Elements of the lanes (waves, lanes, elements) -> matrices (waves, blocks, tiles * rows, depth)."""
    repeats = layout.depth // (layout.groups * layout.run)
    waves = values.shape[0]
    split = values.reshape(waves, layout.groups, layout.blocks, layout.rows, layout.tiles, repeats, layout.run)
    # wave, group, block, row, tile, repeat, place -> wave, block, tile, row, repeat, group, place
    ordered = split.transpose(0, 2, 4, 3, 5, 1, 6)
    return ordered.reshape(waves, layout.blocks, layout.tiles * layout.rows, layout.depth)


def scatter_result(products: Array, layout: ResultLayout) -> Array:
    """Matrices (waves, blocks, rows, columns) -> elements of the lanes (elements, waves, lanes)."""
    waves = products.shape[0]
    repeats = layout.rows // (layout.groups * layout.run)
    split = products.reshape(waves, layout.blocks, repeats, layout.groups, layout.run, layout.columns)
    # -> repeat, place, wave, group, block, column; or block, repeat, place, wave, group, column
    order = (2, 4, 0, 3, 1, 5) if layout.blocks_in_lanes else (1, 2, 4, 0, 3, 5)
    return split.transpose(order).reshape(layout.elements, waves, layout.lanes)


@dataclass(frozen=True)
class MatrixProduct:
    """What one matrix instruction multiplies: D = A * B + C."""

    a: str
    b: str
    """Kinds of the elements: a key of FORMATS, or f32, xf32, f64, i8, i4, or f8f6f4: named by a modifier."""
    result: str
    """f32, f16, bf16, f64 or i32."""
    accumulator: str
    """Kind of C."""
    rows: int
    columns: int
    depth: int
    layout: ResultLayout
    blocks: int = 1
    scale_block: int = 0
    """Elements of K that share a scale; 0: there are no scales."""


FORMATS: dict[str, NumberFormat] = {"f16": F16, "bf16": BF16, "fp8": E4M3, "bf8": E5M2, "f4": E2M1}
FNUZ_FORMATS = {**FORMATS, "fp8": E4M3_FNUZ, "bf8": E5M2_FNUZ}
F8F6F4 = (E4M3, E5M2, E2M3, E3M2, E2M1)
"""By the number that cbsz and blgp (gfx950) or matrix_a_fmt and matrix_b_fmt (gfx1250) give."""
MATRIX_FORMATS = {f"MATRIX_FMT_{name}": number for number, name in enumerate(("FP8", "BF8", "FP6", "BF6", "FP4"))}
BITS = {"f16": 16, "bf16": 16, "fp8": 8, "bf8": 8, "f4": 4, "f32": 32, "xf32": 32, "f64": 64, "i8": 8, "i4": 4}


def mfma_operand(rows: int, depth: int, bits: int, blocks: int = 1) -> OperandLayout:
    """MFMA, 64 lanes: one run of K in each group of lanes; runs of 16 where a lane holds more elements of 8 bits."""
    elements = depth * rows * blocks // 64
    return OperandLayout(64, rows, depth, 16 if bits == 8 and elements > 16 else elements, blocks)


def mfma_result(rows: int, columns: int, blocks: int = 1, double: bool = False) -> ResultLayout:
    """MFMA: rows in runs of four; of one where they are doubles."""
    return ResultLayout(64, rows, columns, 1 if double else 4, blocks, blocks_in_lanes=rows == 4)


def wmma_operand(rows: int, depth: int, bits: int) -> OperandLayout:
    """WMMA, 32 lanes: runs of K alternate between the two halves of the wave.

    gfx1201 has K = 16 (32 for 4 bits): runs of 4 elements of 16 bits, else one run. gfx1250: runs of 8 elements of 16
    bits, of 16 of 8 bits, of 32 of 6 and 4 bits. A with 32 rows is two tiles of 16, one after the other.
    """
    run = depth // 2
    if bits == 16:
        run = 4 if depth == 16 else 8
    elif bits == 8 and depth > 16:
        run = 16
    elif depth == 128:
        run = 32
    return OperandLayout(32, 16, depth, run, tiles=rows // 16)


def wmma_result(rows: int) -> ResultLayout:
    """WMMA: eight rows in each half of the wave."""
    return ResultLayout(32, rows, 16, 8)


def _mfma(rows: int, depth: int, kind: str, other: str = "", result: str = "f32", blocks: int = 1) -> MatrixProduct:
    layout = mfma_result(rows, rows, blocks, result == "f64")
    return MatrixProduct(kind, other or kind, result, result, rows, rows, depth, layout, blocks)


def _wmma(depth: int, kind: str, other: str = "", result: str = "f32", accumulator: str = "") -> MatrixProduct:
    return MatrixProduct(kind, other or kind, result, accumulator or result, 16, 16, depth, wmma_result(16))


def _cdna3() -> dict[str, MatrixProduct]:
    """Of gfx942 and gfx950; a mnemonic may leave out the number of blocks and the last underscore."""
    table: dict[str, MatrixProduct] = {}
    for kind, step in (("f16", 1), ("bf16", 1), ("f32", 4)):
        for rows, blocks, depth in ((32, 2, 4), (16, 4, 4), (4, 16, 4), (32, 1, 8), (16, 1, 16)):
            name = f"v_mfma_f32_{rows}x{rows}x{depth // step}_{f'{blocks}b_' if blocks > 1 else ''}{kind}"
            table[name] = _mfma(rows, depth // step, kind, blocks=blocks)
    for rows, depth in ((32, 16), (16, 32)):
        table[f"v_mfma_i32_{rows}x{rows}x{depth}_i8"] = _mfma(rows, depth, "i8", result="i32")
        for a in ("fp8", "bf8"):
            for b in ("fp8", "bf8"):
                table[f"v_mfma_f32_{rows}x{rows}x{depth}_{a}_{b}"] = _mfma(rows, depth, a, b)
    table["v_mfma_f64_16x16x4_f64"] = _mfma(16, 4, "f64", result="f64")
    return table


def _gfx950() -> dict[str, MatrixProduct]:
    table = _cdna3()
    for rows, depth in ((32, 16), (16, 32)):
        for kind in ("f16", "bf16"):
            table[f"v_mfma_f32_{rows}x{rows}x{depth}_{kind}"] = _mfma(rows, depth, kind)
        table[f"v_mfma_i32_{rows}x{rows}x{depth * 2}_i8"] = _mfma(rows, depth * 2, "i8", result="i32")
        plain = _mfma(rows, depth * 4, "f8f6f4")
        table[f"v_mfma_f32_{rows}x{rows}x{depth * 4}_f8f6f4"] = plain
        table[f"v_mfma_scale_f32_{rows}x{rows}x{depth * 4}_f8f6f4"] = MatrixProduct(
            "f8f6f4", "f8f6f4", "f32", "f32", rows, rows, depth * 4, plain.layout, scale_block=32
        )
    return table


def _gfx1201() -> dict[str, MatrixProduct]:
    table = {
        "v_wmma_f32_16x16x16_f16": _wmma(16, "f16"),
        "v_wmma_f32_16x16x16_bf16": _wmma(16, "bf16"),
        "v_wmma_f16_16x16x16_f16": _wmma(16, "f16", result="f16"),
        "v_wmma_bf16_16x16x16_bf16": _wmma(16, "bf16", result="bf16"),
        "v_wmma_i32_16x16x16_iu8": _wmma(16, "i8", result="i32"),
        "v_wmma_i32_16x16x16_iu4": _wmma(16, "i4", result="i32"),
        "v_wmma_i32_16x16x32_iu4": _wmma(32, "i4", result="i32"),
    }
    for a in ("fp8", "bf8"):
        for b in ("fp8", "bf8"):
            table[f"v_wmma_f32_16x16x16_{a}_{b}"] = _wmma(16, a, b)
    return table


def _gfx1250() -> dict[str, MatrixProduct]:
    table = {
        "v_wmma_f32_16x16x4_f32": _wmma(4, "f32"),
        "v_wmma_f32_16x16x32_f16": _wmma(32, "f16"),
        "v_wmma_f32_16x16x32_bf16": _wmma(32, "bf16"),
        "v_wmma_f16_16x16x32_f16": _wmma(32, "f16", result="f16"),
        "v_wmma_bf16_16x16x32_bf16": _wmma(32, "bf16", result="bf16"),
        "v_wmma_bf16f32_16x16x32_bf16": _wmma(32, "bf16", result="bf16", accumulator="f32"),
        "v_wmma_i32_16x16x64_iu8": _wmma(64, "i8", result="i32"),
    }
    for depth in (64, 128):
        for a in ("fp8", "bf8"):
            for b in ("fp8", "bf8"):
                for result in ("f32", "f16"):
                    table[f"v_wmma_{result}_16x16x{depth}_{a}_{b}"] = _wmma(depth, a, b, result)
    for prefix, block in (("", 0), ("scale_", 32), ("scale16_", 16)):
        table[f"v_wmma_{prefix}f32_16x16x128_f8f6f4"] = MatrixProduct(
            "f8f6f4", "f8f6f4", "f32", "f32", 16, 16, 128, wmma_result(16), scale_block=block
        )
    table["v_wmma_f32_32x16x128_f4"] = MatrixProduct("f4", "f4", "f32", "f32", 32, 16, 128, wmma_result(32))
    return table


PRODUCTS = {
    "gfx942": {
        **_cdna3(),
        "v_mfma_f32_32x32x4_xf32": _mfma(32, 4, "xf32"),
        "v_mfma_f32_16x16x8_xf32": _mfma(16, 8, "xf32"),
    },
    "gfx950": _gfx950(),
    "gfx1201": _gfx1201(),
    "gfx1250": _gfx1250(),
}
"""Processor -> mnemonic -> what it multiplies."""


def scale_rows(words: Array, rows: int, blocks: int, byte: int) -> Array:
    """Scales of an MFMA: the chosen byte of lane (block, row). words: (waves, 64) -> codes (waves, rows, blocks)."""
    codes = (words >> np.uint32(8 * byte)) & np.uint32(255)
    return codes.reshape(words.shape[0], blocks, rows).swapaxes(1, 2)


def scale_bytes(words: Array, half: int) -> Array:
    """Scales of a WMMA: all bytes of the 16 lanes of one half, the lowest byte for the first block of K.

    words: (n, waves, 32) -> codes (waves, 16, 4 * n).
    """
    chosen = np.ascontiguousarray(words[:, :, 16 * half : 16 * half + 16].transpose(1, 2, 0))
    return chosen.view(np.uint8)
