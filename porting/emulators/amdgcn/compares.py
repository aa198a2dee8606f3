"""Decodes the vector comparisons: one bit a lane into VCC, a scalar register or EXEC. Inactive lanes get 0."""

from typing import Any

import numpy as np

from porting.emulators.amdgcn.dpp import DPP_MODIFIERS, SDWA_MODIFIERS, read_movement
from porting.emulators.amdgcn.operands import EXEC, VCC, Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.valu import has_source, moved, selected, split_mnemonic
from porting.emulators.amdgcn.values import read_list, reader

WHOLE: dict[str, Any] = {
    "lt": np.less,
    "eq": np.equal,
    "le": np.less_equal,
    "gt": np.greater,
    "ne": np.not_equal,
    "ge": np.greater_equal,
}
FLOATING: dict[str, Any] = {
    "lt": np.less,
    "eq": np.equal,
    "le": np.less_equal,
    "gt": np.greater,
    "lg": lambda a, b: (a < b) | (a > b),
    "ge": np.greater_equal,
    "o": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "u": lambda a, b: np.isnan(a) | np.isnan(b),
    "nge": lambda a, b: ~(a >= b),
    "nlg": lambda a, b: ~((a < b) | (a > b)),
    "ngt": lambda a, b: ~(a > b),
    "nle": lambda a, b: ~(a <= b),
    "neq": np.not_equal,
    "nlt": lambda a, b: ~(a < b),
}
NAMES = [
    f"v_cmp{x}_{name}_{kind}"
    for x in ("", "x")
    for table, kinds in ((WHOLE, ("u16", "i16", "u32", "i32", "u64", "i64")), (FLOATING, ("f16", "f32", "f64")))
    for name in table
    for kind in kinds
]


def mask_destination(operand: Operand) -> int:
    """The scalar register or pair that takes one bit a lane."""
    if operand.kind != "scalar":
        raise UndecodedError(f"a lane mask in {operand.kind}")
    return operand.index


def make_compare(instruction: Instruction, context: Context, sdwa: bool) -> Step:
    """The comparison of the last two operands into the first one, or into EXEC."""
    mnemonic = split_mnemonic(instruction.mnemonic)[0]
    _, form, name, kind = mnemonic.split("_")
    operands = context.operands(instruction)
    destination = EXEC if form == "cmpx" else VCC
    if len(operands) == 3:
        destination = mask_destination(operands[0])
    elif len(operands) != 2:
        raise UndecodedError(f"{len(operands)} operands of a comparison")
    compare = (WHOLE if name in WHOLE and kind[0] != "f" else FLOATING)[name]
    halves = read_list(instruction.modifiers.get("op_sel", "[0,0]"))
    first, second = operands[-2:]
    if sdwa:
        a = selected(first, kind, instruction.modifiers.get("src0_sel", "DWORD"))
        b = selected(second, kind, instruction.modifiers.get("src1_sel", "DWORD"))
    else:
        a, b = reader(first, kind, bool(halves[0])), reader(second, kind, bool(halves[1]))
    also_exec = form == "cmpx" and len(operands) == 3 and destination != EXEC

    def step(waves: Waves) -> None:
        lanes = np.logical_and(compare(a(waves), b(waves)), waves.mask)
        waves.put_bits(destination, lanes)
        if also_exec:
            waves.put_bits(EXEC, lanes)

    return step


@register([name + suffix for name in NAMES for suffix in ("_e32", "_e64")], "op_sel")
def decode_compare(instruction: Instruction, context: Context) -> Step:
    """Compare whole operands, or halves of 16 bits."""
    return make_compare(instruction, context, sdwa=False)


@register([f"{name}_sdwa" for name in NAMES], SDWA_MODIFIERS)
def decode_selected_compare(instruction: Instruction, context: Context) -> Step:
    """Compare selected bytes or words."""
    return make_compare(instruction, context, sdwa=True)


@register([name + suffix for name in NAMES for suffix in ("_dpp", "_e64_dpp")], DPP_MODIFIERS)
def decode_moved_compare(instruction: Instruction, context: Context) -> Step:
    """Compare what another lane holds; a lane without a source that is not filled with zero gets 0."""
    mnemonic = split_mnemonic(instruction.mnemonic)[0]
    _, form, name, kind = mnemonic.split("_")
    operands = context.operands(instruction)
    destination = EXEC if form == "cmpx" else VCC
    if len(operands) == 3:
        destination = mask_destination(operands[0])
    elif len(operands) != 2:
        raise UndecodedError(f"{len(operands)} operands of a comparison")
    compare = (WHOLE if name in WHOLE and kind[0] != "f" else FLOATING)[name]
    movement = read_movement(instruction, context.target.lanes)
    a, b = moved(reader(operands[-2], kind), movement), reader(operands[-1], kind)

    def step(waves: Waves) -> None:
        where = waves.mask & movement.enabled
        if not movement.zero_fills:
            where = where & has_source(waves, movement)
        waves.put_bits(destination, np.logical_and(compare(a(waves), b(waves)), where))

    return step


@register("v_cmp_class_f32_e64 v_cmp_class_f32_e32")
def decode_class(instruction: Instruction, context: Context) -> Step:
    """Whether a float is of one of the classes that a mask names."""
    destination, value, classes = context.operands(instruction)
    index, a, b = mask_destination(destination), reader(value, "f32"), reader(classes, "u32")

    def step(waves: Waves) -> None:
        number = np.broadcast_to(a(waves), (waves.count, waves.lanes))
        wanted = np.broadcast_to(b(waves), number.shape)
        waves.put_bits(index, (((wanted >> classify(number)) & np.uint32(1)) != 0) & waves.mask)

    return step


def classify(value: Any) -> Any:
    """The bit of each float's class: sNaN, qNaN, -inf, -normal, -denormal, -0, 0, denormal, normal, inf."""
    bits = np.asarray(value).view(np.uint32)
    size = np.abs(value)
    quiet = (bits >> np.uint32(22)) & np.uint32(1)
    cases = [np.isnan(value), np.isinf(value), size >= np.float32(2.0**-126), size > 0]
    kinds = np.select(cases, [np.uint32(0), np.uint32(4), np.uint32(3), np.uint32(2)], np.uint32(1))
    signed = np.where(np.signbit(value), np.uint32(6) - kinds, np.uint32(5) + kinds)
    return np.where(np.isnan(value), quiet, signed).astype(np.uint32)
