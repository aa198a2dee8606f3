"""Where a lane's first source comes from under DPP, and what SDWA's selections take and keep."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.values import read_list

DPP_CONTROLS = (
    "quad_perm row_shl row_shr row_ror wave_shl wave_rol wave_shr wave_ror row_mirror row_half_mirror row_bcast"
    " row_newbcast row_share row_xmask dpp8"
)
DPP_MODIFIERS = f"{DPP_CONTROLS} row_mask bank_mask bound_ctrl fi"
SDWA_MODIFIERS = "dst_sel dst_unused src0_sel src1_sel"
SELECTIONS = {
    "DWORD": (0, 32),
    **{f"BYTE_{place}": (8 * place, 8) for place in range(4)},
    **{f"WORD_{place}": (16 * place, 16) for place in range(2)},
}
"""Name -> (first bit, bits)."""
Places = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Movement:
    """A data-parallel primitive: which lane each lane reads from."""

    source: Places
    """Lane (lanes,), 0 where there is none."""
    valid: Bools
    """There is one (lanes,)."""
    enabled: Bools
    """row_mask and bank_mask let the lane be written (lanes,)."""
    zero_fills: bool
    """bound_ctrl: a lane without a source reads 0, else it is not written."""
    fetches_inactive: bool
    """fi: a source lane that EXEC disables is one all the same."""


def _shifted(name: str, amount: int, lanes: Places) -> tuple[Places, Bools]:
    """Controls that shift or rotate by an amount."""
    row, place = lanes & ~15, lanes & 15
    everywhere = np.ones(len(lanes), np.bool_)
    if name == "row_shl":
        return lanes + amount, place + amount < 16
    if name == "row_shr":
        return lanes - amount, place >= amount
    if name == "row_ror":
        return row | ((place - amount) & 15), everywhere
    if name == "wave_shl":
        return lanes + amount, lanes + amount < len(lanes)
    if name == "wave_shr":
        return lanes - amount, lanes >= amount
    if name == "wave_rol":
        return (lanes + amount) % len(lanes), everywhere
    if name == "wave_ror":
        return (lanes - amount) % len(lanes), everywhere
    raise UndecodedError(f"modifier {name}")


def _source(name: str, value: str, lanes: Places) -> tuple[Places, Bools]:
    """The source lane of each lane, and whether there is one."""
    row, place = lanes & ~15, lanes & 15
    everywhere = np.ones(len(lanes), np.bool_)
    if name in ("quad_perm", "dpp8"):
        chosen = np.array(read_list(value), np.int64)
        return (lanes & -len(chosen)) + chosen[lanes % len(chosen)], everywhere
    if name == "row_mirror":
        return row + 15 - place, everywhere
    if name == "row_half_mirror":
        return (lanes & ~7) + 7 - (lanes & 7), everywhere
    amount = int(value, 0)
    if name in ("row_newbcast", "row_share"):
        return row + amount, everywhere
    if name == "row_xmask":
        return row + (place ^ amount), everywhere
    if name == "row_bcast":
        if amount == 15:
            return row - 1, lanes >= 16
        if amount == 31:
            return np.full(len(lanes), 31, np.int64), lanes >= 32
        raise UndecodedError(f"row_bcast:{value}")
    return _shifted(name, amount, lanes)


def read_movement(instruction: Instruction, count: int) -> Movement:
    """The movement that an instruction's modifiers ask for.

    count: lanes of a wave.

    Raises:
        UndecodedError: it names none, or more than one.
    """
    modifiers = instruction.modifiers
    named = [name for name in DPP_CONTROLS.split() if name in modifiers]
    if len(named) != 1:
        raise UndecodedError(f"a DPP control, of {len(named)} that are given")
    lanes = np.arange(count, dtype=np.int64)
    source, valid = _source(named[0], modifiers[named[0]], lanes)
    rows, banks = int(modifiers.get("row_mask", "0xf"), 0), int(modifiers.get("bank_mask", "0xf"), 0)
    enabled = ((rows >> ((lanes >> 4) & 3)) & (banks >> ((lanes & 15) >> 2)) & 1).astype(np.bool_)
    return Movement(
        np.where(valid, source, 0),
        valid,
        enabled,
        # The assembler writes the set bit as bound_ctrl:1 today, as bound_ctrl:0 formerly.
        "bound_ctrl" in modifiers or named[0] == "dpp8",
        modifiers.get("fi") == "1",
    )


def select_bits(
    words: npt.NDArray[np.uint32], selection: str, kind: str, dtype: Any, extended: bool
) -> npt.NDArray[Any]:
    """SDWA's choice of a byte or word of a source, as a value of the operand's type.

    Args:
        words: of any shape.
        selection: DWORD, BYTE_0, WORD_1, ...
        kind: the operand's type.
        dtype: of that type.
        extended: with its sign, else with zeros.
    """
    first, bits = SELECTIONS[selection]
    chosen = words if bits == 32 else (words >> np.uint32(first)) & np.uint32((1 << bits) - 1)
    if extended and bits < 32:
        chosen = ((chosen << np.uint32(32 - bits)).view(np.int32) >> np.int32(32 - bits)).view(np.uint32)
    if kind in ("u16", "i16", "f16"):
        return chosen.astype(np.uint16).view(dtype)
    if bits < 32 and kind == "f32":
        raise UndecodedError(f"{selection} of a float32")
    return chosen.view(dtype)


def merge_bits(
    words: npt.NDArray[np.uint32], old: npt.NDArray[np.uint32], selection: str, unused: str
) -> npt.NDArray[np.uint32]:
    """SDWA's result: the value in the selected place, around it zeros, its sign or the old bits."""
    first, bits = SELECTIONS[selection]
    if bits == 32:
        return words
    ones = (1 << bits) - 1
    value = (words & np.uint32(ones)) << np.uint32(first)
    if unused == "UNUSED_PAD":
        return value
    if unused == "UNUSED_PRESERVE":
        return value | (old & np.uint32(0xFFFFFFFF ^ (ones << first)))
    if unused == "UNUSED_SEXT":
        signed = (words << np.uint32(32 - bits)).view(np.int32) >> np.int32(32 - bits)
        return (signed << np.int32(first)).view(np.uint32)
    raise UndecodedError(f"dst_unused:{unused}")
