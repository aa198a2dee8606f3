"""Conversions from and to fp8, bf8 and fp4, scaled and not.

Sources: AMD CDNA3, CDNA4 and RDNA4 instruction set architectures; LLVM's AMDGPU dialect for gfx1250's
v_cvt_scale_pk8 (amdgpu.scaled_ext_packed_matrix). What is too large becomes NaN or infinity, as the format has it; the
mode bit FP16_OVFL makes it the largest finite number instead.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.operands import Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.values import put_half, read_list, reader
from porting.emulators.number_formats import (
    BF16,
    E2M1,
    E4M3,
    E4M3_FNUZ,
    E5M2,
    E5M2_FNUZ,
    F16,
    NumberFormat,
    decode,
    encode,
    pack,
    power_of_two,
    unpack,
)

Array = npt.NDArray[Any]
Codes = Callable[[Waves], Array]
"""Waves -> codes (waves, lanes, elements)."""
NARROW = ("fp8", "bf8", "fp4")
WIDE = ("f32", "f16", "bf16")
SELECTED = {"DWORD": 0, "WORD_0": 0, "WORD_1": 2, **{f"BYTE_{place}": place for place in range(4)}}
"""Of an SDWA selector: the first byte."""


def narrow_format(kind: str, context: Context) -> NumberFormat:
    """fp8, bf8 or fp4 as this processor has it."""
    if context.target.fp8 == E4M3_FNUZ.dtype:
        return {"fp8": E4M3_FNUZ, "bf8": E5M2_FNUZ}[kind]
    return {"fp8": E4M3, "bf8": E5M2, "fp4": E2M1}[kind]


def kinds_of(instruction: Instruction) -> tuple[str, str]:
    """The last two words of a mnemonic without its encoding: the result's type and the source's."""
    words = instruction.mnemonic.split("_")
    if words[-1] in ("e32", "e64", "sdwa"):
        words.pop()
    return words[-2], words[-1]


def round_to(waves: Waves, numbers: Array, form: NumberFormat) -> Array:
    """Numbers -> codes; FP16_OVFL makes what is too large the largest finite number."""
    return encode(numbers, form, saturate=waves.saturates)


def read_words(operand: Operand, count: int) -> Callable[[Waves], Array]:
    """Reader of `count` registers as (waves, lanes, count), contiguous."""
    if operand.kind != "vector" or operand.count != count:
        raise UndecodedError(f"a source of {operand.count} registers, not {count}")
    row = operand.index
    return lambda waves: np.ascontiguousarray(waves.block(row, count).transpose(1, 2, 0))


def put_numbers(row: int, kind: str, waves: Waves, numbers: Array) -> None:
    """Write numbers (waves, lanes, elements) as f32, f16 or bf16 into as many registers as they take."""
    if kind == "f32":
        for place in range(numbers.shape[-1]):
            waves.put(row + place, numbers[..., place].astype(np.float32))
        return
    codes = encode(numbers, BF16) if kind == "bf16" else numbers.astype(np.float16).view(np.uint16)
    words = pack(codes, 16)
    for place in range(words.shape[-1]):
        waves.put(row + place, words[..., place])


def first_byte(instruction: Instruction, operand: Operand) -> int:
    """Of the source register, where an unscaled conversion begins to read."""
    modifiers = instruction.modifiers
    if "byte_sel" in modifiers:
        return int(modifiers["byte_sel"], 0)
    if "src0_sel" in modifiers:
        return SELECTED[modifiers["src0_sel"]]
    selected = read_list(modifiers.get("op_sel", "[0]"))[0]
    return 2 if operand.half == "h" or selected else 0


def read_bytes(operand: Operand, first: int, count: int) -> Codes:
    """Reader of some bytes of one register as codes."""
    read = reader(Operand(operand.kind, operand.index, 1, operand.value), "u32")

    def codes(waves: Waves) -> Array:
        words = np.broadcast_to(read(waves), (waves.count, waves.lanes))
        shifts = np.arange(8 * first, 8 * (first + count), 8, dtype=np.uint32)
        return (words[..., None] >> shifts).astype(np.uint8)

    return codes


@register(
    [f"v_cvt_pk_{wide}_{narrow}{form}" for wide in ("f32", "f16") for narrow in ("fp8", "bf8") for form in ("", "_e32")]
    + [f"v_cvt_pk_f32_{narrow}{form}" for narrow in ("fp8", "bf8") for form in ("_e64", "_sdwa")],
    modifiers="src0_sel op_sel",
)
def decode_widen_pair(instruction: Instruction, context: Context) -> Step:
    """Two codes of a half of a register -> two numbers."""
    wide, narrow = kinds_of(instruction)
    d, source = context.operands(instruction)
    form = narrow_format(narrow, context)
    codes, row = read_bytes(source, first_byte(instruction, source), 2), d.index
    return lambda waves: put_numbers(row, wide, waves, decode(codes(waves), form))


@register(
    [f"v_cvt_f32_{narrow}{form}" for narrow in ("fp8", "bf8") for form in ("", "_e32", "_e64", "_sdwa")],
    modifiers="src0_sel byte_sel",
)
def decode_widen_one(instruction: Instruction, context: Context) -> Step:
    """One code -> float32."""
    _, narrow = kinds_of(instruction)
    d, source = context.operands(instruction)
    form = narrow_format(narrow, context)
    codes, row = read_bytes(source, first_byte(instruction, source), 1), d.index
    return lambda waves: put_numbers(row, "f32", waves, decode(codes(waves), form))


def pair_of_floats(operands: list[Operand]) -> Callable[[Waves], Array]:
    """Two float32 operands as (waves, lanes, 2)."""
    reads = [reader(operand, "f32") for operand in operands]

    def numbers(waves: Waves) -> Array:
        shape = (waves.count, waves.lanes)
        return np.stack([np.broadcast_to(read(waves), shape) for read in reads], axis=-1)

    return numbers


def put_pair(waves: Waves, row: int, codes: Array, high: bool) -> None:
    """Write two codes of 8 bits into one half of a register; its other half stays."""
    put_half(waves, row, pack(np.pad(codes, ((0, 0), (0, 0), (0, 2))), 8)[..., 0].astype(np.uint16), high, keep=True)


@register([f"v_cvt_pk_{narrow}_f32{form}" for narrow in ("fp8", "bf8") for form in ("", "_e64")], modifiers="op_sel")
def decode_narrow_pair(instruction: Instruction, context: Context) -> Step:
    """Two float32 -> two codes in the lower half of the register, or in the upper one."""
    narrow, _ = kinds_of(instruction)
    d, *sources = context.operands(instruction)
    form, numbers, row = narrow_format(narrow, context), pair_of_floats(sources), d.index
    high = d.half == "h" or read_list(instruction.modifiers.get("op_sel", "[0,0,0]"))[2] == 1
    return lambda waves: put_pair(waves, row, round_to(waves, numbers(waves), form), high)


def read_scale(operand: Operand) -> Callable[[Waves], Array]:
    """The power of two of a float32 scale, its sign and fraction left out, as (waves, lanes or 1, 1)."""
    read = reader(operand, "u32") if operand.kind != "literal" else reader(operand, "f32")

    def scale(waves: Waves) -> Array:
        bits = np.atleast_2d(np.asarray(read(waves))).view(np.uint32)
        return power_of_two((bits >> np.uint32(23)) & np.uint32(255))[..., None]

    return scale


def selectors(instruction: Instruction) -> list[int]:
    """op_sel, four of them."""
    return (read_list(instruction.modifiers.get("op_sel", "[0]")) + [0] * 4)[:4]


@register(
    [f"v_cvt_scalef32_pk_{wide}_{narrow}" for wide in WIDE for narrow in NARROW],
    modifiers="op_sel",
)
def decode_scaled_widen(instruction: Instruction, context: Context) -> Step:
    """Two codes times the scale's power of two; op_sel names the half (fp8, bf8) or the byte (fp4) that holds them."""
    wide, narrow = kinds_of(instruction)
    d, source, scale_operand = context.operands(instruction)
    low, high, *_ = selectors(instruction)
    form, scale, row = narrow_format(narrow, context), read_scale(scale_operand), d.index
    codes = read_bytes(source, low + 2 * high, 1) if narrow == "fp4" else read_bytes(source, 2 * low, 2)

    def step(waves: Waves) -> None:
        fields = codes(waves)
        if narrow == "fp4":
            fields = np.concatenate((fields & np.uint8(15), fields >> np.uint8(4)), axis=-1)
        put_numbers(row, wide, waves, decode(fields, form) * scale(waves))

    return step


