"""Descriptors of PTX ISA 9: every field, every bit that is not defined, and where a tile's chunks then lie."""

import itertools

import numpy as np
import pytest

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.matrix_descriptors import (
    SharedMatrix,
    multiplication,
    swizzled,
    tcgen05_matrix,
    tile_chunks,
    wgmma_matrix,
)
from tests.emulators.ptx.operand_images import SWIZZLES, Array, lay_out, tcgen05_descriptor, wgmma_descriptor

START = 0x8000


@pytest.mark.parametrize("swizzle", SWIZZLES)
def test_fields(swizzle: int) -> None:
    matrix = SharedMatrix(START, 0x3FFF0, 0x1230, swizzle)
    assert wgmma_matrix(wgmma_descriptor(START, 0x3FFF0, 0x1230, swizzle)) == matrix
    assert tcgen05_matrix(tcgen05_descriptor(START, 0x3FFF0, 0x1230, swizzle), 100) == matrix


def test_undefined_bits_of_wgmma() -> None:
    right = wgmma_descriptor(START, 64, 64, 128)
    for bit in (14, 15, 30, 31, 46, 47, 48, *range(52, 62)):
        with pytest.raises(Fault) as caught:
            wgmma_matrix(right | 1 << bit)
        assert caught.value.kind is FaultKind.MISUSE, bit
    for bit in (49, 50, 51):  # defined, but not executed
        with pytest.raises(Fault, match="base offset") as caught:
            wgmma_matrix(right | 1 << bit)
        assert caught.value.kind is FaultKind.UNKNOWN


def test_undefined_bits_of_tcgen05() -> None:
    right = tcgen05_descriptor(START, 64, 64, 128)
    for bit in (14, 15, 30, 31, 46, 47, 48, *range(53, 62)):  # 46 is the one that must be 1; 61 makes mode 3 of 2
        with pytest.raises(Fault) as caught:
            tcgen05_matrix(right ^ 1 << bit, 100)
        assert caught.value.kind is FaultKind.MISUSE, bit
    for bit in (49, 52):
        with pytest.raises(Fault) as caught:
            tcgen05_matrix(right | 1 << bit, 100)
        assert caught.value.kind is FaultKind.UNKNOWN
    for mode, kind in ((1, FaultKind.UNKNOWN), (3, FaultKind.MISUSE), (5, FaultKind.MISUSE), (7, FaultKind.MISUSE)):
        with pytest.raises(Fault) as caught:
            tcgen05_matrix(tcgen05_descriptor(START, 64, 64, 0) | mode << 61, 100)
        assert caught.value.kind is kind


def test_rubin_has_one_more_bit_of_address() -> None:
    far = tcgen05_descriptor(0x40000, 64, 64, 0)
    assert tcgen05_matrix(far, 107).start == 0x40000
    with pytest.raises(Fault, match="not defined"):
        tcgen05_matrix(far, 103)


def test_a_pattern_begins_at_a_multiple_of_its_size() -> None:
    assert wgmma_matrix(wgmma_descriptor(START + 96, 0, 0, 128)).start == START + 96  # further along K
    for swizzle in (32, 64, 128):
        with pytest.raises(Fault, match="swizzle pattern"):
            wgmma_matrix(wgmma_descriptor(START + swizzle, 0, 0, swizzle))


@pytest.mark.parametrize("swizzle", SWIZZLES)
def test_swizzle_turns_chunks_by_rows(swizzle: int) -> None:
    span = swizzle or 16
    image, _, _ = lay_out(np.arange(16 * span, dtype=np.uint8).reshape(16, span), swizzle, transposed=False)
    plain = np.arange(16 * span)
    assert (image[swizzled(plain + 1024, swizzle) - 1024] == plain.astype(np.uint8)).all()


