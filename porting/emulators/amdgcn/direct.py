"""Decodes copies from global memory to LDS that pass no register, and buffer loads, of which some are such copies."""

from collections.abc import Callable
from typing import Any

import numpy as np

from porting.emulators.amdgcn.addressing import Bounded, buffer_address, global_address, offset_of
from porting.emulators.amdgcn.memory import MASKED
from porting.emulators.amdgcn.operands import M0, Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Selection, Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.transfers import (
    CACHE,
    NEW_LOADS,
    OLD_LOADS,
    SIZES,
    all_lanes,
    decode_buffer_register_load,
    everywhere,
    names,
    narrowed,
)

WIDTHS = ("ubyte", "ushort", "dword", "dwordx3", "dwordx4")


def packed_step(instruction: Instruction, context: Context, address: Bounded, size: int) -> Step:
    """gfx9: lane L writes at M0 + offset + L * max(size, 4); inactive lanes leave their place as it was.

    Lanes out of the descriptor's range write 0.
    """
    offset, stride = offset_of(instruction), max(size, 4)
    lanes_at = np.arange(context.target.lanes, dtype=np.int64) * stride + offset
    counter = context.target.async_counter

    def step(waves: Waves) -> None:
        addresses, inside = address(waves)
        local = waves.column[M0].astype(np.int64) + lanes_at
        mask = waves.mask

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            reading = lanes & inside
            waves.count_bytes("global", size, reading, written=False)
            waves.count_bytes("shared", size, lanes, written=True)
            words = waves.memory.read(addresses, all_lanes(reading), size)
            waves.local.write(local, lanes, words, size, waves.groups, waves.places)

        waves.defer(counter, carry_out, instruction)

    return step


@register(names("global", "load_lds", WIDTHS), f"offset {CACHE}")
def decode_global_packed(instruction: Instruction, context: Context) -> Step:
    """Global memory to LDS at M0."""
    size = SIZES[instruction.mnemonic.removeprefix("global_load_lds_")].size
    vector, scalar = context.operands(instruction)
    # The immediate moves both addresses.
    address = global_address(vector, scalar, instruction, context, size)
    return packed_step(instruction, context, everywhere(address), size)


@register(names("buffer", "load", OLD_LOADS + NEW_LOADS), f"offset offen lds {CACHE}")
def decode_buffer_load(instruction: Instruction, context: Context) -> Step:
    """Global memory through a descriptor to registers, or with `lds` to LDS at M0."""
    if "lds" not in instruction.modifiers:
        return decode_buffer_register_load(instruction, context)
    name = instruction.mnemonic.removeprefix("buffer_load_")
    if name not in WIDTHS:
        raise UndecodedError(f"{name} to LDS")
    operands = context.operands(instruction)
    vector = operands[0] if len(operands) == 3 else Operand("off")
    descriptor, scalar = operands[-2:]
    size = SIZES[name].size
    address = buffer_address(vector, descriptor, scalar, instruction, context, size)
    return packed_step(instruction, context, address, size)


ASYNC = [
    f"global_{direction}_lds_b{bits}"
    for direction in ("load_async_to", "store_async_from")
    for bits in (8, 32, 64, 128)
]


@register(ASYNC, f"offset scale_offset {CACHE}")
def decode_async(instruction: Instruction, context: Context) -> Step:
    """gfx1250: between global memory and an LDS address of each lane; the immediate moves both.

    A lane that is masked by its LDS address copies nothing.
    """
    size = int(instruction.mnemonic.rsplit("_b", 1)[1]) // 8
    first, second, scalar = context.operands(instruction)
    loads = "load" in instruction.mnemonic
    local, vector = (first, second) if loads else (second, first)
    address = global_address(vector, scalar, instruction, context, size)
    row, offset = local.index, offset_of(instruction)
    move: Callable[..., None] = _copy_in if loads else _copy_out
    counter = context.target.async_counter

    def step(waves: Waves) -> None:
        addresses, places = address(waves), waves.u32[row].astype(np.int64) + offset
        mask = waves.mask & (places < MASKED)

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            waves.count_bytes("global", size, lanes, written=not loads)
            waves.count_bytes("shared", size, lanes, written=loads)
            move(waves, addresses, places, lanes, size)

        waves.defer(counter, carry_out, instruction)

    return step


def _copy_in(waves: Waves, addresses: Any, places: Any, lanes: Any, size: int) -> None:
    words = waves.memory.read(addresses, all_lanes(lanes), size)
    waves.local.write(places, lanes, words, size, waves.groups, waves.places)


def _copy_out(waves: Waves, addresses: Any, places: Any, lanes: Any, size: int) -> None:
    words = waves.local.read(places, lanes, size, waves.groups, waves.places)
    waves.memory.write(addresses, all_lanes(lanes), words, size)
