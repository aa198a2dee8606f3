"""Decodes packed arithmetic, two values a register or register pair, and mixed fma."""

from collections.abc import Callable
from typing import Any

import numpy as np

from porting.emulators.amdgcn import arithmetic
from porting.emulators.amdgcn.arithmetic import F64, U16
from porting.emulators.amdgcn.operands import Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.values import Read, put_half, read_32, read_list, reader, with_sign, writer

SELECTION = "op_sel op_sel_hi neg_lo neg_hi"


def _fma_narrow(a: Any, b: Any, c: Any) -> Any:
    """a * b + c of 16-bit floats in double: rounding it to 16 bits rounds once, save beyond 53 bits."""
    return np.multiply(a, b, dtype=F64) + c


def _narrow(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *sources: function(*(np.asarray(source, np.float32) for source in sources))


FLOATS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "mul": np.multiply,
    "fma": arithmetic.fma,
    "max": arithmetic.maximum,
    "min": arithmetic.minimum,
    "max_num": arithmetic.maximum,
    "min_num": arithmetic.minimum,
    "max3_num": lambda a, b, c: arithmetic.maximum(arithmetic.maximum(a, b), c),
    "min3_num": lambda a, b, c: arithmetic.minimum(arithmetic.minimum(a, b), c),
}
WHOLE: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul_lo": np.multiply,
    "mad": lambda a, b, c: a * b + c,
    "max": np.maximum,
    "min": np.minimum,
    "lshlrev": lambda a, b: b << (a & a.dtype.type(15)),
    "lshrrev": lambda a, b: b >> (a & a.dtype.type(15)),
    "ashrrev": lambda a, b: b >> (a & a.dtype.type(15)),
}


def selections(instruction: Instruction, count: int) -> list[tuple[int, int, int, int]]:
    """(half for the low result, half for the high one, negate for the low, for the high) of each source."""
    defaults = {"op_sel": 0, "op_sel_hi": 1, "neg_lo": 0, "neg_hi": 0}
    columns = []
    for name, default in defaults.items():
        given = instruction.modifiers.get(name)
        values = read_list(given) if given else [default] * count
        # A fourth op_sel bit belongs to the result.
        columns.append(values[:count])
    return [(row[0], row[1], row[2], row[3]) for row in zip(*columns, strict=True)]


def read_single(operand: Operand, half: int, negate: int) -> Read:
    """One float32 of a pair; a constant is both of them."""
    if operand.kind == "literal":
        plain = read_32(operand, "f32")
    elif operand.count < 2:
        raise UndecodedError("one register where a pair is meant")
    else:
        plain = read_32(Operand(operand.kind, operand.index + half), "f32")
    return with_sign(plain, bool(negate), operand.absolute, "f32")


def read_packed_half(operand: Operand, half: int, negate: int, kind: str) -> Read:
    """One 16-bit half; an inline constant of a float type is in the low half only, of which the high one is 0."""
    if operand.kind == "literal" and half and isinstance(operand.value, float):
        operand = Operand("literal", value=0)
    elif operand.kind == "literal" and half and isinstance(operand.value, int):
        operand = Operand("literal", value=(operand.value >> 16) & 0xFFFF)
    return with_sign(reader(operand, kind, bool(half)), bool(negate), False, kind)


def split(instruction: Instruction) -> tuple[str, str]:
    """v_pk_max_num_f16 -> (max_num, f16)."""
    name, _, kind = instruction.mnemonic.removeprefix("v_pk_").rpartition("_")
    return name, kind


PAIRS = ("add", "mul", "fma", "max", "min", "max_num", "min_num")


@register([f"v_pk_{name}_f32" for name in ("add", "mul", "fma")], f"{SELECTION} clamp")
def decode_pair(instruction: Instruction, context: Context) -> Step:
    """Two float32 results in a pair of registers."""
    if "clamp" in instruction.modifiers:
        raise UndecodedError("clamp of packed results")
    destination, *sources = context.operands(instruction)
    function, row = FLOATS[split(instruction)[0]], destination.index
    chosen = selections(instruction, len(sources))
    low = [read_single(each, pick[0], pick[2]) for each, pick in zip(sources, chosen, strict=True)]
    high = [read_single(each, pick[1], pick[3]) for each, pick in zip(sources, chosen, strict=True)]

    def step(waves: Waves) -> None:
        first = function(*(read(waves) for read in low))
        second = function(*(read(waves) for read in high))
        waves.put(row, first)
        waves.put(row + 1, second)

    return step


@register("v_pk_mov_b32", "op_sel op_sel_hi")
def decode_pair_move(instruction: Instruction, context: Context) -> Step:
    """The low result is a register of the first pair, the high one a register of the second: op_sel says which."""
    destination, first, second = context.operands(instruction)
    halves = read_list(instruction.modifiers.get("op_sel", "[0,0]"))
    if instruction.modifiers.get("op_sel_hi", "[1,1]") not in ("[1,1]", "[0,1]"):
        raise UndecodedError(f"op_sel_hi {instruction.modifiers['op_sel_hi']} of v_pk_mov_b32")
    a, b = read_single(first, halves[0], 0), read_single(second, halves[1], 0)
    row = destination.index

    def step(waves: Waves) -> None:
        low, high = np.array(a(waves)), np.array(b(waves))
        waves.put(row, low)
        waves.put(row + 1, high)

    return step


HALVES = [f"v_pk_{name}_{kind}" for name in FLOATS for kind in ("f16", "bf16") if name[-1] != "3"]
NUMBERS = [f"v_pk_{name}_{kind}" for name in WHOLE for kind in ("u16", "i16", "b16")]
CLAMPS_NOTHING = "op_sel op_sel_hi neg_lo neg_hi"


