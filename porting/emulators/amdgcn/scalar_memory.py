"""Decodes scalar loads: memory to scalar registers, in no particular order."""

import numpy as np

from porting.emulators.amdgcn.addressing import offset_of
from porting.emulators.amdgcn.operands import EXEC, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.salu import read_scalar
from porting.emulators.amdgcn.state import Selection, Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.transfers import CACHE

REGISTERS = {
    **{"dword": 1, "dwordx2": 2, "dwordx4": 4, "dwordx8": 8, "dwordx16": 16},
    **{"b32": 1, "b64": 2, "b96": 3, "b128": 4, "b256": 8, "b512": 16},
}


@register([f"s_load_{name}" for name in REGISTERS], f"offset scale_offset {CACHE}")
def decode_scalar_load(instruction: Instruction, context: Context) -> Step:
    """Consecutive words from base + offset, whose lowest two bits are ignored."""
    count = REGISTERS[instruction.mnemonic.removeprefix("s_load_")]
    destination, base, *offsets = context.operands(instruction)
    if len(offsets) > 1 or destination.kind != "scalar":
        raise UndecodedError("a scalar load of another form")
    scale = 4 * count if "scale_offset" in instruction.modifiers else 1
    if destination.index + count > EXEC:
        raise UndecodedError("a scalar load into EXEC")
    read_base, read_offset = read_scalar(base, "i64"), None
    immediate = offset_of(instruction)
    if offsets and offsets[0].kind == "literal":
        immediate += int(offsets[0].value)
    elif offsets and offsets[0].kind == "scalar":
        read_offset = read_scalar(offsets[0], "u32")
    first, counter = destination.index, context.target.scalar_counter

    def step(waves: Waves) -> None:
        addresses = read_base(waves) + immediate
        if read_offset is not None:
            addresses = addresses + read_offset(waves).astype(np.int64) * scale
        addresses, active = addresses & ~3, waves.active

        def carry_out(selection: Selection) -> None:
            chosen = np.ones(waves.count, np.bool_) if active is None else active
            if selection is not None:
                chosen = chosen & selection
            words = waves.memory.read(addresses, chosen, 4 * count)
            for place in range(count):
                np.copyto(waves.s32[first + place], words[place], where=chosen)

        waves.defer(counter, carry_out, instruction, [-1 - first - place for place in range(count)], ordered=False)

    return step
