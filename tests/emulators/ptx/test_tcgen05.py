"""tcgen05.mma, cp and commit, against matrices laid out by row numbers instead of by addresses.

PTX ISA 9, "TensorCore 5th Generation": "Canonical layouts" and "Swizzling Modes" (chunks of 16 bytes change places by
the number of their row), "Instruction descriptor", "Data Layout" of D, "Block Scaling".
"""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators import Fault, FaultKind, Schedule
from tests.emulators.ptx.programs import (
    SCHEDULES,
    copy_in,
    in_every_schedule,
    load_cells,
    run_program,
    store_cells,
    wait_for,
    with_tensor_memory,
)

Array = npt.NDArray[Any]

COLUMNS = 128
OPERANDS = 32768
"""Bytes of shared memory for A, then as many for B."""
BARRIER, SLOT = 2 * OPERANDS, 2 * OPERANDS + 16
SHARED = 2 * OPERANDS + 64
BASE = 1024
"""Address of a program's shared memory."""
CHANGES: dict[int, Callable[[int], int]] = {
    0: lambda line: 0,
    32: lambda line: line // 4 % 2,
    64: lambda line: line // 2 % 4,
    128: lambda line: line % 8,
}
"""Swizzle -> what a line's chunk numbers are XORed with."""
MODES = {0: 0, 32: 6, 64: 4, 128: 2}
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def lay_out(raw: Array, swizzle: int, transposed: bool, place: int) -> tuple[npt.NDArray[np.uint8], int]:
    """Lines of raw elements, (rows, depth), as shared memory has them, and their descriptor."""
    lines = np.ascontiguousarray(raw.T if transposed else raw)
    octets = lines.view(np.uint8).reshape(len(lines), -1)
    span = swizzle or 16
    image = np.zeros(OPERANDS, np.uint8)
    for line, content in enumerate(octets):
        for start in range(0, len(content), 16):
            part, chunk = start // span, start % span // 16
            chunk ^= CHANGES[swizzle](line)
            at = part * span * len(lines) + line * span + 16 * chunk
            image[at : at + 16] = content[start : start + 16]
    parts, groups = span * len(lines), 8 * span
    # Without a swizzle, MN-major matrices have the two offsets the other way round.
    leading, stride = (groups, parts) if transposed and not swizzle else (parts, groups)
    fields = {0: (BASE + place) >> 4, 16: leading >> 4, 32: stride >> 4, 46: 1, 61: MODES[swizzle]}
    return image, sum(value << bit for bit, value in fields.items())


def instruction_descriptor(rows: int, columns: int, **fields: int) -> int:
    """Of named fields' values; the rest is 0."""
    bits = {
        "d": 4, "scale_id_b": 4, "a": 7, "b": 10, "negate_a": 13, "negate_b": 14, "transpose_a": 15, "transpose_b": 16,
        "scale": 23, "scale_id_a": 29, "saturate": 3, "long_f8": 29, "long_mx8": 31, "long_mx4": 3,
    }  # fmt: skip
    return sum(value << bits[name] for name, value in fields.items()) | columns >> 3 << 17 | rows >> 4 << 24


def multiply(
    kind: str,
    descriptor: int,
    images: list[tuple[Array, int]],
    cells: Array,
    *,
    suffix: str = "",
    place_a: str = "%wide0",
    target: int = 0,
    off: str = "",
    adds: str = "%no",
    before: str = "",
    after: str = "",
    fence: str = "fence.proxy.async.shared::cta;",
    wait: bool = True,
    columns: int = COLUMNS,
    architecture: str = "cuda:100",
    schedule: Schedule | None = None,
) -> Array:
    """Tensor memory after a multiplication of what the images hold, from these cells on."""
    body = f"""{load_cells(0, COLUMNS)}
{copy_in(cells.nbytes, 0, 2 * OPERANDS)}
{fence}
@%first mbarrier.init.shared::cta.b64 [%s+{BARRIER}], 1;
bar.sync 0;
mov.b64 %wide0, {images[0][1]:#x}; mov.b64 %wide1, {images[1][1]:#x}; mov.b32 %u0, {descriptor:#x};
{before}
@%first tcgen05.mma.cta_group::1.kind::{kind} [ %tm + {target} ], {place_a}, %wide1, %u0{suffix}{off}, {adds};
{after}
@%first tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%s+{BARRIER}];
{wait_for(BARRIER, 0, "WAIT") if wait else ""}
{store_cells(0, COLUMNS)}"""
    memory = np.concatenate([np.ascontiguousarray(cells).view(np.uint8).ravel(), images[0][0], images[1][0]])
    text = with_tensor_memory(body, columns, SLOT)
    if schedule is None:
        result = in_every_schedule(text, memory, shared=SHARED, architecture=architecture)
    else:
        result = run_program(text, memory, shared=SHARED, architecture=architecture, schedule=schedule)
    return result[: cells.nbytes].view(np.uint32).reshape(128, COLUMNS)


