"""Decodes the scalar instructions: one value a wave, on arrays of all waves of the batch.

Source of the semantics: AMD's instruction set documents (CDNA3, CDNA4, RDNA4), chapter "Scalar ALU Instructions".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from porting.emulators.amdgcn import arithmetic
from porting.emulators.amdgcn.arithmetic import F32, I32, I64, U32, U64
from porting.emulators.amdgcn.operands import EXEC, Operand, UndecodedError, constant_bits
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction

TYPES: dict[str, Any] = {"u32": U32, "i32": I32, "f32": F32, "u64": U64, "i64": I64}
Read = Callable[[Waves], Any]
Flag = Callable[..., Any]
"""(result, *sources) -> SCC."""


@dataclass(frozen=True)
class Operation:
    """One scalar instruction with a result."""

    result: str
    sources: tuple[str, ...]
    function: Callable[..., Any]
    flag: Flag | None
    """None: SCC stays."""


TABLE: dict[str, Operation] = {}


def add(names: str, result: str, sources: str, function: Callable[..., Any], flag: Flag | None = None) -> None:
    """Put one function under some names; a source "old" is the destination before, "scc" is SCC as 0 or 1."""
    for name in names.split():
        TABLE[f"s_{name}"] = Operation(result, tuple(sources.split()), function, flag)


def read_scalar(operand: Operand, kind: str) -> Read:
    """Reader of a scalar operand (waves,), or of a constant."""
    dtype, index = TYPES[kind], operand.index
    wide = kind in ("u64", "i64")
    if operand.negated or operand.absolute:
        raise UndecodedError("a sign modifier on a scalar operand")
    if operand.kind == "scalar":
        if wide:
            if index % 2:
                raise UndecodedError(f"a pair of scalar registers that begins at {index}")
            return lambda waves: waves.s64[index].view(dtype)
        return lambda waves: waves.s32[index].view(dtype)
    if operand.kind == "scc":
        return lambda waves: waves.scc.astype(dtype)
    if operand.kind != "literal":
        raise UndecodedError(f"a scalar operand in {operand.kind}")
    bits = constant_bits(operand.value, 64 if wide else 32)
    constant = (U64(bits) if wide else U32(bits)).view(dtype)
    return lambda waves: constant


def put_scalar(operand: Operand, kind: str) -> Callable[[Waves, Any], None]:
    """Writer of a scalar register or pair."""
    if operand.kind != "scalar":
        raise UndecodedError(f"a scalar result in {operand.kind}")
    index = operand.index
    if kind in ("u64", "i64"):
        if index % 2:
            raise UndecodedError(f"a pair of scalar registers that begins at {index}")
        return lambda waves, value: waves.put64(index, np.asarray(value).view(U64))
    return lambda waves, value: waves.put32(index, np.asarray(value).view(U32))


def put_flag(waves: Waves, value: Any) -> None:
    """Set SCC of the active waves to a value that may be one for all."""
    waves.put_scc(np.broadcast_to(np.asarray(value, np.bool_), (waves.count,)))


def nonzero(result: Any, *_: Any) -> Any:
    """SCC of the bitwise instructions."""
    return result != 0


def _carry(result: Any, a: Any, b: Any) -> Any:
    return result < a


def _borrow(result: Any, a: Any, b: Any) -> Any:
    return b > a


def _carry_in(result: Any, a: Any, b: Any, c: Any) -> Any:
    return (np.add(a, b, dtype=U64) + c) >> U64(32) != 0


def _borrow_in(result: Any, a: Any, b: Any, c: Any) -> Any:
    return np.add(b, c, dtype=U64) > a


def _added_past(result: Any, a: Any, b: Any) -> Any:
    return ((a ^ result) & (b ^ result)) < 0


def _subtracted_past(result: Any, a: Any, b: Any) -> Any:
    return ((a ^ b) & (a ^ result)) < 0


def _extract(kind: Any, bits: int) -> Callable[[Any, Any], Any]:
    """A bit field: the offset in the low bits of the second source, the width from bit 16 on."""
    signed = kind in (I32, I64)

    def extract(value: Any, where: Any) -> Any:
        offset, width = where & U32(bits - 1), np.minimum((where >> U32(16)) & U32(127), U32(bits))
        wide = np.asarray(value).astype(I64 if signed else U64)
        shift = (64 - width.astype(I64)) & 63
        field = (wide >> offset.astype(wide.dtype)).astype(U64) << shift.astype(U64)
        kept = field.view(I64) >> shift if signed else field >> shift.astype(U64)
        return np.where(width == 0, kept.dtype.type(0), kept).astype(kind)

    return extract


def _reverse(value: Any, bits: int) -> Any:
    words = np.atleast_1d(np.ascontiguousarray(value))
    swapped = np.unpackbits(words.view(np.uint8).reshape(len(words), -1), axis=1, bitorder="little")[:, ::-1]
    return np.packbits(swapped, axis=1, bitorder="little").reshape(-1).view(words.dtype)


def _fill_bits() -> None:
    """Bitwise, shifts, fields: of 32 and 64 bits."""
    pairs: dict[str, Any] = {
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "andn2 and_not1": lambda a, b: a & ~b,
        "orn2 or_not1": lambda a, b: a | ~b,
        "nand": lambda a, b: ~(a & b),
        "nor": lambda a, b: ~(a | b),
        "xnor": lambda a, b: ~(a ^ b),
    }
    for bits, kind, signed in ((32, "u32", "i32"), (64, "u64", "i64")):
        last, dtype = U32(bits - 1), TYPES[kind]
        for names, function in pairs.items():
            for name in names.split():
                add(f"{name}_b{bits}", kind, f"{kind} {kind}", function, nonzero)
        left = lambda a, b, last=last, dtype=dtype: a << (b & last).astype(dtype)  # noqa: E731
        right = lambda a, b, last=last, dtype=dtype: a >> (b & last).astype(dtype)  # noqa: E731
        down = lambda a, b, last=last, d=TYPES[signed]: a >> (b & last).astype(d)  # noqa: E731
        add(f"lshl_b{bits}", kind, f"{kind} u32", left, nonzero)
        add(f"lshr_b{bits}", kind, f"{kind} u32", right, nonzero)
        add(f"ashr_i{bits}", signed, f"{signed} u32", down, nonzero)
        add(f"not_b{bits}", kind, kind, np.invert, nonzero)
        add(f"mov_b{bits}", kind, kind, lambda a: a)
        add(f"cmov_b{bits}", kind, f"{kind} old scc", lambda a, old, scc: np.where(scc != 0, a, old))
        add(f"cselect_b{bits}", kind, f"{kind} {kind} scc", lambda a, b, scc: np.where(scc != 0, a, b))
        add(f"brev_b{bits}", kind, kind, lambda a, bits=bits: _reverse(a, bits))
        add(f"bfe_u{bits}", kind, f"{kind} u32", _extract(dtype, bits), nonzero)
        add(f"bfe_i{bits}", signed, f"{signed} u32", _extract(TYPES[signed], bits), nonzero)
        one = dtype(1)
        mask = lambda a, b, last=last, one=one, d=dtype: ((one << (a & last).astype(d)) - one) << (b & last).astype(d)  # noqa: E731
        add(f"bfm_b{bits}", kind, "u32 u32", mask)
        on = lambda a, old, last=last, one=one, d=dtype: old | (one << (a & last).astype(d))  # noqa: E731
        off = lambda a, old, last=last, one=one, d=dtype: old & ~(one << (a & last).astype(d))  # noqa: E731
        add(f"bitset1_b{bits}", kind, "u32 old", on)
        add(f"bitset0_b{bits}", kind, "u32 old", off)
        count = lambda a: np.bitwise_count(a).astype(U32)  # noqa: E731
        add(f"bcnt1_i32_b{bits}", "u32", kind, count, nonzero)


def _fill_narrow() -> None:
    """Of 32 bits only."""
    add("flbit_i32_b32 clz_i32_u32", "u32", "u32", arithmetic.leading_zeros)
    add("ff1_i32_b32 ctz_i32_b32", "u32", "u32", arithmetic.trailing_zeros)
    add("sext_i32_i8", "i32", "u32", lambda a: np.asarray(a).astype(np.uint8).view(np.int8).astype(I32))
    add("sext_i32_i16", "i32", "u32", lambda a: np.asarray(a).astype(np.uint16).view(np.int16).astype(I32))
    add("pack_ll_b32_b16", "u32", "u32 u32", lambda a, b: (a & U32(0xFFFF)) | (b << U32(16)))
    add("pack_lh_b32_b16", "u32", "u32 u32", lambda a, b: (a & U32(0xFFFF)) | (b & U32(0xFFFF0000)))
    add("pack_hh_b32_b16", "u32", "u32 u32", lambda a, b: (a >> U32(16)) | (b & U32(0xFFFF0000)))


def _fill_whole() -> None:
    """Whole numbers."""
    add("add_u32 add_co_u32", "u32", "u32 u32", np.add, _carry)
    add("sub_u32 sub_co_u32", "u32", "u32 u32", np.subtract, _borrow)
    add("addc_u32 add_co_ci_u32", "u32", "u32 u32 scc", lambda a, b, c: a + b + c, _carry_in)
    add("subb_u32 sub_co_ci_u32", "u32", "u32 u32 scc", lambda a, b, c: a - b - c, _borrow_in)
    add("add_i32 add_co_i32", "i32", "i32 i32", np.add, _added_past)
    add("sub_i32 sub_co_i32", "i32", "i32 i32", np.subtract, _subtracted_past)
    add("add_nc_u64 add_u64", "u64", "u64 u64", np.add)
    add("sub_nc_u64 sub_u64", "u64", "u64 u64", np.subtract)
    add("mul_u64", "u64", "u64 u64", np.multiply)
    add("mul_i32", "i32", "i32 i32", np.multiply)
    add("mul_hi_u32", "u32", "u32 u32", lambda a, b: (np.multiply(a, b, dtype=U64) >> U64(32)).astype(U32))
    add("mul_hi_i32", "i32", "i32 i32", lambda a, b: (np.multiply(a, b, dtype=I64) >> 32).astype(I32))
    add("abs_i32", "i32", "i32", np.abs, nonzero)
    add("absdiff_i32", "i32", "i32 i32", lambda a, b: np.abs(a - b), nonzero)
    for kind in ("u32", "i32"):
        add(f"max_{kind}", kind, f"{kind} {kind}", np.maximum, lambda r, a, b: a >= b)
        add(f"min_{kind}", kind, f"{kind} {kind}", np.minimum, lambda r, a, b: a <= b)
    for shift in range(1, 5):
        shifted = lambda a, b, shift=shift: (a << U32(shift)) + b  # noqa: E731
        past = lambda r, a, b, shift=shift: ((np.asarray(a, U64) << U64(shift)) + b) >> U64(32) != 0  # noqa: E731
        add(f"lshl{shift}_add_u32", "u32", "u32 u32", shifted, past)


def _fill_floats() -> None:
    """float32 (gfx12)."""
    add("add_f32", "f32", "f32 f32", np.add)
    add("sub_f32", "f32", "f32 f32", np.subtract)
    add("mul_f32", "f32", "f32 f32", np.multiply)
    add("max_num_f32 max_f32", "f32", "f32 f32", arithmetic.maximum)
    add("min_num_f32 min_f32", "f32", "f32 f32", arithmetic.minimum)
    add("fmac_f32", "f32", "f32 f32 old", arithmetic.fma)
    add("fmaak_f32 fmamk_f32", "f32", "f32 f32 f32", arithmetic.fma)
    add("cvt_f32_u32", "f32", "u32", lambda a: np.asarray(a).astype(F32))
    add("cvt_f32_i32", "f32", "i32", lambda a: np.asarray(a).astype(F32))
    add("cvt_u32_f32", "u32", "f32", lambda a: arithmetic.to_whole(a, 0, 2**32 - 1, U32))
    add("cvt_i32_f32", "i32", "f32", lambda a: arithmetic.to_whole(a, -(2**31), 2**31 - 1, I32))
    for name, function in (("rndne", np.rint), ("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc)):
        add(f"{name}_f32", "f32", "f32", function)
    halves = lambda a: np.asarray(a).astype(np.uint16).view(np.float16).astype(F32)  # noqa: E731
    add("cvt_f32_f16", "f32", "u32", halves)
    narrowed = lambda a: np.asarray(a).astype(np.float16).view(np.uint16).astype(U32)  # noqa: E731
    add("cvt_f16_f32", "u32", "f32", narrowed)


_fill_bits()
_fill_narrow()
_fill_whole()
_fill_floats()


@register(TABLE)
def decode_scalar(instruction: Instruction, context: Context) -> Step:
    """Decode one instruction of the table."""
    operation = TABLE[instruction.mnemonic]
    operands = context.operands(instruction)
    sources = iter(operands[1:])
    readers: list[Read] = []
    for kind in operation.sources:
        if kind == "old":
            readers.append(read_scalar(operands[0], operation.result))
        elif kind == "scc":
            readers.append(read_scalar(Operand("scc"), "u32"))
        else:
            readers.append(read_scalar(next(sources), kind))
    if next(sources, None) is not None:
        raise UndecodedError("more sources than the instruction has")
    put, function, flag = put_scalar(operands[0], operation.result), operation.function, operation.flag

    def step(waves: Waves) -> None:
        values = [read(waves) for read in readers]
        result = function(*values)
        if flag is not None:
            put_flag(waves, flag(result, *values))
        put(waves, result)

    return step


COMPARES: dict[str, Any] = {
    "eq": np.equal,
    "lg": np.not_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
}
FLOAT_COMPARES: dict[str, Any] = {
    **COMPARES,
    "lg": lambda a, b: (a < b) | (a > b),
    "neq": np.not_equal,
    "nlt": lambda a, b: ~(a < b),
    "nle": lambda a, b: ~(a <= b),
    "ngt": lambda a, b: ~(a > b),
    "nge": lambda a, b: ~(a >= b),
    "nlg": lambda a, b: ~((a < b) | (a > b)),
    "o": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "u": lambda a, b: np.isnan(a) | np.isnan(b),
}
WHOLE = [(name, kind) for name in COMPARES for kind in ("u32", "i32", "u64")]


@register(
    [f"s_cmp_{name}_{kind}" for name, kind in WHOLE if kind != "u64" or name in ("eq", "lg")]
    + [f"s_cmpk_{name}_{kind}" for name, kind in WHOLE if kind != "u64"]
    + [f"s_cmp_{name}_f32" for name in FLOAT_COMPARES]
)
def decode_compare(instruction: Instruction, context: Context) -> Step:
    """Compare two scalars into SCC."""
    _, form, name, kind = instruction.mnemonic.split("_")
    first, second = context.operands(instruction)
    if form == "cmpk" and kind == "i32":
        second = sign_extended(second)
    compare = (FLOAT_COMPARES if kind == "f32" else COMPARES)[name]
    a, b = read_scalar(first, kind), read_scalar(second, kind)
    return lambda waves: put_flag(waves, compare(a(waves), b(waves)))


def sign_extended(operand: Operand) -> Operand:
    """A 16-bit immediate as a signed number."""
    value = int(operand.value)
    if operand.kind != "literal" or not -0x8000 <= value <= 0xFFFF:
        raise UndecodedError("an immediate of more than 16 bits")
    return Operand("literal", value=value - 0x10000 if value >= 0x8000 else value)


@register("s_bitcmp0_b32 s_bitcmp1_b32 s_bitcmp0_b64 s_bitcmp1_b64")
def decode_bit_compare(instruction: Instruction, context: Context) -> Step:
    """Whether one bit is 0, or 1, into SCC."""
    wanted, bits = int(instruction.mnemonic[8]), int(instruction.mnemonic[-2:])
    first, second = context.operands(instruction)
    value, place = read_scalar(first, f"u{bits}"), read_scalar(second, "u32")
    dtype = TYPES[f"u{bits}"]
    last, one = U32(bits - 1), dtype(1)
    return lambda waves: put_flag(waves, ((value(waves) >> (place(waves) & last).astype(dtype)) & one) == wanted)


@register("s_movk_i32 s_addk_i32 s_addk_co_i32 s_mulk_i32 s_cmovk_i32")
def decode_immediate(instruction: Instruction, context: Context) -> Step:
    """Scalar arithmetic with a signed 16-bit immediate."""
    destination, immediate = context.operands(instruction)
    read, put = read_scalar(destination, "i32"), put_scalar(destination, "i32")
    value = I32(sign_extended(immediate).value)
    name = instruction.mnemonic

    def step(waves: Waves) -> None:
        if name == "s_movk_i32":
            put(waves, value)
        elif name == "s_cmovk_i32":
            put(waves, np.where(waves.scc, value, read(waves)))
        elif name == "s_mulk_i32":
            put(waves, read(waves) * value)
        else:
            old = read(waves).copy()
            result = old + value
            put_flag(waves, _added_past(result, old, value))
            put(waves, result)

    return step


SAVING: dict[str, Any] = {
    "and": lambda a, mask: a & mask,
    "or": lambda a, mask: a | mask,
    "xor": lambda a, mask: a ^ mask,
    "andn2": lambda a, mask: a & ~mask,
    "and_not1": lambda a, mask: a & ~mask,
    "andn1": lambda a, mask: ~a & mask,
    "and_not0": lambda a, mask: ~a & mask,
    "orn2": lambda a, mask: a | ~mask,
    "or_not1": lambda a, mask: a | ~mask,
}


@register([f"s_{name}_saveexec_b{bits}" for name in SAVING for bits in (32, 64)])
def decode_save_mask(instruction: Instruction, context: Context) -> Step:
    """Keep EXEC in a register, and narrow or widen it."""
    name, kind = instruction.mnemonic[2:].split("_saveexec_")
    kind = kind.replace("b", "u")
    destination, source = context.operands(instruction)
    mask = Operand("scalar", EXEC, 2 if kind == "u64" else 1)
    read, read_mask = read_scalar(source, kind), read_scalar(mask, kind)
    put, put_mask, function = put_scalar(destination, kind), put_scalar(mask, kind), SAVING[name]

    def step(waves: Waves) -> None:
        old = read_mask(waves).copy()
        result = function(read(waves), old)
        put(waves, old)
        put_mask(waves, result)
        put_flag(waves, result != 0)

    return step
