"""Decodes loads and stores between vector registers and memory: global, buffer, scratch and LDS."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.addressing import (
    Bounded,
    buffer_address,
    global_address,
    local_address,
    offset_of,
    scratch_address,
)
from porting.emulators.amdgcn.operands import Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Selection, Waves
from porting.emulators.amdgcn.text import Instruction

Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Width:
    """How much one lane moves, and how a register holds it."""

    size: int
    """Bytes."""
    signed: bool = False
    half: str = ""
    """l or h: which half of the register, the other half stays."""

    @property
    def registers(self) -> int:
        """Of one lane."""
        return max(self.size // 4, 1)


SIZES = {
    **{"ubyte": Width(1), "sbyte": Width(1, signed=True), "ushort": Width(2), "sshort": Width(2, signed=True)},
    **{"byte": Width(1), "short": Width(2), "dword": Width(4), "dwordx2": Width(8)},
    **{"dwordx3": Width(12), "dwordx4": Width(16)},
    **{"u8": Width(1), "i8": Width(1, signed=True), "u16": Width(2), "i16": Width(2, signed=True)},
    **{"b8": Width(1), "b16": Width(2), "b32": Width(4), "b64": Width(8), "b96": Width(12), "b128": Width(16)},
}
OLD_LOADS = (
    *("ubyte", "sbyte", "ushort", "sshort", "dword", "dwordx2", "dwordx3", "dwordx4"),
    *("ubyte_d16", "ubyte_d16_hi", "sbyte_d16", "sbyte_d16_hi", "short_d16", "short_d16_hi"),
)
OLD_STORES = ("byte", "short", "dword", "dwordx2", "dwordx3", "dwordx4", "byte_d16_hi", "short_d16_hi")
NEW_LOADS = (
    *("u8", "i8", "u16", "i16", "b32", "b64", "b96", "b128"),
    *("d16_u8", "d16_hi_u8", "d16_i8", "d16_hi_i8", "d16_b16", "d16_hi_b16"),
)
NEW_STORES = ("b8", "b16", "b32", "b64", "b96", "b128", "d16_hi_b8", "d16_hi_b16")
CACHE = "sc0 sc1 nt glc slc dlc scope th nv"
"""Modifiers about caches, which this memory does not have."""


def width_of(name: str) -> Width:
    """("ushort_d16_hi") -> 2 bytes into the upper half."""
    half = "h" if "d16_hi" in name else "l" if "d16" in name else ""
    plain = re.sub(r"_?d16(_hi)?_?", "", name)
    width = SIZES[plain]
    return Width(width.size, width.signed, half)


def extend(words: Words, width: Width) -> Words:
    """Sign-extend what was read, if the instruction does."""
    if not width.signed:
        return words
    shift = np.int32(32 - 8 * width.size)
    return ((words.view(np.int32) << shift) >> shift).view(np.uint32)


def put_loaded(waves: Waves, row: int, words: Words, mask: Bools, width: Width) -> None:
    """Write what was read (words, waves, lanes) into the registers of the lanes in the mask."""
    words = extend(words, width)
    if width.half:
        half = waves.high16[row] if width.half == "h" else waves.low16[row]
        np.copyto(half, words[0].astype(np.uint16), where=mask)
        return
    for place in range(width.registers):
        np.copyto(waves.u32[row + place], words[place], where=mask)


def take_stored(waves: Waves, row: int, width: Width) -> Words:
    """What a store writes, as it is now (words, waves, lanes)."""
    words = waves.block(row, width.registers)
    if width.half == "h":
        return words >> np.uint32(16)
    return words.copy()


def with_half(width: Width, operand: Operand) -> Width:
    """gfx12 may name the half with the register: v1.h."""
    return Width(width.size, width.signed, operand.half) if operand.half else width


def narrowed(mask: Bools, selection: Selection) -> Bools:
    """The lanes of the selected waves."""
    return mask if selection is None else mask & selection[:, None]


def all_lanes(mask: Bools) -> Bools | None:
    """None where the mask takes every lane: memory then needs no selection."""
    return None if mask.all() else mask


def load_step(instruction: Instruction, context: Context, destination: Operand, address: Bounded, width: Width) -> Step:
    """A load from global memory; lanes out of the descriptor's range get 0."""
    if destination.kind != "vector":
        raise UndecodedError(f"a load into {destination.kind}")
    width, row, keys = with_half(width, destination), destination.index, destination.keys
    counter = context.target.load_counter

    def step(waves: Waves) -> None:
        addresses, inside = address(waves)
        mask = waves.mask

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            reading = lanes & inside
            waves.count_bytes("global", width.size, reading, written=False)
            words = waves.memory.read(addresses, all_lanes(reading), width.size)
            put_loaded(waves, row, words, lanes, width)

        waves.defer(counter, carry_out, instruction, keys)

    return step