@register([*HALVES, *NUMBERS], CLAMPS_NOTHING)
def decode_halves(instruction: Instruction, context: Context) -> Step:
    """Two 16-bit results in one register."""
    name, kind = split(instruction)
    destination, *sources = context.operands(instruction)
    floating = kind in ("f16", "bf16")
    kind = {"b16": "u16"}.get(kind, kind)
    function = WHOLE[name] if not floating else _fma_narrow if name == "fma" else _narrow(FLOATS[name])
    chosen = selections(instruction, len(sources))
    low = [read_packed_half(each, pick[0], pick[2], kind) for each, pick in zip(sources, chosen, strict=True)]
    high = [read_packed_half(each, pick[1], pick[3], kind) for each, pick in zip(sources, chosen, strict=True)]
    row = destination.index

    def step(waves: Waves) -> None:
        first = to_bits(function(*(read(waves) for read in low)), kind)
        second = to_bits(function(*(read(waves) for read in high)), kind)
        waves.put(row, first.astype(np.uint32) | (second.astype(np.uint32) << np.uint32(16)))

    return step


def to_bits(value: Any, kind: str) -> Any:
    """A result as its 16 bits."""
    if kind == "f16":
        return np.asarray(value).astype(np.float16).view(U16)
    if kind == "bf16":
        return arithmetic.float_to_bfloat(value)
    return np.asarray(value).view(U16)


MIXES = ("v_fma_mix_f32", "v_fma_mixlo_f16", "v_fma_mixhi_f16")
BFLOAT_MIXES = ("v_fma_mix_f32_bf16", "v_fma_mixlo_bf16", "v_fma_mixhi_bf16")


@register([*MIXES, *BFLOAT_MIXES], f"{SELECTION} clamp")
def decode_mixed(instruction: Instruction, context: Context) -> Step:
    """fma in float32, of sources that are float32, or a half of 16 bits where op_sel_hi says so; op_sel names which."""
    destination, *sources = context.operands(instruction)
    count, modifiers, name = len(sources), instruction.modifiers, instruction.mnemonic
    halves = read_list(modifiers.get("op_sel", "[0,0,0]"))
    narrow = read_list(modifiers.get("op_sel_hi", "[0,0,0]"))
    if "neg_lo" in modifiers or "neg_hi" in modifiers or "clamp" in modifiers or count != 3:
        raise UndecodedError("a sign in neg_lo, or clamp, of a mixed fma")
    kind = "bf16" if "bf16" in name else "f16"
    readers = [
        reader(operand, kind, bool(halves[place])) if narrow[place] else reader(operand, "f32")
        for place, operand in enumerate(sources)
    ]
    first, second, third = readers
    if "mix_f32" in name:
        write = writer(destination, "f32", context.target)
        return lambda waves: write(waves, arithmetic.fma(*(_single(read, waves) for read in readers)))
    row, high = destination.index, "mixhi" in name

    def step(waves: Waves) -> None:
        value = arithmetic.fma(_single(first, waves), _single(second, waves), _single(third, waves))
        put_half(waves, row, to_bits(value, kind), high, keep=True)

    return step


def _single(read: Read, waves: Waves) -> Any:
    return np.asarray(read(waves), np.float32)


@register("v_pack_b32_f16 v_pack_b32_f16_e64", "op_sel")
def decode_pack(instruction: Instruction, context: Context) -> Step:
    """Two halves into one register."""
    destination, first, second = context.operands(instruction)
    halves = read_list(instruction.modifiers.get("op_sel", "[0,0,0]"))
    a, b = reader(first, "f16", bool(halves[0])), reader(second, "f16", bool(halves[1]))
    row = destination.index

    def step(waves: Waves) -> None:
        low = np.asarray(a(waves)).view(U16).astype(np.uint32)
        waves.put(row, low | (np.asarray(b(waves)).view(U16).astype(np.uint32) << np.uint32(16)))

    return step


NARROWED = {"v_cvt_pk_f16_f32": "f16", "v_cvt_pk_bf16_f32": "bf16"}


@register([name + form for name in NARROWED for form in ("", "_e64")])
def decode_narrow(instruction: Instruction, context: Context) -> Step:
    """Two float32 rounded to nearest into the halves of a register."""
    destination, first, second = context.operands(instruction)
    kind, row = NARROWED[instruction.mnemonic.removesuffix("_e64")], destination.index
    a, b = reader(first, "f32"), reader(second, "f32")

    def step(waves: Waves) -> None:
        low = to_bits(a(waves), kind).astype(np.uint32)
        waves.put(row, low | (to_bits(b(waves), kind).astype(np.uint32) << np.uint32(16)))

    return step


def toward_zero(value: Any) -> Any:
    """float32 -> the bits of the float16 next to it toward zero; what is too large becomes the largest."""
    half = np.asarray(value).astype(np.float16)
    bits = half.view(U16)
    grown = np.abs(half.astype(np.float32)) > np.abs(value)
    return np.where(grown & ~np.isinf(value), bits - U16(1), bits)


@register("v_cvt_pkrtz_f16_f32_e32 v_cvt_pkrtz_f16_f32_e64 v_cvt_pk_rtz_f16_f32_e32 v_cvt_pk_rtz_f16_f32_e64")
def decode_truncate(instruction: Instruction, context: Context) -> Step:
    """Two float32 rounded toward zero into the halves of a register."""
    destination, first, second = context.operands(instruction)
    a, b, row = reader(first, "f32"), reader(second, "f32"), destination.index

    def step(waves: Waves) -> None:
        low = toward_zero(a(waves)).astype(np.uint32)
        waves.put(row, low | (toward_zero(b(waves)).astype(np.uint32) << np.uint32(16)))

    return step
