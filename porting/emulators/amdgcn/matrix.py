"""Matrix instructions: MFMA, WMMA and their scaled forms.

Every product and every sum is exact to float64, and the sum with C is rounded once to the type of D: the hardware adds
in an order of its own and rounds on the way. EXEC is ignored, as the architecture says.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.layouts import (
    BITS,
    F8F6F4,
    FNUZ_FORMATS,
    FORMATS,
    MATRIX_FORMATS,
    PRODUCTS,
    MatrixProduct,
    OperandLayout,
    gather_operand,
    mfma_operand,
    scale_bytes,
    scale_rows,
    scatter_result,
    wmma_operand,
)
from porting.emulators.amdgcn.operands import Operand, UndecodedError, constant_bits
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.values import read_list, reader
from porting.emulators.number_formats import BF16, E4M3, E4M3_FNUZ, NumberFormat, decode, encode, power_of_two, unpack

Array = npt.NDArray[Any]
Matrices = Callable[[Waves], Array]
"""Waves -> (waves, blocks, rows, depth), float64."""
Elements = Callable[[Waves], Any]
"""Waves -> C as (elements, waves, lanes), float64 or int64, or one number for all."""
MNEMONICS = sorted({mnemonic for table in PRODUCTS.values() for mnemonic in table})
TRUNCATED = np.uint32(0xFFFFE000)
"""What is left of a float32 as XF32: its ten upper fraction bits. Measured on gfx942: it rounds toward zero."""
SCALE_FORMATS = {"MATRIX_SCALE_FMT_E8": None, "MATRIX_SCALE_FMT_E4M3": E4M3}
SCALE_HALVES = {"MATRIX_SCALE_ROW0": 0, "MATRIX_SCALE_ROW1": 1}


def permuted_lanes(side: str, instruction: Instruction, product: MatrixProduct) -> Array | None:
    """Lanes that A and B are taken from under cbsz, abid and blgp; None: each from its own.

    CDNA3 instruction set: cbsz broadcasts block `abid` of A to its 2**cbsz neighbours; blgp permutes B's lanes.
    """
    modifiers = {name: int(instruction.modifiers.get(name, "0"), 0) for name in ("cbsz", "abid", "blgp")}
    if product.a == "f8f6f4" or not any(modifiers.values()):
        return None
    if product.blocks == 1:
        raise UndecodedError(f"cbsz, abid or blgp of {instruction.mnemonic}, which has one block")
    lanes = np.arange(64)
    if side == "a":
        width = 64 // product.blocks
        block = lanes // width
        kept = (block >> modifiers["cbsz"] << modifiers["cbsz"]) + modifiers["abid"]
        return kept * width + lanes % width if modifiers["cbsz"] else None
    choices = {1: lanes % 32, 2: lanes % 32 + 32, 3: (lanes + 16) % 64}
    choices.update({number: lanes % 16 + 16 * (number - 4) for number in (4, 5, 6, 7)})
    return choices.get(modifiers["blgp"])


def number_format(side: str, kind: str, instruction: Instruction, context: Context) -> NumberFormat | None:
    """The narrow format of A or B; None where the kind is no narrow float."""
    if kind != "f8f6f4":
        return (FNUZ_FORMATS if context.target.fp8 == E4M3_FNUZ.dtype else FORMATS).get(kind)
    if context.target.lanes == 64:
        return F8F6F4[int(instruction.modifiers.get("cbsz" if side == "a" else "blgp", "0"), 0)]
    return F8F6F4[MATRIX_FORMATS[instruction.modifiers.get(f"matrix_{side}_fmt", "MATRIX_FMT_FP8")]]


def element_decoder(
    side: str, kind: str, form: NumberFormat | None, instruction: Instruction
) -> Callable[[Array], Array]:
    """Codes of elements -> float64."""
    if form is not None:
        return lambda codes: decode(codes, form)
    if kind == "f64":
        return lambda codes: codes
    if kind == "f32":
        return lambda codes: codes.view(np.float32).astype(np.float64)
    if kind == "xf32":
        return lambda codes: (codes & TRUNCATED).view(np.float32).astype(np.float64)
    place = 0 if side == "a" else 1
    signed = "mfma" in instruction.mnemonic or read_list(instruction.modifiers.get("neg_lo", "[0,0,0]"))[place] == 1
    if kind == "i8":
        return lambda codes: codes.view(np.int8 if signed else np.uint8).astype(np.float64)
    return lambda codes: codes.astype(np.float64) - (16.0 * (codes >= 8) if signed else 0.0)


def operand_layout(product: MatrixProduct, side: str, bits: int, lanes: int) -> OperandLayout:
    """Where A or B lies."""
    rows = product.rows if side == "a" else product.columns
    if lanes == 64:
        return mfma_operand(rows, product.depth, bits, product.blocks)
    return wmma_operand(rows, product.depth, bits)


def read_matrices(
    side: str, operand: Operand, product: MatrixProduct, instruction: Instruction, context: Context
) -> Matrices:
    """Reader of A or of B, each as its rows (B: its columns) times K."""
    kind = product.a if side == "a" else product.b
    form = number_format(side, kind, instruction, context)
    bits = form.bits if form is not None else BITS[kind]
    layout = operand_layout(product, side, bits, context.target.lanes)
    row, count = operand.index, layout.elements * bits // 32
    if operand.kind != "vector" or operand.count != count:
        raise UndecodedError(f"{side.upper()} in {operand.count} registers, not {count}")
    lanes = permuted_lanes(side, instruction, product)
    to_numbers = element_decoder(side, kind, form, instruction)

    def read(waves: Waves) -> Array:
        words = np.ascontiguousarray(waves.block(row, count).transpose(1, 2, 0))
        if lanes is not None:
            words = words[:, lanes]
        codes = words.view(np.float64) if bits == 64 else unpack(words, bits)
        return to_numbers(gather_operand(codes, layout))

    return read


def read_accumulator(operand: Operand, kind: str, elements: int, instruction: Instruction) -> Elements:
    """Reader of C with its sign modifiers: neg_lo negates it, neg_hi takes its absolute value."""
    bits = {"f64": 64, "f16": 16, "bf16": 16}.get(kind, 32)
    negated, absolute = (read_list(instruction.modifiers.get(name, "[0,0,0]"))[2] for name in ("neg_lo", "neg_hi"))
    to_numbers = _accumulator_decoder(kind)
    if operand.kind == "literal":
        width = {64: np.uint64, 16: np.uint16, 32: np.uint32}[bits]
        constant = to_numbers(np.array([constant_bits(operand.value, bits)], width))[0]
        return lambda waves: constant
    row, count = operand.index, elements * bits // 32
    if operand.kind != "vector" or operand.count != count or operand.negated or operand.absolute:
        raise UndecodedError(f"C in {operand.count} registers, not {count}")

    def read(waves: Waves) -> Array:
        words: Array = waves.block(row, count)
        if bits == 16:
            halves = words.view(np.uint16).reshape(count, waves.count, waves.lanes, 2)
            words = halves.transpose(0, 3, 1, 2).reshape(elements, waves.count, waves.lanes)
        elif bits == 64:
            pairs = words.reshape(elements, 2, waves.count, waves.lanes).transpose(0, 2, 3, 1)
            words = np.ascontiguousarray(pairs).view(np.uint64)[..., 0]
        values = to_numbers(words)
        if absolute:
            values = np.abs(values)
        return -values if negated else values

    return read


def _accumulator_decoder(kind: str) -> Callable[[Array], Array]:
    if kind == "i32":
        return lambda words: words.view(np.int32).astype(np.int64)
    if kind == "bf16":
        return lambda words: decode(words, BF16)
    dtype = {"f32": np.float32, "f16": np.float16, "f64": np.float64}[kind]
    return lambda words: words.view(dtype).astype(np.float64)


def split_doubles(sums: Array) -> Array:
    """Doubles (elements, waves, lanes) -> their lower and upper words (2 * elements, waves, lanes)."""
    words = np.ascontiguousarray(sums).view(np.uint32).reshape(*sums.shape, 2)
    return words.transpose(0, 3, 1, 2).reshape(-1, *sums.shape[1:])


def finish(kind: str, clamp: bool) -> Callable[[Array], Array]:
    """Sums (elements, waves, lanes) -> registers of D (registers, waves, lanes), each sum rounded once."""
    if kind == "f32":
        return lambda sums: sums.astype(np.float32)
    if kind == "i32":
        low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
        return lambda sums: (np.clip(sums, low, high) if clamp else sums).astype(np.int32)
    if kind == "f64":
        return lambda sums: (
            sums.view(np.uint32).reshape(*sums.shape, 2).transpose(0, 3, 1, 2).reshape(-1, *sums.shape[1:])
        )

    def halves(sums: Array) -> Array:
        codes = encode(sums, BF16) if kind == "bf16" else sums.astype(np.float16).view(np.uint16)
        pairs = codes.astype(np.uint32).reshape(-1, 2, *sums.shape[1:])
        packed: Array = pairs[:, 0] | pairs[:, 1] << np.uint32(16)
        return packed

    return halves


def multiply(d: Operand, a: Matrices, b: Matrices, c: Elements, product: MatrixProduct, clamp: bool) -> Step:
    """The instruction itself, its operands' readers given."""
    row, layout, kind = d.index, product.layout, product.result
    count = layout.elements * {"f64": 64, "f16": 16, "bf16": 16}.get(kind, 32) // 32
    if d.kind != "vector" or d.count != count:
        raise UndecodedError(f"D in {d.count} registers, not {count}")
    to_registers, whole = finish(kind, clamp), kind == "i32"

    def step(waves: Waves) -> None:
        products = a(waves) @ b(waves).swapaxes(-1, -2)
        sums = scatter_result(products.astype(np.int64) if whole else products, layout)
        waves.put_block(row, to_registers(sums + c(waves)))

    return step


