"""Decodes what moves values between lanes, or between lanes and scalar registers."""

from typing import Any

import numpy as np

from porting.emulators.amdgcn.addressing import offset_of
from porting.emulators.amdgcn.arithmetic import F32, F64, U32
from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.salu import put_scalar, read_scalar
from porting.emulators.amdgcn.state import Selection, Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.transfers import narrowed, put_loaded, width_of
from porting.emulators.amdgcn.values import read_32, read_list, writer


def first_lanes(waves: Waves) -> Any:
    """The lowest active lane of each wave (waves,); 0 where none is."""
    return waves.mask.argmax(axis=1)


@register("v_readfirstlane_b32 v_readfirstlane_b32_e32 v_readfirstlane_b32_e64")
def decode_read_first(instruction: Instruction, context: Context) -> Step:
    """The lowest active lane's value into a scalar register; lane 0's where no lane is active."""
    destination, source = context.operands(instruction)
    put, read = put_scalar(destination, "u32"), read_32(source, "u32")

    def step(waves: Waves) -> None:
        value = np.broadcast_to(read(waves), (waves.count, waves.lanes))
        put(waves, value[np.arange(waves.count), first_lanes(waves)])

    return step


@register("v_readlane_b32 v_readlane_b32_e64")
def decode_read_lane(instruction: Instruction, context: Context) -> Step:
    """One lane's value into a scalar register, whatever EXEC says."""
    destination, source, lane = context.operands(instruction)
    put, read, which = put_scalar(destination, "u32"), read_32(source, "u32"), read_scalar(lane, "u32")

    def step(waves: Waves) -> None:
        value = np.broadcast_to(read(waves), (waves.count, waves.lanes))
        put(waves, value[np.arange(waves.count), which(waves) & U32(waves.lanes - 1)])

    return step


@register("v_writelane_b32 v_writelane_b32_e64")
def decode_write_lane(instruction: Instruction, context: Context) -> Step:
    """A scalar into one lane, whatever EXEC says."""
    destination, source, lane = context.operands(instruction)
    if destination.kind != "vector":
        raise UndecodedError(f"a result in {destination.kind}")
    row, read, which = destination.index, read_scalar(source, "u32"), read_scalar(lane, "u32")

    def step(waves: Waves) -> None:
        places = np.broadcast_to(which(waves) & U32(waves.lanes - 1), (waves.count,))
        values = np.broadcast_to(read(waves), (waves.count,))
        chosen = np.arange(waves.count) if waves.active is None else np.nonzero(waves.active)[0]
        waves.u32[row][chosen, places[chosen]] = values[chosen]

    return step


@register("v_mbcnt_lo_u32_b32 v_mbcnt_hi_u32_b32 v_mbcnt_lo_u32_b32_e64 v_mbcnt_hi_u32_b32_e64")
def decode_count_below(instruction: Instruction, context: Context) -> Step:
    """How many bits of a mask belong to lanes below one's own, in lanes 0-31 (lo) or 32-63 (hi), added to a sum."""
    destination, mask, total = context.operands(instruction)
    lane = np.arange(context.target.lanes)
    low = "_lo_" in instruction.mnemonic
    below = np.where(lane < 32, lane, 32) if low else np.where(lane < 32, 0, lane - 32)
    bits = ((np.uint64(1) << below.astype(np.uint64)) - np.uint64(1)).astype(np.uint32)
    a, b = read_32(mask, "u32"), read_32(total, "u32")
    write = writer(destination, "u32", context.target)
    return lambda waves: write(waves, np.bitwise_count(a(waves) & bits).astype(np.uint32) + b(waves))


@register("ds_bpermute_b32 ds_permute_b32", "offset")
def decode_permute(instruction: Instruction, context: Context) -> Step:
    """Pull from (bpermute), or push to (permute), the lane that a byte address names; LDS is not touched.

    A pull from an inactive lane gives 0. Where pushes meet, the highest lane's stays.
    """
    destination, address, source = context.operands(instruction)
    where, read = read_32(address, "u32"), read_32(source, "u32")
    row, offset, counter = destination.index, offset_of(instruction), context.target.local_counter
    pulls, width = "bpermute" in instruction.mnemonic, width_of("b32")

    def step(waves: Waves) -> None:
        shape = (waves.count, waves.lanes)
        lanes = ((np.broadcast_to(where(waves), shape).astype(np.int64) + offset) >> 2) % waves.lanes
        mask, value = waves.mask, np.where(waves.mask, read(waves), U32(0))
        if pulls:
            moved = np.take_along_axis(value, lanes, axis=1)
        else:
            moved = np.zeros(shape, np.uint32)
            wave, lane = np.nonzero(mask)
            moved[wave, lanes[wave, lane]] = value[wave, lane]

        def carry_out(selection: Selection) -> None:
            put_loaded(waves, row, moved[None], narrowed(mask, selection), width)

        waves.defer(counter, carry_out, instruction, destination.keys)

    return step