def lanes_of(rows: int, first: int = 0) -> Array:
    """Lane of each row of D: 64 rows take 16 lanes of each quarter."""
    if rows == 128:
        return np.arange(128)
    return np.concatenate([np.arange(start + first, start + first + 16) for start in (0, 32, 64, 96)])


def whole_numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


KINDS: dict[str, tuple[str, Any, int, int, int]] = {
    "f16": ("f16", np.float16, 0, 1, 16),
    "bf16": ("f16", ml_dtypes.bfloat16, 1, 1, 16),
    "tf32": ("tf32", np.float32, 2, 1, 8),
    "e4m3": ("f8f6f4", ml_dtypes.float8_e4m3fn, 0, 1, 32),
    "e5m2": ("f8f6f4", ml_dtypes.float8_e5m2, 1, 1, 32),
    "s8": ("i8", np.int8, 1, 2, 32),
}
"""Type -> kind, its dtype, its code, the accumulator's code, K."""
EMPTY = np.zeros((128, COLUMNS), np.uint32)


@pytest.mark.parametrize(
    ("name", "swizzle", "transposed_a", "transposed_b", "rows"),
    [
        ("bf16", 0, False, False, 128), ("bf16", 32, False, True, 64), ("bf16", 64, True, False, 128),
        ("bf16", 128, True, True, 64), ("f16", 128, False, False, 128), ("f16", 0, True, True, 128),
        ("tf32", 32, False, False, 64), ("e4m3", 128, False, False, 128), ("e4m3", 64, True, True, 128),
        ("e5m2", 32, False, False, 64), ("s8", 128, False, False, 128),
    ],
)  # fmt: skip
def test_products(name: str, swizzle: int, transposed_a: bool, transposed_b: bool, rows: int) -> None:
    kind, dtype, code, accumulator, depth = KINDS[name]
    columns, target = 64, 32
    a, b = whole_numbers(1, rows, depth), whole_numbers(2, columns, depth)
    images = [
        lay_out(matrix.astype(dtype), swizzle, transposed, place)
        for matrix, transposed, place in ((a, transposed_a, 0), (b, transposed_b, OPERANDS))
    ]
    descriptor = instruction_descriptor(
        rows, columns, d=accumulator, a=code, b=code, transpose_a=transposed_a, transpose_b=transposed_b
    )
    result = multiply(kind, descriptor, images, EMPTY, target=target)
    want = EMPTY.copy()
    total = a @ b.T
    words = total.astype(np.int32).view(np.uint32) if accumulator == 2 else total.view(np.uint32)
    want[lanes_of(rows), target : target + columns] = words
    np.testing.assert_array_equal(result, want)


def product_of(a: Array, b: Array) -> tuple[int, list[tuple[Array, int]]]:
    """Descriptors of a plain product in bf16."""
    images = [lay_out(one.astype(ml_dtypes.bfloat16), 32, False, at) for one, at in ((a, 0), (b, OPERANDS))]
    return instruction_descriptor(len(a), len(b), d=1, a=1, b=1), images


A, B = whole_numbers(3, 128, 16), whole_numbers(4, 32, 16)


def test_what_is_there_is_added_or_not() -> None:
    start = whole_numbers(5, 128, COLUMNS)
    descriptor, images = product_of(A, B)
    for adds, kept in (("%yes", 1), ("%no", 0)):
        got = multiply("f16", descriptor, images, start.view(np.uint32), adds=adds).view(np.float32)
        np.testing.assert_array_equal(got[:, :32], A @ B.T + kept * start[:, :32])
        np.testing.assert_array_equal(got[:, 32:], start[:, 32:])


def test_operations_of_one_thread_follow_each_other() -> None:
    descriptor, images = product_of(A, B)
    again = "@%first tcgen05.mma.cta_group::1.kind::f16 [ %tm + 0 ], %wide0, %wide1, %u0, %yes;"
    got = multiply("f16", descriptor, images, EMPTY, after=again).view(np.float32)
    np.testing.assert_array_equal(got[:, :32], 2 * (A @ B.T))