def find_product(instruction: Instruction, context: Context) -> MatrixProduct:
    """What the mnemonic multiplies on this processor.

    Raises:
        UndecodedError: the processor does not have it.
    """
    product = PRODUCTS.get(context.target.name, {}).get(instruction.mnemonic)
    if product is None:
        raise UndecodedError(f"{instruction.mnemonic} on {context.target.name}")
    if any(sum(read_list(instruction.modifiers.get(name, "[0,0,0]"))[:2]) for name in ("neg_lo", "neg_hi")) and (
        product.a not in ("i8", "i4") or "neg_hi" in instruction.modifiers
    ):
        raise UndecodedError(f"a sign modifier of A or B of {instruction.mnemonic}")
    return product


@register(
    [name for name in MNEMONICS if "scale" not in name],
    modifiers="cbsz abid blgp neg_lo neg_hi clamp matrix_a_fmt matrix_b_fmt matrix_a_reuse matrix_b_reuse",
)
def decode_product(instruction: Instruction, context: Context) -> Step:
    """D = A * B + C."""
    product = find_product(instruction, context)
    d, a, b, c = context.operands(instruction)
    formats = [number_format(side, "f8f6f4", instruction, context) for side in "ab"]
    if product.a == "f8f6f4" and context.target.lanes == 32 and len({form.bits for form in formats if form}) > 1:
        raise UndecodedError("A and B of different widths without scales: no document gives the order of K")
    matrices = [read_matrices(side, operand, product, instruction, context) for side, operand in (("a", a), ("b", b))]
    accumulator = read_accumulator(c, product.accumulator, product.layout.elements, instruction)
    return multiply(d, matrices[0], matrices[1], accumulator, product, "clamp" in instruction.modifiers)