@register("ds_swizzle_b32", "offset")
def decode_swizzle(instruction: Instruction, context: Context) -> Step:
    """Lanes of 32 exchange by and, or, xor masks (swizzle(BITMASK_PERM)), or quads by a permutation."""
    destination, source = context.operands(instruction)
    code = _swizzle_code(instruction.modifiers.get("offset", "0"))
    lane = np.arange(context.target.lanes)
    if code & 0x8000:
        from_lane = (lane & ~3) + ((code >> (2 * (lane & 3))) & 3)
    else:
        kept, set_bits, flipped = code & 31, (code >> 5) & 31, (code >> 10) & 31
        from_lane = (lane & ~31) | (((lane & kept) | set_bits) ^ flipped)
    read, row, counter = read_32(source, "u32"), destination.index, context.target.local_counter
    width = width_of("b32")

    def step(waves: Waves) -> None:
        mask = waves.mask
        value = np.where(mask, read(waves), U32(0))[:, from_lane]

        def carry_out(selection: Selection) -> None:
            put_loaded(waves, row, value[None], narrowed(mask, selection), width)

        waves.defer(counter, carry_out, instruction, destination.keys)

    return step


def _swizzle_code(text: str) -> int:
    """The 16 bits that the assembler writes as words."""
    kind, _, rest = text.removeprefix("swizzle(").rstrip(")").partition(",")
    numbers = rest.replace('"', "").replace(" ", "").split(",")
    if kind == "QUAD_PERM":
        return 0x8000 | sum(int(number) << (2 * place) for place, number in enumerate(numbers))
    if kind == "SWAP":
        return 0x1F | int(numbers[0]) << 10
    if kind == "REVERSE":
        return 0x1F | (int(numbers[0]) - 1) << 10
    if kind == "BROADCAST":
        size = int(numbers[0])
        return (0x1F ^ (size - 1)) | int(numbers[1]) << 5
    if kind == "BITMASK_PERM":
        places = {"0": (0, 0, 0), "1": (0, 1, 0), "p": (1, 0, 0), "i": (1, 0, 1)}
        masks = [0, 0, 0]
        for letter in numbers[0]:
            masks = [mask << 1 | bit for mask, bit in zip(masks, places[letter], strict=True)]
        return masks[0] | masks[1] << 5 | masks[2] << 10
    return int(text, 0)


@register("v_permlane16_swap_b32_e32 v_permlane32_swap_b32_e32 v_permlane16_swap_b32 v_permlane32_swap_b32")
def decode_swap_rows(instruction: Instruction, context: Context) -> Step:
    """The upper half of each run of 2 * N lanes of one register changes places with the lower half of another's."""
    size = 16 if "16" in instruction.mnemonic else 32
    first, second = (operand.index for operand in context.operands(instruction))
    lane = np.arange(context.target.lanes)
    upper = (lane // size) % 2 == 1

    def step(waves: Waves) -> None:
        low, high = waves.u32[first].copy(), waves.u32[second].copy()
        waves.put(first, np.where(upper, high[:, lane ^ size], low))
        waves.put(second, np.where(upper, high, low[:, lane ^ size]))

    return step


@register("v_swap_b32 v_swap_b32_e32")
def decode_swap(instruction: Instruction, context: Context) -> Step:
    """Two registers exchange their values."""
    first, second = (operand.index for operand in context.operands(instruction))

    def step(waves: Waves) -> None:
        value = waves.u32[first].copy()
        waves.put(first, waves.u32[second])
        waves.put(second, value)

    return step


@register("v_permlane16_b32 v_permlanex16_b32 v_permlane16_b32_e64 v_permlanex16_b32_e64", "op_sel")
def decode_permute_rows(instruction: Instruction, context: Context) -> Step:
    """Within a row of 16 lanes, or from the other row of a pair: sixteen selectors of four bits in two scalars.

    op_sel: [fetch from inactive lanes, lanes without a source get 0].
    """
    destination, source, low, high = context.operands(instruction)
    fetches, zero_fills = read_list(instruction.modifiers.get("op_sel", "[0,0]"))[:2]
    read, first, second = read_32(source, "u32"), read_scalar(low, "u32"), read_scalar(high, "u32")
    write_row = destination.index
    lane = np.arange(context.target.lanes)
    row = (lane & ~15) ^ (16 if "lanex" in instruction.mnemonic else 0)
    shift, upper = np.uint32(4) * (lane & 7).astype(np.uint32), (lane & 15) >= 8

    def step(waves: Waves) -> None:
        shape = (waves.count, waves.lanes)
        low_bits = np.broadcast_to(first(waves), (waves.count,))[:, None]
        high_bits = np.broadcast_to(second(waves), (waves.count,))[:, None]
        places = row + ((np.where(upper, high_bits, low_bits) >> shift) & U32(15)).astype(np.int64)
        value = np.take_along_axis(np.broadcast_to(read(waves), shape), places, axis=1)
        valid = np.ones(shape, np.bool_) if fetches else np.take_along_axis(waves.mask, places, axis=1)
        where = waves.mask if zero_fills else waves.mask & valid
        np.copyto(waves.u32[write_row], np.where(valid, value, U32(0)), where=where)

    return step


SCALARS_OF_FLOATS: dict[str, Any] = {
    "rcp": np.reciprocal,
    "rsq": lambda a: (1 / np.sqrt(np.asarray(a, F64))).astype(F32),
    "sqrt": np.sqrt,
    "exp": np.exp2,
    "log": np.log2,
}


@register([f"v_s_{name}_f32" for name in SCALARS_OF_FLOATS])
def decode_scalar_float(instruction: Instruction, context: Context) -> Step:
    """gfx12: transcendental functions of a scalar."""
    destination, source = context.operands(instruction)
    function = SCALARS_OF_FLOATS[instruction.mnemonic.split("_")[2]]
    put, read = put_scalar(destination, "f32"), read_scalar(source, "f32")
    return lambda waves: put(waves, function(read(waves)))
