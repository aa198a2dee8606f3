"""Decodes vector arithmetic with two results or a carry: add and sub with carry, mad_u64, the steps of division."""

from typing import Any

import numpy as np

from porting.emulators.amdgcn import arithmetic
from porting.emulators.amdgcn.compares import mask_destination
from porting.emulators.amdgcn.operands import VCC, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.valu import read_mask
from porting.emulators.amdgcn.values import reader, writer

ADDS = ("add_co_u32", "addc_co_u32", "add_co_ci_u32")
SUBTRACTS = ("sub_co_u32", "subb_co_u32", "sub_co_ci_u32")
REVERSED = ("subrev_co_u32", "subbrev_co_u32", "subrev_co_ci_u32")
FORMS = ("_e32", "_e64", "")
CARRIES = [f"v_{name}{form}" for name in (*ADDS, *SUBTRACTS, *REVERSED) for form in FORMS]


@register(CARRIES)
def decode_carry(instruction: Instruction, context: Context) -> Step:
    """32-bit sum or difference, with the carry out one bit a lane, and with a carry in where one is named."""
    destination, carry_out, first, second, *carry_in = context.operands(instruction)
    index, write = mask_destination(carry_out), writer(destination, "u32", context.target)
    a, b = reader(first, "u32"), reader(second, "u32")
    name = instruction.mnemonic.removeprefix("v_")
    takes_carry = name.startswith(("addc", "add_co_ci", "subb", "sub_co_ci", "subrev_co_ci"))
    if takes_carry != (len(carry_in) == 1):
        raise UndecodedError(f"{len(carry_in)} carries in")
    carry = read_mask(carry_in[0]) if carry_in else None
    subtracts, swapped = name.startswith("sub"), "rev" in name

    def step(waves: Waves) -> None:
        left, right = np.asarray(a(waves), np.int64), np.asarray(b(waves), np.int64)
        if swapped:
            left, right = right, left
        total: Any = left - right if subtracts else left + right
        if carry is not None:
            total = total - carry(waves) if subtracts else total + carry(waves)
        total = np.broadcast_to(total, (waves.count, waves.lanes))
        write(waves, total.astype(np.uint32))
        waves.put_bits(index, ((total >> 32) & 1).astype(np.bool_) & waves.mask)

    return step


@register("v_mad_u64_u32 v_mad_i64_i32 v_mad_co_u64_u32 v_mad_co_i64_i32")
def decode_wide_multiply(instruction: Instruction, context: Context) -> Step:
    """32 x 32 + 64 bits, with the carry out of bit 63 one bit a lane."""
    destination, carry_out, first, second, third = context.operands(instruction)
    signed = "i64" in instruction.mnemonic
    narrow, wide = ("i32", "i64") if signed else ("u32", "u64")
    a, b, c = reader(first, narrow), reader(second, narrow), reader(third, wide)
    index, write = mask_destination(carry_out), writer(destination, wide, context.target)
    dtype: Any = np.int64 if signed else np.uint64

    def step(waves: Waves) -> None:
        product, addend = np.multiply(a(waves), b(waves), dtype=dtype), c(waves)
        total = np.broadcast_to(product + addend, (waves.count, waves.lanes))
        past = ((product ^ total) & (addend ^ total)) < 0 if signed else total < product
        write(waves, total)
        waves.put_bits(index, np.broadcast_to(past, total.shape) & waves.mask)

    return step


@register("v_div_scale_f32")
def decode_div_scale(instruction: Instruction, context: Context) -> Step:
    """Scale a denominator or numerator; VCC says whether the quotient must be scaled back."""
    destination, flag, *sources = context.operands(instruction)
    value, denominator, numerator = (reader(source, "f32") for source in sources)
    index, write = mask_destination(flag), writer(destination, "f32", context.target)

    def step(waves: Waves) -> None:
        shape = (waves.count, waves.lanes)
        operands = [np.broadcast_to(read(waves), shape) for read in (value, denominator, numerator)]
        scaled, flags = arithmetic.div_scale(*operands)
        write(waves, scaled)
        waves.put_bits(index, flags & waves.mask)

    return step


@register("v_div_fmas_f32")
def decode_div_fmas(instruction: Instruction, context: Context) -> Step:
    """fma, scaled back in the lanes of VCC."""
    destination, *sources = context.operands(instruction)
    a, b, c = (reader(source, "f32") for source in sources)
    write = writer(destination, "f32", context.target)

    def step(waves: Waves) -> None:
        write(waves, arithmetic.div_fmas(a(waves), b(waves), c(waves), waves.bits(VCC)))

    return step