def scaled(matrices: Matrices, scales: Callable[[Waves], Array], block: int) -> Matrices:
    """The matrices with every run of `block` elements of K multiplied by its scale (waves, rows, depth / block)."""

    def read(waves: Waves) -> Array:
        values = matrices(waves)
        runs = values.reshape(*values.shape[:3], -1, block)
        return (runs * scales(waves)[:, None, :, :, None]).reshape(values.shape)

    return read


@register(
    [name for name in MNEMONICS if "mfma_scale" in name],
    modifiers="cbsz blgp op_sel op_sel_hi",
)
def decode_scaled_mfma(instruction: Instruction, context: Context) -> Step:
    """D = (A * scales of A) * (B * scales of B) + C: a scale E8M0 for 32 elements of K.

    op_sel and op_sel_hi are the lower and the upper bit of the byte that holds the scale.
    """
    product = find_product(instruction, context)
    d, a, b, c, *scale_operands = context.operands(instruction)
    low, high = (read_list(instruction.modifiers.get(name, "[0,0,0]")) for name in ("op_sel", "op_sel_hi"))
    blocks = product.depth // product.scale_block

    def scale_reader(place: int) -> Callable[[Waves], Array]:
        read, byte = reader(scale_operands[place], "u32"), low[place] + 2 * high[place]
        rows = product.rows

        def scales(waves: Waves) -> Array:
            words = np.broadcast_to(read(waves), (waves.count, waves.lanes))
            return power_of_two(scale_rows(words, rows, blocks, byte))

        return scales

    matrices = [
        scaled(read_matrices(side, operand, product, instruction, context), scale_reader(place), product.scale_block)
        for place, (side, operand) in enumerate((("a", a), ("b", b)))
    ]
    accumulator = read_accumulator(c, "f32", product.layout.elements, instruction)
    return multiply(d, matrices[0], matrices[1], accumulator, product, clamp=False)