def store_step(instruction: Instruction, context: Context, source: Operand, address: Bounded, width: Width) -> Step:
    """A store to global memory; lanes out of the descriptor's range store nothing."""
    if source.kind != "vector":
        raise UndecodedError(f"a store from {source.kind}")
    width, row, counter = with_half(width, source), source.index, context.target.store_counter

    def step(waves: Waves) -> None:
        addresses, inside = address(waves)
        mask, words = waves.mask & inside, take_stored(waves, row, width)

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            waves.count_bytes("global", width.size, lanes, written=True)
            waves.memory.write(addresses, all_lanes(lanes), words, width.size)

        waves.defer(counter, carry_out, instruction)

    return step


def everywhere(address: Callable[[Waves], Any]) -> Bounded:
    """An address without a descriptor: no lane is out of its range."""
    inside = np.ones((1, 1), np.bool_)
    return lambda waves: (address(waves), inside)


def names(space: str, direction: str, widths: tuple[str, ...]) -> list[str]:
    """Mnemonics of a space in one direction."""
    return [f"{space}_{direction}_{width}" for width in widths]


@register(names("global", "load", OLD_LOADS + NEW_LOADS), f"offset scale_offset {CACHE}")
def decode_global_load(instruction: Instruction, context: Context) -> Step:
    """Global memory to registers."""
    width = width_of(instruction.mnemonic.removeprefix("global_load_"))
    destination, vector, scalar = context.operands(instruction)
    address = global_address(vector, scalar, instruction, context, width.size)
    return load_step(instruction, context, destination, everywhere(address), width)


@register(names("global", "store", OLD_STORES + NEW_STORES), f"offset scale_offset {CACHE}")
def decode_global_store(instruction: Instruction, context: Context) -> Step:
    """Registers to global memory."""
    width = width_of(instruction.mnemonic.removeprefix("global_store_"))
    vector, source, scalar = context.operands(instruction)
    address = global_address(vector, scalar, instruction, context, width.size)
    return store_step(instruction, context, source, everywhere(address), width)


@register(names("buffer", "store", OLD_STORES + NEW_STORES), f"offset offen {CACHE}")
def decode_buffer_store(instruction: Instruction, context: Context) -> Step:
    """Registers to global memory through a descriptor."""
    width = width_of(instruction.mnemonic.removeprefix("buffer_store_"))
    source, vector, descriptor, scalar = context.operands(instruction)
    address = buffer_address(vector, descriptor, scalar, instruction, context, width.size)
    return store_step(instruction, context, source, address, width)


def decode_buffer_register_load(instruction: Instruction, context: Context) -> Step:
    """Global memory through a descriptor to registers."""
    width = width_of(instruction.mnemonic.removeprefix("buffer_load_"))
    destination, vector, descriptor, scalar = context.operands(instruction)
    address = buffer_address(vector, descriptor, scalar, instruction, context, width.size)
    return load_step(instruction, context, destination, address, width)


@register(names("scratch", "load", OLD_LOADS + NEW_LOADS), f"offset {CACHE}")
def decode_scratch_load(instruction: Instruction, context: Context) -> Step:
    """Private memory to registers."""
    width = width_of(instruction.mnemonic.removeprefix("scratch_load_"))
    destination, vector, scalar = context.operands(instruction)
    width, row, keys = with_half(width, destination), destination.index, destination.keys
    address, counter = scratch_address(vector, scalar, offset_of(instruction)), context.target.load_counter

    def step(waves: Waves) -> None:
        addresses, mask = address(waves), waves.mask

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            offsets = waves.scratch.locate(addresses, lanes, width.size)
            words = np.zeros((width.registers, *addresses.shape), np.uint32)
            words[:, lanes] = waves.scratch.bytes.read(offsets, width.size)
            waves.count_bytes("scratch", width.size, lanes, written=False)
            put_loaded(waves, row, words, lanes, width)

        waves.defer(counter, carry_out, instruction, keys)

    return step


@register(names("scratch", "store", OLD_STORES + NEW_STORES), f"offset {CACHE}")
def decode_scratch_store(instruction: Instruction, context: Context) -> Step:
    """Registers to private memory."""
    width = width_of(instruction.mnemonic.removeprefix("scratch_store_"))
    vector, source, scalar = context.operands(instruction)
    width, row = with_half(width, source), source.index
    address, counter = scratch_address(vector, scalar, offset_of(instruction)), context.target.store_counter

    def step(waves: Waves) -> None:
        addresses, mask, words = address(waves), waves.mask, take_stored(waves, row, width)

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            offsets = waves.scratch.locate(addresses, lanes, width.size)
            waves.scratch.bytes.write(offsets, words[:, lanes], width.size)
            waves.count_bytes("scratch", width.size, lanes, written=True)

        waves.defer(counter, carry_out, instruction)

    return step