@register(
    [f"v_cvt_scalef32_pk_{narrow}_{wide}" for wide in WIDE for narrow in NARROW],
    modifiers="op_sel",
)
def decode_scaled_narrow(instruction: Instruction, context: Context) -> Step:
    """Two numbers divided by the scale's power of two -> two codes.

    op_sel[3] names the half of the register that they go to; for fp4 op_sel[2] and op_sel[3] name the byte. The rest of
    the register stays.
    """
    narrow, wide = kinds_of(instruction)
    d, *sources, scale_operand = context.operands(instruction)
    *_, low, high = selectors(instruction)
    form, scale, row = narrow_format(narrow, context), read_scale(scale_operand), d.index
    numbers = pair_of_floats(sources) if wide == "f32" else read_halves(sources[0], wide)

    def step(waves: Waves) -> None:
        codes = round_to(waves, numbers(waves) / scale(waves), form)
        if narrow != "fp4":
            put_pair(waves, row, codes, bool(high))
            return
        shift = np.uint32(8 * (low + 2 * high))
        byte = (codes[..., 0] | codes[..., 1] << np.uint8(4)).astype(np.uint32) << shift
        waves.put(row, (waves.u32[row] & ~(np.uint32(255) << shift)) | byte)

    return step


def read_halves(operand: Operand, kind: str, count: int = 1) -> Callable[[Waves], Array]:
    """Registers of two f16 or bf16 each as numbers (waves, lanes, 2 * count)."""
    words, form = read_words(operand, count), BF16 if kind == "bf16" else F16
    return lambda waves: decode(unpack(words(waves), 16), form)