@register(
    [name for name in MNEMONICS if "wmma_scale" in name],
    modifiers="neg_lo neg_hi matrix_a_fmt matrix_b_fmt matrix_a_scale matrix_b_scale matrix_a_scale_fmt "
    "matrix_b_scale_fmt matrix_a_reuse matrix_b_reuse",
)
def decode_scaled_wmma(instruction: Instruction, context: Context) -> Step:
    """D = (A * scales of A) * (B * scales of B) + C: a scale for 32 (v_wmma_scale16: 16) elements of K.

    Byte i of lane l of the chosen half of the wave scales block i of K of row l.
    """
    product = find_product(instruction, context)
    d, a, b, c, *scale_operands = context.operands(instruction)

    def scale_reader(side: str, operand: Operand) -> Callable[[Waves], Array]:
        half = SCALE_HALVES[instruction.modifiers.get(f"matrix_{side}_scale", "MATRIX_SCALE_ROW0")]
        form = SCALE_FORMATS[instruction.modifiers.get(f"matrix_{side}_scale_fmt", "MATRIX_SCALE_FMT_E8")]
        row, count = operand.index, 128 // product.scale_block // 4
        if operand.kind != "vector" or operand.count != count:
            raise UndecodedError(f"scales in {operand.kind}, {operand.count} registers")

        def scales(waves: Waves) -> Array:
            codes = scale_bytes(waves.block(row, count), half)
            return power_of_two(codes) if form is None else decode(codes, form)

        return scales

    matrices = [
        scaled(
            read_matrices(side, operand, product, instruction, context),
            scale_reader(side, scale_operand),
            product.scale_block,
        )
        for side, operand, scale_operand in zip("ab", (a, b), scale_operands, strict=True)
    ]
    accumulator = read_accumulator(c, "f32", product.layout.elements, instruction)
    return multiply(d, matrices[0], matrices[1], accumulator, product, clamp=False)
