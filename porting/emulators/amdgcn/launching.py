"""Where a launch's arguments lie, and what a wave's registers hold when it begins: the ABI of the HSA runtime.

Source: LLVM, "User Guide for AMDGPU Backend", initial kernel execution state.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.hazards import scalar_keys
from porting.emulators.amdgcn.operands import EXEC, M0, SCALARS, TRAP, VCC
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.targets import find_target
from porting.emulators.amdgcn.text import Program
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer, Launch

USER_REGISTERS = (
    ("user_sgpr_private_segment_buffer", 4),
    ("user_sgpr_dispatch_ptr", 2),
    ("user_sgpr_queue_ptr", 2),
    ("user_sgpr_kernarg_segment_ptr", 2),
)
"""In this order, those that the descriptor enables; the arguments' address is the last one that a kernel here uses."""
SPACING = 1 << 20
"""Between the last buffer and the arguments."""


UNKNOWN_HIDDEN = 0xFF
"""What hidden arguments hold that no kernel here may need: as an address it is out of bounds."""


@dataclass(frozen=True)
class Layout:
    """A launch's arguments in memory."""

    arguments: Buffer


def arrange(launch: Launch, program: Program) -> Layout:
    """Put the arguments where the metadata says, behind all buffers.

    Raises:
        Fault: their number or their sizes are others.
    """
    parameters = tuple(each for each in program.parameters if not each.kind.startswith("hidden"))
    if len(parameters) != len(launch.arguments):
        raise Fault(FaultKind.MISUSE, f"{len(launch.arguments)} arguments for {len(parameters)} parameters")
    content = np.full(program.argument_bytes, UNKNOWN_HIDDEN, np.uint8)
    _put_hidden(content, launch, program)
    for number, (parameter, argument) in enumerate(zip(parameters, launch.arguments, strict=True)):
        if len(argument) != parameter.size:
            detail = f"argument {number} has {len(argument)} bytes, its parameter {parameter.size}"
            raise Fault(FaultKind.MISUSE, detail)
        content[parameter.offset : parameter.offset + parameter.size] = np.frombuffer(argument, np.uint8)
    ends = [each.address + each.content.size for each in launch.buffers]
    address = (max(ends, default=0) // SPACING + 2) * SPACING
    return Layout(Buffer("arguments", address, content))


def _put_hidden(content: npt.NDArray[np.uint8], launch: Launch, program: Program) -> None:
    """Write the hidden arguments that say how the kernel was launched."""
    lanes = find_target(program.processor).lanes
    known = {"hidden_grid_dims": 3}
    for axis, name in enumerate("xyz"):
        known[f"hidden_block_count_{name}"] = launch.grid[axis]
        known[f"hidden_group_size_{name}"] = launch.warps * lanes if axis == 0 else 1
        known[f"hidden_remainder_{name}"] = 0
        known[f"hidden_global_offset_{name}"] = 0
    for parameter in program.parameters:
        if parameter.kind in known:
            value = known[parameter.kind].to_bytes(parameter.size, "little")
            content[parameter.offset : parameter.offset + parameter.size] = np.frombuffer(value, np.uint8)


def initialise(waves: Waves, program: Program, layout: Layout, ids: npt.NDArray[np.int64]) -> None:
    """Fill the registers that a wave begins with.

    ids: workgroup id (x, y, z) of each wave (waves, 3).
    """
    waves.undefined = set(range(len(waves.u32))) | scalar_keys(0, SCALARS)
    defined = scalar_keys(VCC, 2) | scalar_keys(EXEC, 2) | scalar_keys(M0, 1)
    lane = np.arange(waves.lanes, dtype=np.uint32)
    waves.u32[0][...] = waves.places.astype(np.uint32)[:, None] * np.uint32(waves.lanes) + lane
    defined.add(0)
    index = 0
    for name, count in USER_REGISTERS:
        if program.descriptor.get(name, 0):
            if name == "user_sgpr_kernarg_segment_ptr":
                waves.s64[index][...] = layout.arguments.address
                defined |= scalar_keys(index, 2)
            index += count
    index = max(index, program.descriptor.get("user_sgpr_count", index))
    defined |= _put_ids(waves, program, ids.astype(np.uint32), index)
    waves.undefined -= defined


def _put_ids(waves: Waves, program: Program, ids: npt.NDArray[np.uint32], index: int) -> set[int]:
    """Write the workgroup's ids; returns the keys of the registers that hold them."""
    if waves.target.workgroup_ids_in_trap_registers:
        waves.s32[TRAP + 9][...] = ids[:, 0]
        waves.s32[TRAP + 7][...] = ids[:, 1] | ids[:, 2] << np.uint32(16)
        waves.s32[TRAP + 8][...] = waves.places.astype(np.uint32) << np.uint32(25)
        # No cluster: its ids and sizes are zero (ttmp6 of gfx1250).
        waves.s32[TRAP + 6][...] = 0
        return scalar_keys(TRAP + 6, 4)
    defined = set()
    for axis, name in enumerate("xyz"):
        if program.descriptor.get(f"system_sgpr_workgroup_id_{name}", 0):
            waves.s32[index][...] = ids[:, axis]
            defined |= scalar_keys(index, 1)
            index += 1
    return defined