def test_halves_fill_the_lower_half_of_a_cell() -> None:
    a, b = whole_numbers(6, 128, 16), whole_numbers(7, 32, 16)
    images = [lay_out(one.astype(np.float16), 32, False, at) for one, at in ((a, 0), (b, OPERANDS))]
    got = multiply("f16", instruction_descriptor(128, 32), images, EMPTY)
    np.testing.assert_array_equal(got[:, :32], (a @ b.T).astype(np.float16).view(np.uint16))


def test_negated_and_disabled() -> None:
    descriptor, images = product_of(A, B)
    negated = descriptor | 1 << 13
    off = ", {%u1, %u2, %u3, %u4}"
    masks = "mov.b32 %u1, 5; mov.b32 %u2, 0; mov.b32 %u3, 0xffffffff; mov.b32 %u4, 0x80000000;"
    got = multiply("f16", negated, images, EMPTY, off=off, before=masks).view(np.float32)
    want = -(A @ B.T)
    want[[0, 2, *range(64, 96), 127]] = 0
    np.testing.assert_array_equal(got[:, :32], want)


def test_narrow_types_beside_wide_ones_are_padded() -> None:
    """Of 4 bits, 16 elements lie in 8 bytes, and 8 bytes are left free (.b4x16_p64)."""
    draw = np.random.default_rng(10)
    a, codes = whole_numbers(11, 128, 32), draw.integers(0, 16, (32, 32), dtype=np.uint8)
    packed = (codes[:, ::2] | codes[:, 1::2] << 4).reshape(32, 2, 8)
    padded = np.concatenate([packed, draw.integers(0, 256, packed.shape, dtype=np.uint8)], -1).reshape(32, 32)
    images = [lay_out(a.astype(ml_dtypes.float8_e4m3fn), 32, False, 0), lay_out(padded, 32, False, OPERANDS)]
    got = multiply("f8f6f4", instruction_descriptor(128, 32, d=1, a=0, b=5), images, EMPTY).view(np.float32)
    np.testing.assert_array_equal(got[:, :32], (a @ E2M1[codes].T).astype(np.float32))


@pytest.mark.parametrize("rows", [64, 128])
def test_a_in_tensor_memory(rows: int) -> None:
    a = A[:rows]
    descriptor, images = product_of(a, B)
    cells = EMPTY.copy()
    cells[lanes_of(rows), 96:104] = a.astype(ml_dtypes.bfloat16).view(np.uint32)
    got = multiply("f16", descriptor, images, cells, place_a="[ %tm + 96 ]").view(np.float32)
    np.testing.assert_array_equal(got[lanes_of(rows), :32], a @ B.T)


def scale_cells(codes: Array, cells: Array, column: int, first: int) -> None:
    """Put (rows, factors) codes where block scaling looks for them: each quarter of the lanes alike."""
    rows = len(codes)
    octets = cells.view(np.uint8).reshape(128, COLUMNS, 4)
    for row, number in np.ndindex(*codes.shape):
        at = first + number
        for quarter in range(4):
            octets[32 * quarter + row % 32, column + row // 32 + -(-rows // 32) * (at // 4), at % 4] = codes[
                row, number
            ]


SCALED = [
    ("mxf8f6f4", "block32", 32, 32, "cuda:100", 3), ("mxf8f6f4", "block32", 64, 32, "cuda:107", 2),
    ("mxf4", "block32", 64, 32, "cuda:100", 2), ("mxf4nvf4", "block16", 64, 16, "cuda:100", 0),
    ("mxf4nvf4", "block16", 128, 16, "cuda:107", 0), ("mxf4nvf4", "scale_vec::2X", 64, 32, "cuda:100", 0),
]  # fmt: skip
"""Kind, its block size's name, K, elements of a block, chip, first byte of the factors."""