@pytest.mark.parametrize(
    ("swizzle", "transposed", "kind"), [*itertools.product(SWIZZLES, (False, True), (np.uint8, np.uint16))]
)
def test_tiles(swizzle: int, transposed: bool, kind: type) -> None:
    bits = 8 * np.dtype(kind).itemsize
    depth = 256 // bits
    wanted = np.random.default_rng(0).integers(0, 1 << bits, (128, depth), dtype=kind)
    image, leading, stride = lay_out(wanted, swizzle, transposed)
    chunks = tile_chunks(SharedMatrix(START, leading, stride, swizzle), 128, depth, bits, transposed) - START
    read: Array = image.reshape(-1, 16)[chunks // 16].reshape(len(chunks), -1).view(kind)
    assert (chunks % 16 == 0).all()
    assert ((read.T if transposed else read) == wanted).all()


def test_a_later_part_of_k_begins_within_the_span() -> None:
    wanted = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    image, leading, stride = lay_out(wanted, 128, transposed=False)
    for part in range(4):
        chunks = tile_chunks(SharedMatrix(START + 32 * part, leading, stride, 128), 64, 16, 16, False) - START
        read = image.reshape(-1, 16)[chunks // 16].reshape(64, -1).view(np.uint16)
        assert (read == wanted[:, 16 * part : 16 * part + 16]).all()
    with pytest.raises(Fault, match="beyond the end"):
        tile_chunks(SharedMatrix(START + 112, leading, stride, 128), 64, 16, 16, False)


def instruction_descriptor(**fields: int) -> int:
    """PTX ISA 9, "Instruction descriptor", tables for .kind::tf32 to .kind::i8 and for block scales."""
    places = {
        "sparse": 2, "saturate": 3, "d": 4, "scale_id_b": 4, "a": 7, "b": 10, "negate_a": 13, "negate_b": 14,
        "transpose_a": 15, "transpose_b": 16, "n": 17, "scale_type": 23, "m": 24, "scale_id_a": 29,
    }  # fmt: skip
    return sum(value << places[name] for name, value in fields.items())


def test_instruction_descriptors() -> None:
    half = multiplication(instruction_descriptor(d=1, a=1, b=1, n=256 // 8, m=128 // 16, transpose_b=1), "f16", 100)
    assert (half.rows, half.columns, half.depth) == (128, 256, 16)
    assert (half.type_a, half.type_b, half.type_d) == ("bf16", "bf16", "f32")
    assert (half.transposed_a, half.transposed_b, half.negated_a) == (False, True, False)
    mixed = multiplication(instruction_descriptor(d=0, a=1, b=5, n=8 // 8, m=64 // 16, negate_b=1), "f8f6f4", 100)
    assert (mixed.type_a, mixed.type_b, mixed.type_d, mixed.negated_b, mixed.depth) == ("e5m2", "e2m1", "f16", True, 32)
    whole = multiplication(instruction_descriptor(d=2, a=1, b=0, n=32 // 8, m=64 // 16, saturate=1), "i8", 100)
    assert (whole.type_a, whole.type_b, whole.type_d, whole.saturated) == ("s8", "u8", "s32", True)
    single = multiplication(instruction_descriptor(d=1, a=2, b=2, n=16 // 8, m=128 // 16), "tf32", 100)
    assert (single.type_a, single.depth) == ("tf32", 8)


def test_block_scales() -> None:
    fields = {"a": 1, "b": 1, "n": 64 // 8, "m": 128 // 16, "scale_id_a": 2, "scale_id_b": 2}
    small = multiplication(instruction_descriptor(**fields), "mxf4nvf4", 100)
    assert (small.scale_type, small.scale_id_a, small.scale_id_b, small.depth) == ("ue4m3", 2, 2, 64)
    small = multiplication(instruction_descriptor(**fields, scale_type=1), "mxf4", 100)
    assert (small.type_a, small.scale_type) == ("e2m1", "ue8m0")
    with pytest.raises(Fault, match="type of the scales 0"):
        multiplication(instruction_descriptor(**fields), "mxf4", 100)
    with pytest.raises(Fault, match="not defined"):
        multiplication(instruction_descriptor(n=8, m=4, scale_type=1), "mxf8f6f4", 100)


@pytest.mark.parametrize(
    ("kind", "bit", "depth"), [("f8f6f4", 29, 64), ("mxf8f6f4", 31, 64), ("mxf4", 3, 128), ("mxf4nvf4", 3, 128)]
)
def test_rubin_doubles_k_by_one_bit(kind: str, bit: int, depth: int) -> None:
    factor = 1 if "4" in kind[-2:] and kind.startswith("mxf4") else 0
    fields = {"a": factor, "b": factor, "n": 8, "m": 8}
    right = instruction_descriptor(**fields, **({"scale_type": 1} if kind.startswith("mx") else {"d": 1}))
    assert multiplication(right | 1 << bit, kind, 107).depth == depth
    assert multiplication(right, kind, 107).depth == depth // 2
    with pytest.raises(Fault, match="not defined"):
        multiplication(right | 1 << bit, kind, 100)


@pytest.mark.parametrize("architecture", [100, 107])
@pytest.mark.parametrize(
    ("kind", "undefined"),
    [
        ("f16", (0, 1, 3, 6, 23, 29, 30, 31)),
        ("tf32", (0, 1, 3, 6, 23, 29, 30, 31)),
        ("f8f6f4", (0, 1, 3, 6, 23, 30, 31)),
        ("i8", (0, 1, 6, 13, 14, 23, 29, 30, 31)),
        ("mxf8f6f4", (0, 1, 3, 6, 24, 25, 26)),
        ("mxf4", (0, 1, 6, 12, 15, 16, 24, 25, 26, 31)),
        ("mxf4nvf4", (0, 1, 6, 12, 15, 16, 24, 25, 26, 31)),
    ],
)
def test_undefined_bits_of_instructions(kind: str, undefined: tuple[int, ...], architecture: int) -> None:
    factors = {"f16": (1, 1), "tf32": (2, 1), "i8": (1, 2), "f8f6f4": (0, 1)}.get(kind)
    if factors is not None:
        right = instruction_descriptor(a=factors[0], b=factors[0], d=factors[1], n=8, m=8)
    else:
        right = instruction_descriptor(a=int(kind != "mxf8f6f4"), b=int(kind != "mxf8f6f4"), n=8, m=8, scale_type=1)
    multiplication(right, kind, architecture)
    for bit in undefined:
        with pytest.raises(Fault) as caught:
            multiplication(right | 1 << bit, kind, architecture)
        assert caught.value.kind is FaultKind.MISUSE, bit
    with pytest.raises(Fault, match="sparse") as caught:
        multiplication(right | 4, kind, architecture)
    assert caught.value.kind is FaultKind.UNKNOWN


def test_shapes() -> None:
    for rows, columns in ((128, 8), (128, 24), (64, 264), (32, 64), (256, 64), (128, 0)):
        with pytest.raises(Fault, match="no shape"):
            multiplication(instruction_descriptor(a=1, b=1, d=1, n=columns // 8, m=rows // 16), "f16", 100)
    with pytest.raises(Fault, match="no shape"):
        multiplication(instruction_descriptor(a=1, b=1, d=2, n=40 // 8, m=64 // 16), "i8", 100)
