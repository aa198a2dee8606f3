"""Matrix instructions, executed: random matrices placed element by element, the product taken from numpy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators.amdgcn.layouts import PRODUCTS
from porting.emulators.amdgcn.operands import UndecodedError
from tests.emulators.amdgcn.bench import execute
from tests.emulators.amdgcn.calculator_places import PLACES

Array = npt.NDArray[Any]
KINDS: dict[str, Any] = {
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp8": ml_dtypes.float8_e4m3fn,
    "bf8": ml_dtypes.float8_e5m2,
    "fp6": ml_dtypes.float6_e2m3fn,
    "bf6": ml_dtypes.float6_e3m2fn,
    "fp4": ml_dtypes.float4_e2m1fn,
    "f4": ml_dtypes.float4_e2m1fn,
    "f32": np.float32,
    "xf32": np.float32,
    "f64": np.float64,
    "i8": np.int8,
    "i4": np.int8,
}
WIDTHS = {"fp6": 6, "bf6": 6, "fp4": 4, "f4": 4, "i4": 4, "fp8": 8, "bf8": 8, "i8": 8, "f16": 16, "bf16": 16, "f64": 64}
ONE = {"f16": 0x3C00, "bf16": 0x3F80, "fp8": 0x38, "bf8": 0x3C, "f32": 0x3F800000, "xf32": 0x3F800000, "i8": 1, "i4": 1}
"""The bits of one; those of both FNUZ formats are 0x40."""
A_AT, B_AT, C_AT, D_AT, SCALES_AT = 0, 32, 64, 128, 192
"""First registers of the operands."""


def pack_elements(elements: Array, kind: str) -> Array:
    """(lanes, elements) -> registers (registers, lanes): every element's bits laid end to end."""
    width = WIDTHS.get(kind, 32)
    raw = elements.astype(KINDS[kind])
    codes = raw.view({1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[raw.dtype.itemsize])
    rows = []
    for lane in codes:
        whole = sum((int(code) & ((1 << width) - 1)) << (width * place) for place, code in enumerate(lane))
        rows.append([whole >> (32 * place) & 0xFFFFFFFF for place in range(len(lane) * width // 32)])
    return np.array(rows, np.uint32).T


def mfma_place(rows: int, blocks: int, depth: int, width: int) -> Callable[[int, int, int], tuple[int, int]]:
    """AMD Matrix Instruction Calculator, CDNA3: lane and element of (block, row, k); CDNA4's 8 bits in two runs."""
    per = depth * rows * blocks // 64

    def place(block: int, row: int, k: int) -> tuple[int, int]:
        if width == 8 and per > 16:
            half, rest = divmod(k, depth // 2)
            return block * rows + rest // 16 * rows * blocks + row, half * 16 + rest % 16
        return block * rows + k // per * rows * blocks + row, k % per

    return place


def wmma_place(run: int) -> Callable[[int, int, int], tuple[int, int]]:
    """Runs of K alternate between the halves; rows from 16 on follow in the same lane."""
    return lambda block, row, k: (row % 16 + 16 * (k // run % 2), row // 16 * 64 + k // (2 * run) * run + k % run)


RUNS = {16: {16: 4, 8: 8, 4: 8}, 32: {16: 8, 4: 16}, 64: {8: 16}, 128: {8: 16, 6: 32, 4: 32}, 4: {32: 2}}
"""K -> width of an element -> elements of a run of a WMMA."""


def lay_out(matrix: Array, kind: str, lanes: int) -> Array:
    """(blocks, rows, depth) -> registers, element by element."""
    blocks, rows, depth = matrix.shape
    width = WIDTHS.get(kind, 32)
    place = mfma_place(rows, blocks, depth, width) if lanes == 64 else wmma_place(RUNS[depth][width])
    elements = np.zeros((lanes, matrix.size // lanes))
    for block in range(blocks):
        for row in range(rows):
            for k in range(depth):
                lane, element = place(block, row, k)
                elements[lane, element] = matrix[block, row, k]
    return pack_elements(elements, kind)


def read_back(registers: Array, result: str, rows: int, columns: int, blocks: int, lanes: int) -> Array:
    """D of the wave -> (blocks, rows, columns): CDNA3 and RDNA4 instruction sets, output layouts."""
    words = registers[:, 0]
    if result in ("f16", "bf16"):
        halves = words.astype(np.uint32)[:, None] >> np.array([0, 16], np.uint32)[None, :, None]
        values = halves.astype(np.uint16).reshape(-1, lanes).view(KINDS[result]).astype(np.float64)
    elif result == "f64":
        pairs = words.astype(np.uint64)
        values = (pairs[0::2] | pairs[1::2] << np.uint64(32)).view(np.float64)
    else:
        values = words.view(np.int32 if result == "i32" else np.float32)
    matrix = np.zeros((blocks, rows, columns))
    for register in range(len(values)):
        for lane in range(lanes):
            if lanes == 32:
                block, row, column = 0, register // 8 * 16 + lane // 16 * 8 + register % 8, lane % 16
            elif rows == 4:
                block, row, column = lane // 4, register, lane % 4
            elif result == "f64":
                block, row, column = 0, register * 4 + lane // 16, lane % 16
            else:
                block, rest = divmod(register, rows * columns // 64)
                row = 64 // columns * 4 * (rest // 4) + 4 * (lane // columns) + rest % 4
                column = lane % columns
            matrix[block, row, column] = values[register, lane]
    return matrix


@dataclass
class Case:
    """One instruction with random operands: its registers and what it must compute."""

    target: str
    mnemonic: str
    a_kind: str = ""
    b_kind: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        self.product = product = PRODUCTS[self.target][self.mnemonic]
        self.lanes = 64 if self.target in ("gfx942", "gfx950") else 32
        self.a_kind = self.a_kind or product.a
        self.b_kind = self.b_kind or product.b
        random = np.random.default_rng(self.seed)
        self.a = self.draw(random, self.a_kind, product.rows)
        self.b = self.draw(random, self.b_kind, product.columns)
        self.c = random.integers(-8, 9, (product.blocks, product.rows, product.columns)).astype(float)

    def draw(self, random: np.random.Generator, kind: str, rows: int) -> Array:
        """Small multiples of a half: exact in every format."""
        shape = (self.product.blocks, rows, self.product.depth)
        if kind == "i4":
            return random.integers(-8, 8, shape).astype(float)
        if kind == "i8":
            return random.integers(-128, 128, shape).astype(float)
        return random.choice([-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0], shape)

    def registers(self) -> dict[int, Array]:
        kinds = {"gfx942": {"fp8": ml_dtypes.float8_e4m3fnuz, "bf8": ml_dtypes.float8_e5m2fnuz}}.get(self.target, {})
        saved = {kind: KINDS[kind] for kind in kinds}
        KINDS.update(kinds)
        try:
            return {
                A_AT: lay_out(self.a, self.a_kind, self.lanes),
                B_AT: lay_out(self.b, self.b_kind, self.lanes),
            }
        finally:
            KINDS.update(saved)

    def text(self, registers: dict[int, Array], c: str = "0", modifiers: str = "") -> str:
        def span(first: int, count: int) -> str:
            return f"v{first}" if count == 1 else f"v[{first}:{first + count - 1}]"

        words = self.product.layout.elements * {"f16": 16, "bf16": 16, "f64": 64}.get(self.product.result, 32) // 32
        self.words = words
        a, b = span(A_AT, len(registers[A_AT])), span(B_AT, len(registers[B_AT]))
        return f"{self.mnemonic} {span(D_AT, words)}, {a}, {b}, {c} {modifiers}".strip()

    def run(self, c: str = "0", modifiers: str = "", extra: dict[int, Array] | None = None) -> Array:
        registers = self.registers()
        text = self.text(registers, c, modifiers)
        waves = execute(self.target, text, {**registers, **(extra or {})})
        product = self.product
        return read_back(
            waves.block(D_AT, self.words), product.result, product.rows, product.columns, product.blocks, self.lanes
        )

    def expected(self) -> Array:
        return self.a @ self.b.swapaxes(-1, -2)


PLAIN = [
    (target, mnemonic)
    for target, table in PRODUCTS.items()
    for mnemonic, product in table.items()
    if "scale" not in mnemonic and product.a != "f8f6f4" and (target != "gfx950" or mnemonic not in PRODUCTS["gfx942"])
]
SIGNED = "neg_lo:[1,1,0]"
"""WMMA of integers: both signed."""


@pytest.mark.parametrize(("target", "mnemonic"), PLAIN)
def test_product_is_exact(target: str, mnemonic: str) -> None:
    case = Case(target, mnemonic)
    modifiers = SIGNED if "_iu" in mnemonic else ""
    np.testing.assert_array_equal(case.run(modifiers=modifiers), case.expected())


@pytest.mark.parametrize(("target", "mnemonic"), sorted(PLACES))
def test_the_calculators_elements_meet(target: str, mnemonic: str) -> None:
    """One-hot: A's element of the calculator alone, B all ones: its row of D is one in every column, the rest zero."""
    case = Case(target, mnemonic)
    _, block, row, k, lane, bit = next(place for place in PLACES[target, mnemonic] if place[0] == "A")
    registers = case.registers()
    registers[A_AT] = np.zeros_like(registers[A_AT])
    if case.a_kind == "f64":
        registers[A_AT][bit // 64 * 2 + 1, lane] = 0x3FF00000
    else:
        one = 0x40 if target == "gfx942" and case.a_kind in ("fp8", "bf8") else ONE[case.a_kind]
        registers[A_AT][bit // 32, lane] = one << bit % 32
    case.b = np.ones_like(case.b)
    registers[B_AT] = case.registers()[B_AT]
    waves = execute(target, case.text(registers, modifiers=SIGNED if "_iu" in mnemonic else ""), registers)
    product = case.product
    d = read_back(
        waves.block(D_AT, case.words), product.result, product.rows, product.columns, product.blocks, case.lanes
    )
    expected = np.zeros_like(d)
    expected[block, row] = 1
    np.testing.assert_array_equal(d, expected)
    assert 0 <= k < product.depth


@pytest.mark.parametrize(
    ("target", "mnemonic"),
    [
        ("gfx942", "v_mfma_f32_32x32x8_f16"),
        ("gfx950", "v_mfma_f32_16x16x32_bf16"),
        ("gfx1250", "v_wmma_f32_16x16x32_f16"),
    ],
)
def test_c_is_added_and_may_be_d(target: str, mnemonic: str) -> None:
    case = Case(target, mnemonic)
    count = case.product.layout.elements
    c = np.arange(count * case.lanes, dtype=np.float32).reshape(count, case.lanes)
    register = f"v[{D_AT}:{D_AT + count - 1}]"
    case.a[:] = 0
    registers = case.registers()
    waves = execute(target, case.text(registers, c=register), {**registers, D_AT: c.view(np.uint32)})
    np.testing.assert_array_equal(waves.block(D_AT, count)[:, 0].view(np.float32), c)


def test_exec_is_ignored() -> None:
    case = Case("gfx950", "v_mfma_f32_16x16x32_f16")
    registers = case.registers()
    waves = execute("gfx950", case.text(registers), registers, exec_mask=1)
    np.testing.assert_array_equal(read_back(waves.block(D_AT, 4), "f32", 16, 16, 1, 64), case.expected())


def test_accumulation_registers_follow_the_vector_registers() -> None:
    case = Case("gfx942", "v_mfma_f32_16x16x16_f16")
    registers = case.registers()
    waves = execute("gfx942", f"v_mfma_f32_16x16x16_f16 a[4:7], v[0:1], v[{B_AT}:{B_AT + 1}], 1.0", registers)
    np.testing.assert_array_equal(read_back(waves.block(256 + 4, 4), "f32", 16, 16, 1, 64), case.expected() + 1)


@pytest.mark.parametrize(("modifier", "sign"), [("neg_lo:[0,0,1]", -1), ("neg_hi:[0,0,1]", 1)])
def test_c_may_be_negated_or_made_absolute(modifier: str, sign: int) -> None:
    case = Case("gfx1250", "v_wmma_f32_16x16x32_bf16")
    c = np.full((8, 32), np.float32(-3 if sign > 0 else 3)).view(np.uint32)
    got = case.run(f"v[{C_AT}:{C_AT + 7}]", modifier, {C_AT: c})
    np.testing.assert_array_equal(got, case.expected() + sign * 3)


def test_sixteen_bit_results_are_rounded_once_and_packed() -> None:
    case = Case("gfx1250", "v_wmma_f16_16x16x32_f16")
    half = np.full((4, 32), 0x3C003C00, np.uint32)
    np.testing.assert_array_equal(case.run(f"v[{C_AT}:{C_AT + 3}]", extra={C_AT: half}), case.expected() + 1)
    mixed = Case("gfx1250", "v_wmma_bf16f32_16x16x32_bf16")
    big = np.full((8, 32), np.float32(257.0)).view(np.uint32)
    expected = (mixed.expected() + 257).astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)
    np.testing.assert_array_equal(mixed.run(f"v[{C_AT}:{C_AT + 7}]", extra={C_AT: big}), expected)


def test_integers_wrap_or_saturate() -> None:
    case = Case("gfx1201", "v_wmma_i32_16x16x16_iu8")
    top = np.full((8, 32), 0x7FFFFFFF, np.uint32)
    exact = case.expected() + 2**31 - 1
    wrapped = case.run(f"v[{C_AT}:{C_AT + 7}]", SIGNED, {C_AT: top})
    np.testing.assert_array_equal(wrapped, (exact.astype(np.int64) + 2**31) % 2**32 - 2**31)
    clamped = case.run(f"v[{C_AT}:{C_AT + 7}]", SIGNED + " clamp", {C_AT: top})
    np.testing.assert_array_equal(clamped, np.minimum(exact, 2**31 - 1))


def test_unsigned_integers() -> None:
    case = Case("gfx1201", "v_wmma_i32_16x16x16_iu8")
    np.testing.assert_array_equal(case.run(), (case.a % 256) @ (case.b % 256).swapaxes(-1, -2))
    mixed = case.run(modifiers="neg_lo:[1,0,0]")
    np.testing.assert_array_equal(mixed, case.a @ (case.b % 256).swapaxes(-1, -2))


def test_xf32_keeps_ten_bits_of_the_fraction() -> None:
    case = Case("gfx942", "v_mfma_f32_16x16x8_xf32")
    case.a = np.full_like(case.a, 1 + 2.0**-10 + 2.0**-11 + 2.0**-20)
    case.b = np.ones_like(case.b)
    np.testing.assert_array_equal(case.run(), np.full((1, 16, 16), 8 * (1 + 2.0**-10)))


def test_block_of_a_is_broadcast_by_cbsz_and_abid() -> None:
    """CDNA3: cbsz 1 and abid 1 give the second block of every two to both."""
    case = Case("gfx942", "v_mfma_f32_4x4x4_16b_f16")
    used = case.a[np.arange(16) // 2 * 2 + 1]
    np.testing.assert_array_equal(case.run(modifiers="cbsz:1 abid:1"), used @ case.b.swapaxes(-1, -2))


def test_lanes_of_b_are_permuted_by_blgp() -> None:
    """CDNA3: blgp 1 broadcasts the first 32 lanes of B: blocks 0-7 for blocks 8-15."""
    case = Case("gfx942", "v_mfma_f32_4x4x4_16b_f16")
    np.testing.assert_array_equal(case.run(modifiers="blgp:1"), case.a @ case.b[np.arange(16) % 8].swapaxes(-1, -2))


@pytest.mark.parametrize("text", ["cbsz:1", "blgp:2"])
def test_broadcasts_of_one_block_are_unknown(text: str) -> None:
    with pytest.raises(UndecodedError, match="one block"):
        Case("gfx942", "v_mfma_f32_32x32x8_f16").run(modifiers=text)


CBSZ = {"fp8": 0, "bf8": 1, "fp6": 2, "bf6": 3, "fp4": 4}
MIXED = [("fp8", "fp8"), ("bf8", "fp4"), ("fp4", "fp4"), ("fp6", "bf6"), ("fp4", "fp8"), ("bf6", "bf8")]


def random_scales(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).integers(119, 136, shape).astype(np.uint8)


def apply_scales(matrix: Array, scales: Array, block: int) -> Array:
    """Every run of `block` elements of K times its scale."""
    scaled: Array = matrix * np.repeat(np.exp2(scales.astype(float) - 127), block, axis=-1)
    return scaled


@pytest.mark.parametrize("shape", ["16x16x128", "32x32x64"])
@pytest.mark.parametrize("formats", MIXED)
@pytest.mark.parametrize("byte", [0, 1, 2, 3])
def test_scaled_mfma(shape: str, formats: tuple[str, str], byte: int) -> None:
    case = Case("gfx950", f"v_mfma_scale_f32_{shape}_f8f6f4", *formats)
    rows, depth = case.product.rows, case.product.depth
    scales = [random_scales((rows, depth // 32), seed) for seed in (1, 2)]
    words = []
    for codes in scales:
        word = np.full(64, 0x55AA55AA, np.uint32)
        for row in range(rows):
            for block in range(depth // 32):
                lane, shift = block * rows + row, 8 * byte
                word[lane] = word[lane] & ~np.uint32(255 << shift) | np.uint32(int(codes[row, block]) << shift)
        words.append(word)
    select = f"op_sel:[{byte % 2},{byte % 2},0] op_sel_hi:[{byte // 2},{byte // 2},0]"
    modifiers = f"{select} cbsz:{CBSZ[formats[0]]} blgp:{CBSZ[formats[1]]}"
    scale_text = f"0, v{SCALES_AT}, v{SCALES_AT + 1}"
    got = case.run(scale_text, modifiers, {SCALES_AT: words[0], SCALES_AT + 1: words[1]})
    a, b = apply_scales(case.a[0], scales[0], 32), apply_scales(case.b[0], scales[1], 32)
    np.testing.assert_array_equal(got[0], (a @ b.T).astype(np.float32))


@pytest.mark.parametrize("formats", MIXED)
@pytest.mark.parametrize("halves", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("block", [32, 16])
def test_scaled_wmma(formats: tuple[str, str], halves: tuple[int, int], block: int) -> None:
    name = "scale" if block == 32 else "scale16"
    case = Case("gfx1250", f"v_wmma_{name}_f32_16x16x128_f8f6f4", *formats)
    count = 128 // block
    scales = [random_scales((16, count), seed) for seed in (3, 4)]
    registers = {}
    for side, (codes, half) in enumerate(zip(scales, halves, strict=True)):
        words = np.full((count // 4, 32), 0xAA55AA55, np.uint32)
        words[:, 16 * half : 16 * half + 16] = codes.view(np.uint32).reshape(16, -1).T
        registers[SCALES_AT + 2 * side] = words
    spans = [f"v{first}" if count == 4 else f"v[{first}:{first + 1}]" for first in (SCALES_AT, SCALES_AT + 2)]
    modifiers = " ".join(
        [f"matrix_{side}_fmt:MATRIX_FMT_{kind.upper()}" for side, kind in zip("ab", formats, strict=True)]
        + [f"matrix_{side}_scale:MATRIX_SCALE_ROW{half}" for side, half in zip("ab", halves, strict=True)]
    )
    got = case.run(f"0, {spans[0]}, {spans[1]}", modifiers, registers)
    a, b = apply_scales(case.a[0], scales[0], block), apply_scales(case.b[0], scales[1], block)
    np.testing.assert_array_equal(got[0], (a @ b.T).astype(np.float32))


def test_scales_of_wmma_may_be_e4m3() -> None:
    """NVFP4: scales E4M3 for 16 elements of K."""
    case = Case("gfx1250", "v_wmma_scale16_f32_16x16x128_f8f6f4", "fp4", "fp4")
    numbers = np.random.default_rng(5).choice([0.5, 0.75, 1.0, 1.125, 2.5, 448.0, 2.0**-9], (2, 16, 8))
    codes = numbers.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    registers = {SCALES_AT + 2 * side: np.tile(codes[side].copy().view(np.uint32).T, (1, 2)) for side in (0, 1)}
    modifiers = " ".join(
        [f"matrix_{side}_fmt:MATRIX_FMT_FP4" for side in "ab"]
        + [f"matrix_{side}_scale_fmt:MATRIX_SCALE_FMT_E4M3" for side in "ab"]
    )
    got = case.run(f"0, v[{SCALES_AT}:{SCALES_AT + 1}], v[{SCALES_AT + 2}:{SCALES_AT + 3}]", modifiers, registers)
    a, b = (np.repeat(numbers[side], 16, axis=-1) * (case.a, case.b)[side][0] for side in (0, 1))
    np.testing.assert_array_equal(got[0], (a @ b.T).astype(np.float32))


@pytest.mark.parametrize("formats", [("fp8", "bf8"), ("fp4", "fp4"), ("fp6", "bf6")])
def test_unscaled_products_of_one_width(formats: tuple[str, str]) -> None:
    case = Case("gfx1250", "v_wmma_f32_16x16x128_f8f6f4", *formats)
    names = " ".join(f"matrix_{side}_fmt:MATRIX_FMT_{kind.upper()}" for side, kind in zip("ab", formats, strict=True))
    np.testing.assert_array_equal(case.run(modifiers=names), case.expected())
    other = Case("gfx950", "v_mfma_f32_16x16x128_f8f6f4", *formats)
    got = other.run(modifiers=f"cbsz:{CBSZ[formats[0]]} blgp:{CBSZ[formats[1]]}")
    np.testing.assert_array_equal(got, other.expected())


def test_a_scale_of_255_makes_nan() -> None:
    case = Case("gfx950", "v_mfma_scale_f32_16x16x128_f8f6f4", "fp8", "fp8")
    ones = np.full(64, 127, np.uint32)
    bad = ones.copy()
    bad[2] = 255
    got = case.run(f"0, v{SCALES_AT}, v{SCALES_AT + 1}", "op_sel_hi:[0,0,0]", {SCALES_AT: bad, SCALES_AT + 1: ones})[0]
    assert np.isnan(got[2]).all()
    assert not np.isnan(np.delete(got, 2, axis=0)).any()


def test_infinity_times_zero_is_nan_and_sums_overflow() -> None:
    case = Case("gfx942", "v_mfma_f32_16x16x16_bf16")
    case.a[:] = 0
    case.b[:] = 1
    case.a[0, 3, 5] = np.inf
    case.b[0, 7, 5] = 0
    got = case.run()[0]
    assert np.isnan(got[3, 7])
    assert np.isposinf(np.delete(got[3], 7)).all()
    case.a[0, 3, 5] = 3e38
    case.a[0, 3, 6] = 3e38
    assert np.isposinf(case.run()[0][3, 0])


@pytest.mark.parametrize(
    ("target", "text", "reason"),
    [
        ("gfx942", "v_mfma_f32_16x16x32_f16 v[0:3], v[4:7], v[8:11], 0", "on gfx942"),
        ("gfx1250", "v_wmma_f32_16x16x16_f16 v[0:7], v[8:11], v[12:15], 0", "on gfx1250"),
        ("gfx1250", "v_wmma_f32_16x16x128_f8f6f4 v[0:7], v[8:23], v[24:35], 0 matrix_b_fmt:MATRIX_FMT_FP6", "widths"),
        ("gfx1250", "v_wmma_f32_16x16x32_f16 v[0:7], v[8:15], v[16:23], 0 neg_lo:[1,0,0]", "sign modifier"),
        ("gfx942", "v_mfma_f64_16x16x4_f64 v[0:7], v[8:9], v[12:13], 0 neg:[1,0,0]", "modifier neg"),
    ],
)
def test_what_is_unknown_is_refused(target: str, text: str, reason: str) -> None:
    from porting.emulators.amdgcn.registry import Context, find_step
    from porting.emulators.amdgcn.targets import find_target
    from porting.emulators.amdgcn.text import parse_instruction
    from tests.emulators.amdgcn.bench import PROGRAM

    with pytest.raises(UndecodedError, match=reason):
        find_step(parse_instruction(text, 1, None, 0), Context(PROGRAM, find_target(target), 256))