@pytest.mark.parametrize(("kind", "named", "depth", "block", "architecture", "first"), SCALED)
def test_block_scales(kind: str, named: str, depth: int, block: int, architecture: str, first: int) -> None:
    draw = np.random.default_rng(8)
    fine = kind == "mxf4nvf4" and block == 16
    values, codes, images, cells = [], [], [], EMPTY.copy()
    for rows, column, place in ((128, 96, 0), (64, 112, OPERANDS)):
        if kind == "mxf8f6f4":
            raw = draw.standard_normal((rows, depth)).astype(ml_dtypes.float8_e4m3fn)
            value = raw.astype(np.float64)
        else:  # two elements a byte, the lower half first
            raw = draw.integers(0, 256, (rows, depth // 2), dtype=np.uint8)
            value = E2M1[np.stack([raw & 15, raw >> 4], -1).reshape(rows, depth)]
        factor = draw.integers(0x28, 0x48, (rows, depth // block), dtype=np.uint8) + np.uint8(0 if fine else 80)
        scale = factor.view(ml_dtypes.float8_e4m3fn).astype(np.float64) if fine else 2.0 ** (factor.astype(int) - 127)
        scale_cells(factor, cells, column, first)
        codes.append(factor)
        values.append(value * np.repeat(scale, block, 1))
        images.append(lay_out(raw.view(np.uint8), 32, False, place) if raw.nbytes // rows <= 32 else
                      lay_out(raw.view(np.uint8), 64, False, place))  # fmt: skip
    narrow = {} if kind == "mxf8f6f4" else {"a": 1, "b": 1}
    longer = {"long_mx8" if kind == "mxf8f6f4" else "long_mx4": int(architecture == "cuda:107")}
    descriptor = instruction_descriptor(
        128, 64, scale=int(not fine), scale_id_a=first, scale_id_b=first, **narrow, **longer
    )
    suffix = ", [ %tm + 96 ], [ %tm + 112 ]"
    got = multiply(
        f"{kind}.block_scale.{named}", descriptor, images, cells, suffix=suffix, architecture=architecture
    ).view(np.float32)
    np.testing.assert_array_equal(got[:, :64], (values[0] @ values[1].T).astype(np.float32))


def test_scale_factors_come_by_a_copy() -> None:
    """tcgen05.cp.32x128b.warpx4: 32 rows of 16 bytes, in eights, into every quarter of the lanes."""
    draw = np.random.default_rng(9)
    octets = draw.integers(0, 256, (32, 16), dtype=np.uint8)
    descriptor, images = product_of(A, B)
    image, source = lay_out(octets, 0, False, 16384)
    images[0][0][16384 : 16384 + 512] = image[:512]
    copy = f"mov.b64 %wide2, {source:#x};\n@%first tcgen05.cp.cta_group::1.32x128b.warpx4 [%u7], %wide2;"
    got = multiply("f16", descriptor, images, EMPTY, before="add.u32 %u7, %tm, 64;\n" + copy)
    np.testing.assert_array_equal(got[:, 64:68], np.tile(octets.view(np.uint32), (4, 1)))


OVERWRITE = "not.b32 %u7, %t;\n@%first st.shared.b32 [%s], %u7;"


@pytest.mark.parametrize("schedule", SCHEDULES[:2])
@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ({"fence": ""}, FaultKind.RACE),  # the matrices were stored by the threads
        ({"wait": False}, FaultKind.RACE),
        ({"after": OVERWRITE}, FaultKind.RACE),  # while they are being read
        ({"before": "@%warp0 tcgen05.dealloc.cta_group::1.sync.aligned.b32 %tm, 128;\nbar.sync 0;"}, None),
        ({"target": 120}, FaultKind.OUT_OF_BOUNDS),
        ({"columns": 256, "place_a": "[ %tm + 200 ]"}, FaultKind.UNINITIALISED),
        ({"columns": 256, "target": 200, "adds": "%yes"}, FaultKind.UNINITIALISED),
        ({"after": f"@%first mbarrier.inval.shared::cta.b64 [%s+{BARRIER}];"}, FaultKind.MISUSE),
        ({"before": f"mov.b32 %u0, {instruction_descriptor(96, 32, d=1, a=1, b=1):#x};"}, FaultKind.MISUSE),
        ({"before": "mov.b32 %u0, 0x4;"}, FaultKind.UNKNOWN),
    ],
)
def test_misuse(others: dict[str, Any], kind: FaultKind | None, schedule: Schedule) -> None:
    descriptor, images = product_of(A, B)
    with pytest.raises(Fault) as raised:
        multiply("f16", descriptor, images, EMPTY, schedule=schedule, **others)
    assert kind is None or raised.value.kind is kind
    assert raised.value.line


def test_scale_factors_must_be_the_same_in_every_quarter() -> None:
    _, images = product_of(A, B)
    cells = EMPTY.copy()
    cells[40, 96] = 1
    suffix = ", [ %tm + 96 ], [ %tm + 112 ]"
    with pytest.raises(Fault, match="quarters"):
        multiply("mxf8f6f4.block_scale.block32", instruction_descriptor(128, 32, scale=1), images, cells, suffix=suffix)


def test_who_does_not_wait_may_not_overwrite_accumulators() -> None:
    descriptor, images = product_of(A, B)
    again = "@%first bra SKIP;\n@%warp0 bra SKIP;\n" + "SKIP:\n" + load_cells(0, COLUMNS)
    with pytest.raises(Fault) as raised:
        multiply("f16", descriptor, images, EMPTY, after=again, schedule=Schedule(lazy=False))
    assert raised.value.kind is FaultKind.RACE
