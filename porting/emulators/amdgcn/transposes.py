"""Loads that transpose on the way: each lane reads a run of elements, and gets one element of each of several lanes.

Sources: AMD CDNA4 instruction set architecture (DS_READ_B64_TR_*), Triton's documentation of ds_load_tr on gfx1250,
AMD rocjitsu (4 and 6 bits on gfx1250).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.addressing import global_address, local_address, offset_of
from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Selection, Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.transfers import CACHE, narrowed, read_local
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.number_formats import pack, unpack

Array = npt.NDArray[Any]
Source = Callable[[Any, Any], tuple[Any, Any]]
"""Lane and element of the result -> lane and element of what was read."""
Reading = Callable[[Waves], Callable[[Array], Array]]
"""Waves, at issue -> lanes, later -> the words that they read (words, waves, lanes)."""


@dataclass(frozen=True)
class Transpose:
    """One way of transposing."""

    lanes: int
    bits: int
    """Of an element."""
    words: int
    """Registers of the result, and words that each lane reads."""
    source: Source


def _gfx950(elements: int) -> Source:
    """Sixteen lanes together: lane l gets element l % n of every (16 / n)th lane from lane l / n on, n a lane."""
    step = 16 // elements
    return lambda lane, element: (lane // 16 * 16 + step * element + lane % 16 // elements, lane % elements)


def _eight_by_eight(lane: Any, element: Any) -> tuple[Any, Any]:
    """Eight lanes together: lane l gets element l of each."""
    return lane // 8 * 8 + element, lane % 8


def _bytes(lane: Any, element: Any) -> tuple[Any, Any]:
    """Sixteen lanes together: lanes 0-7 draw from lanes 0-3 and 8-11, lanes 8-15 from 4-7 and 12-15."""
    return lane // 16 * 16 + lane % 16 // 8 * 4 + element // 4 * 8 + element % 4, lane % 8


def _nibbles(lane: Any, element: Any) -> tuple[Any, Any]:
    """The wave together: lanes 0-15 draw from lanes 0-7 and 16-23, lanes 16-31 from the others."""
    return element // 8 * 16 + lane // 16 * 8 + element % 8, lane % 16


def _six_bits(lane: Any, element: Any) -> tuple[Any, Any]:
    """The wave together: lanes 0-15 draw from the lower four of every eight lanes, lanes 16-31 from the upper."""
    return element // 4 * 8 + lane // 16 * 4 + element % 4, lane % 16


GFX950 = {
    "ds_read_b64_tr_b16": Transpose(64, 16, 2, _gfx950(4)),
    "ds_read_b64_tr_b8": Transpose(64, 8, 2, _gfx950(8)),
    "ds_read_b64_tr_b4": Transpose(64, 4, 2, _gfx950(16)),
    "ds_read_b96_tr_b6": Transpose(64, 6, 3, _gfx950(16)),
}
GFX1250 = {
    "load_tr16_b128": Transpose(32, 16, 4, _eight_by_eight),
    "load_tr8_b64": Transpose(32, 8, 2, _bytes),
    "load_tr4_b64": Transpose(32, 4, 2, _nibbles),
    "load_tr6_b96": Transpose(32, 6, 3, _six_bits),
}
LOCAL = {**GFX950, **{f"ds_{name}": transpose for name, transpose in GFX1250.items()}}
GLOBAL = {f"global_{name}": transpose for name, transpose in GFX1250.items()}


def permutation(transpose: Transpose) -> npt.NDArray[np.int64]:
    """Element (lane, element) of the result -> place of its source among (lane, element) of what was read, flat."""
    elements = 32 * transpose.words // transpose.bits
    lanes, places = np.meshgrid(np.arange(transpose.lanes), np.arange(elements), indexing="ij")
    lane, element = transpose.source(lanes, places)
    flat: npt.NDArray[np.int64] = (lane * elements + element).reshape(-1)
    return flat


def exchange(words: Array, transpose: Transpose, order: npt.NDArray[np.int64]) -> Array:
    """What the lanes read (words, waves, lanes) -> what they get."""
    fields = unpack(np.ascontiguousarray(words.transpose(1, 2, 0)), transpose.bits)
    moved = fields.reshape(fields.shape[0], -1).take(order, axis=1).reshape(fields.shape)
    return pack(moved, transpose.bits).transpose(2, 0, 1)


def check_lanes(waves: Waves, instruction: Instruction) -> None:
    """Refuse an EXEC that leaves lanes of an executing wave out: they would not deliver what others get of them.

    Raises:
        Fault: some lane of an active wave is off.
    """
    on = waves.mask.sum(axis=1)
    if ((on != waves.lanes) & (on != 0)).any():
        raise Fault(FaultKind.DIVERGENT, f"{instruction.mnemonic} with lanes that EXEC leaves out")


def _decode(instruction: Instruction, context: Context, transpose: Transpose, counter: str, read: Reading) -> Step:
    """The instruction, given how what the lanes ask for is read."""
    if transpose.lanes != context.target.lanes:
        raise UndecodedError(f"{instruction.mnemonic} on {context.target.name}")
    d = context.operand(instruction.operands[0])
    if d.kind != "vector" or d.count != transpose.words:
        raise UndecodedError(f"a result of {d.count} registers, not {transpose.words}")
    order, keys, row = permutation(transpose), d.keys, d.index

    def step(waves: Waves) -> None:
        check_lanes(waves, instruction)
        fetch, mask = read(waves), waves.mask

        def action(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            words = exchange(fetch(lanes), transpose, order)
            for place in range(transpose.words):
                np.copyto(waves.u32[row + place], words[place], where=lanes)

        waves.defer(counter, action, instruction, keys)

    return step


@register(LOCAL, modifiers="offset")
def decode_local(instruction: Instruction, context: Context) -> Step:
    """From LDS."""
    transpose = LOCAL[instruction.mnemonic]
    address = local_address(context.operand(instruction.operands[1]), offset_of(instruction))

    def read(waves: Waves) -> Callable[[Array], Array]:
        addresses = address(waves)
        return lambda lanes: read_local(waves, addresses, lanes, 4 * transpose.words)

    return _decode(instruction, context, transpose, context.target.local_counter, read)


@register(GLOBAL, modifiers=f"offset scale_offset {CACHE}")
def decode_global(instruction: Instruction, context: Context) -> Step:
    """From global memory."""
    transpose = GLOBAL[instruction.mnemonic]
    size = 4 * transpose.words
    _, vector, scalar = context.operands(instruction)
    address = global_address(vector, scalar, instruction, context, size)

    def read(waves: Waves) -> Callable[[Array], Array]:
        addresses = address(waves)

        def fetch(lanes: Array) -> Array:
            waves.count_bytes("global", size, lanes, written=False)
            return waves.memory.read(addresses, lanes, size)

        return fetch

    return _decode(instruction, context, transpose, context.target.load_counter, read)