@register([f"v_cvt_scalef32_pk8_{narrow}_{wide}" for narrow in NARROW for wide in WIDE])
def decode_scaled_narrow_eight(instruction: Instruction, context: Context) -> Step:
    """gfx1250: eight numbers divided by the scale's power of two -> eight codes."""
    narrow, wide = kinds_of(instruction)
    d, source, scale_operand = context.operands(instruction)
    form, scale, row = narrow_format(narrow, context), read_scale(scale_operand), d.index
    if wide == "f32":
        words = read_words(source, 8)
        numbers: Callable[[Waves], Array] = lambda waves: words(waves).view(np.float32).astype(np.float64)  # noqa: E731
    else:
        numbers = read_halves(source, wide, 4)

    def step(waves: Waves) -> None:
        packed = pack(round_to(waves, numbers(waves) / scale(waves), form), form.bits)
        for place in range(packed.shape[-1]):
            waves.put(row + place, packed[..., place])

    return step


def scale_places(narrow: str, selector: int) -> tuple[Array, int | Array]:
    """gfx1250: which lane's scale register each lane uses, and which byte of it.

    Both halves of the wave use the 16 lanes of one half. Of fp8 both read the same byte; of fp4 the upper half reads
    the next one.

    Raises:
        UndecodedError: the selector asks for blocks of 16, whose bytes no document gives.
    """
    if selector & 1:
        raise UndecodedError(f"scale_sel:{selector}, for blocks of 16")
    lanes = np.arange(32)
    if narrow == "fp4":
        return lanes % 16 + 16 * (selector >> 2 & 1), selector & 2 | lanes // 16
    return lanes % 16 + 16 * (selector >> 3 & 1), selector >> 1 & 3


@register([f"v_cvt_scale_pk8_{wide}_{narrow}" for narrow in NARROW for wide in WIDE], modifiers="scale_sel")
def decode_scaled_widen_eight(instruction: Instruction, context: Context) -> Step:
    """gfx1250: eight codes times a scale E8M0 of a lane that scale_sel names -> eight numbers."""
    wide, narrow = kinds_of(instruction)
    d, source, scale_operand = context.operands(instruction)
    form, row = narrow_format(narrow, context), d.index
    words, read = read_words(source, form.bits // 4), reader(scale_operand, "u32")
    lane, byte = scale_places(narrow, int(instruction.modifiers.get("scale_sel", "0"), 0))
    shift = np.asarray(byte, np.uint32) * np.uint32(8)

    def step(waves: Waves) -> None:
        scales = np.broadcast_to(read(waves), (waves.count, waves.lanes))[:, lane] >> shift
        factors = power_of_two(scales & np.uint32(255))
        put_numbers(row, wide, waves, decode(unpack(words(waves), form.bits), form) * factors[..., None])

    return step