def read_local(waves: Waves, addresses: Any, lanes: Bools, size: int) -> Words:
    """LDS of the waves' own workgroups, counted."""
    waves.count_bytes("shared", size, lanes, written=False)
    waves.bank_conflicts += waves.local.conflicts(addresses, lanes, size, waves.target.lds_banks)
    return waves.local.read(addresses, lanes, size, waves.groups, waves.places)


def write_local(waves: Waves, addresses: Any, lanes: Bools, words: Words, size: int) -> None:
    """LDS of the waves' own workgroups, counted."""
    waves.count_bytes("shared", size, lanes, written=True)
    waves.bank_conflicts += waves.local.conflicts(addresses, lanes, size, waves.target.lds_banks)
    waves.local.write(addresses, lanes, words, size, waves.groups, waves.places)


LOCAL_LOADS = (
    *("u8", "i8", "u16", "i16", "b32", "b64", "b96", "b128"),
    *("u8_d16", "u8_d16_hi", "i8_d16", "i8_d16_hi", "u16_d16", "u16_d16_hi"),
)
LOCAL_STORES = ("b8", "b16", "b32", "b64", "b96", "b128", "b8_d16_hi", "b16_d16_hi")


@register([*names("ds", "read", LOCAL_LOADS), *names("ds", "load", LOCAL_LOADS)], "offset")
def decode_local_load(instruction: Instruction, context: Context) -> Step:
    """LDS to registers."""
    width = width_of(instruction.mnemonic.split("_", 2)[2])
    destination, source = context.operands(instruction)
    width, row, keys = with_half(width, destination), destination.index, destination.keys
    address, counter = local_address(source, offset_of(instruction)), context.target.local_counter

    def step(waves: Waves) -> None:
        addresses, mask = address(waves), waves.mask

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            put_loaded(waves, row, read_local(waves, addresses, lanes, width.size), lanes, width)

        waves.defer(counter, carry_out, instruction, keys)

    return step


@register([*names("ds", "write", LOCAL_STORES), *names("ds", "store", LOCAL_STORES)], "offset")
def decode_local_store(instruction: Instruction, context: Context) -> Step:
    """Registers to LDS."""
    width = width_of(instruction.mnemonic.split("_", 2)[2])
    destination, source = context.operands(instruction)
    width, row = with_half(width, source), source.index
    address, counter = local_address(destination, offset_of(instruction)), context.target.local_counter

    def step(waves: Waves) -> None:
        addresses, mask, words = address(waves), waves.mask, take_stored(waves, row, width)

        def carry_out(selection: Selection) -> None:
            write_local(waves, addresses, narrowed(mask, selection), words, width.size)

        waves.defer(counter, carry_out, instruction)

    return step


PAIRS = [
    f"ds_{direction}{form}_b{bits}"
    for old, new in (("read", "load"), ("write", "store"))
    for direction, forms in ((old, ("2", "2st64")), (new, ("_2addr", "_2addr_stride64")))
    for form in forms
    for bits in (32, 64)
]


@register(PAIRS, "offset0 offset1")
def decode_local_pair(instruction: Instruction, context: Context) -> Step:
    """Two accesses at two offsets, which count elements, or 64 of them."""
    size = int(instruction.mnemonic[-2:]) // 8
    unit = size * (64 if "64_b" in instruction.mnemonic else 1)
    offsets = [offset_of(instruction, name) * unit for name in ("offset0", "offset1")]
    operands = context.operands(instruction)
    if re.match(r"ds_(read|load)", instruction.mnemonic):
        return _pair_load(instruction, context, operands, offsets, Width(size))
    return _pair_store(instruction, context, operands, offsets, Width(size))


def _pair_load(
    instruction: Instruction, context: Context, operands: list[Operand], offsets: list[int], width: Width
) -> Step:
    destination, source = operands
    row, address, counter = destination.index, local_address(source), context.target.local_counter

    def step(waves: Waves) -> None:
        addresses, mask = address(waves), waves.mask

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            for number, offset in enumerate(offsets):
                words = read_local(waves, addresses + offset, lanes, width.size)
                put_loaded(waves, row + number * width.registers, words, lanes, width)

        waves.defer(counter, carry_out, instruction, destination.keys)

    return step


def _pair_store(
    instruction: Instruction, context: Context, operands: list[Operand], offsets: list[int], width: Width
) -> Step:
    destination, *sources = operands
    rows = [source.index for source in sources]
    if len(rows) != 2:
        raise UndecodedError(f"{len(rows)} sources of a pair")
    address, counter = local_address(destination), context.target.local_counter

    def step(waves: Waves) -> None:
        addresses, mask = address(waves), waves.mask
        words = [take_stored(waves, row, width) for row in rows]

        def carry_out(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            for offset, data in zip(offsets, words, strict=True):
                write_local(waves, addresses + offset, lanes, data, width.size)

        waves.defer(counter, carry_out, instruction)

    return step
