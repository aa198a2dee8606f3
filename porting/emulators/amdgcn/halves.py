"""Which half of a vector register an instruction uses, where it uses only one: a load into the other is no hazard."""

import re

from porting.emulators.amdgcn.operands import Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context
from porting.emulators.amdgcn.text import Instruction

NARROW_STORE = re.compile(r"(ds_write|ds_store|global_store|buffer_store|scratch_store)_\w*(b8|b16|byte|short)")
BOTH = frozenset("lh")


def _half_of(mnemonic: str) -> frozenset[str]:
    return frozenset("h" if "d16_hi" in mnemonic else "l")


def halves_used(instruction: Instruction, key: int, context: Context) -> frozenset[str]:
    """The halves ("l", "h") of a vector register that an instruction reads or writes.

    key: the register's, as Operand.keys names it.
    """
    used: frozenset[str] = frozenset()
    narrow_load = "d16" in instruction.mnemonic and "load" in instruction.mnemonic
    narrow_load |= "d16" in instruction.mnemonic and instruction.mnemonic.startswith("ds_read")
    data = 0 if instruction.mnemonic.startswith("buffer_") else 1
    for place, text in enumerate(instruction.operands):
        operand = _operand(text, context)
        if operand is None or key not in operand.keys:
            continue
        if operand.half:
            used |= frozenset(operand.half)
        elif (narrow_load and place == 0) or (place == data and NARROW_STORE.match(instruction.mnemonic)):
            used |= _half_of(instruction.mnemonic)
        else:
            used |= BOTH
    if instruction.second is not None:
        used |= halves_used(instruction.second, key, context)
    return used


def _operand(text: str, context: Context) -> Operand | None:
    try:
        return context.operand(text)
    except UndecodedError:
        return None


def keep_apart(producer: Instruction, consumer: Instruction, key: int, context: Context) -> bool:
    """Whether two instructions use one register's different halves."""
    written, used = halves_used(producer, key, context), halves_used(consumer, key, context)
    return bool(written) and bool(used) and not written & used
