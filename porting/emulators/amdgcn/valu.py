"""Decodes the elementwise vector instructions of the table, in every encoding, single and dual."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from porting.emulators.amdgcn.arithmetic import bitop3
from porting.emulators.amdgcn.dpp import (
    DPP_MODIFIERS,
    SDWA_MODIFIERS,
    Movement,
    merge_bits,
    read_movement,
    select_bits,
)
from porting.emulators.amdgcn.operands import VCC, Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.valu_table import FORMS, TABLE, Operation
from porting.emulators.amdgcn.values import (
    FLOATS,
    TYPES,
    Read,
    Write,
    bits_of,
    read_32,
    read_list,
    reader,
    with_sign,
    writer,
)

SUFFIXES = ("_e64_dpp", "_e32", "_e64", "_dpp", "_sdwa")
Compute = Callable[[Waves], Any]


def split_mnemonic(mnemonic: str) -> tuple[str, str]:
    """("v_add_f32_e64_dpp") -> ("v_add_f32", "_e64_dpp")."""
    for suffix in SUFFIXES:
        if mnemonic.endswith(suffix):
            return mnemonic.removesuffix(suffix), suffix
    return mnemonic, ""


def read_mask(operand: Operand) -> Read:
    """Reader of one bit a lane from a scalar register or pair."""
    if operand.kind != "scalar":
        raise UndecodedError(f"a lane mask in {operand.kind}")
    index = operand.index
    return lambda waves: waves.bits(index)


def source_operands(instruction: Instruction, context: Context, operation: Operation) -> list[Operand]:
    """The operands of the sources; VCC is meant where the text names no mask."""
    operands = context.operands(instruction)[1:]
    wanted = len([kind for kind in operation.sources if kind != "old"])
    if "mask" in operation.sources and len(operands) == wanted - 1:
        operands.append(Operand("scalar", VCC, context.target.lanes // 32))
    if len(operands) != wanted:
        raise UndecodedError(f"{len(operands)} sources of {wanted}")
    return operands


def make_readers(
    instruction: Instruction, context: Context, operation: Operation, selections: tuple[str, ...] = ()
) -> list[Read]:
    """One reader a source of the operation; selections: SDWA's, of the first sources."""
    operands = source_operands(instruction, context, operation)
    halves = read_list(instruction.modifiers["op_sel"]) if "op_sel" in instruction.modifiers else []
    readers, place = [], 0
    for kind in operation.sources:
        if kind == "old":
            readers.append(reader(context.operand(instruction.operands[0]), operation.result))
            continue
        if kind == "mask":
            readers.append(read_mask(operands[place]))
        elif place < len(selections):
            readers.append(selected(operands[place], kind, selections[place]))
        else:
            high = place < len(halves) and bool(halves[place])
            readers.append(reader(operands[place], kind, high))
        place += 1
    return readers


def call(function: Callable[..., Any], readers: list[Read]) -> Compute:
    """The function of what the readers give."""
    if len(readers) == 1:
        (first,) = readers
        return lambda waves: function(first(waves))
    if len(readers) == 2:
        first, second = readers
        return lambda waves: function(first(waves), second(waves))
    first, second, third = readers
    return lambda waves: function(first(waves), second(waves), third(waves))


def output_function(operation: Operation, modifiers: Mapping[str, str]) -> Callable[..., Any]:
    """The operation's function with omod (mul, div) and clamp applied to its result."""
    function = operation.function
    if "clamp" in modifiers and operation.saturated is not None:
        return operation.saturated
    for name, factor in (("mul", 1.0), ("div", -1.0)):
        if name in modifiers:
            scale = TYPES[operation.result](float(modifiers[name]) ** factor)
            function = _scaled(function, scale)
    if "clamp" in modifiers:
        if operation.result not in FLOATS:
            raise UndecodedError(f"clamp of a result of type {operation.result}")
        function = _clamped(function)
    return function


def _scaled(function: Callable[..., Any], scale: Any) -> Callable[..., Any]:
    return lambda *sources: function(*sources) * scale


def _clamped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Between 0 and 1; a NaN becomes 0 (DX10_CLAMP), and -0 becomes 0."""

    def clamped(*sources: Any) -> Any:
        value = np.asarray(function(*sources))
        return np.where(value > 0, np.minimum(value, value.dtype.type(1)), value.dtype.type(0))

    return clamped


def plain_step(instruction: Instruction, context: Context, operation: Operation) -> Step:
    """The encodings without lane movement or selection."""
    readers = make_readers(instruction, context, operation)
    destination = context.operand(instruction.operands[0])
    function = operation.function
    if not instruction.modifiers and isinstance(function, np.ufunc) and bits_of(operation.result) == 32:
        return ufunc_step(function, readers, destination, operation.result)
    function = output_function(operation, instruction.modifiers)
    halves = read_list(instruction.modifiers["op_sel"]) if "op_sel" in instruction.modifiers else []
    high = len(halves) > len(operation.sources) and bool(halves[-1])
    compute, write = call(function, readers), writer(destination, operation.result, context.target, high)
    return lambda waves: write(waves, compute(waves))


def ufunc_step(function: np.ufunc, readers: list[Read], destination: Operand, kind: str) -> Step:
    """numpy writes the result where it belongs by itself."""
    if destination.kind != "vector":
        raise UndecodedError(f"a result in {destination.kind}")
    row = destination.index
    name = kind if kind in ("f32", "i32") else "u32"
    if len(readers) == 1:
        (single,) = readers

        def one(waves: Waves) -> None:
            out = getattr(waves, name)[row]
            if waves.full:
                function(single(waves), out=out)
            else:
                function(single(waves), out=out, where=waves.mask)

        return one
    first, second = readers

    def two(waves: Waves) -> None:
        out = getattr(waves, name)[row]
        if waves.full:
            function(first(waves), second(waves), out=out)
        else:
            function(first(waves), second(waves), out=out, where=waves.mask)

    return two


def moved(read: Read, movement: Movement) -> Read:
    """What a lane reads from its source lane; zero where it has none."""

    def take(waves: Waves) -> Any:
        value = np.broadcast_to(read(waves), (waves.count, waves.lanes))
        return np.where(has_source(waves, movement), value[:, movement.source], value.dtype.type(0))

    return take


def has_source(waves: Waves, movement: Movement) -> Any:
    """Which lanes have a source (waves, lanes)."""
    if movement.fetches_inactive:
        return np.broadcast_to(movement.valid, (waves.count, waves.lanes))
    return movement.valid & waves.mask[:, movement.source]


def dpp_step(instruction: Instruction, context: Context, operation: Operation) -> Step:
    """The first source comes from another lane."""
    movement = read_movement(instruction, context.target.lanes)
    readers = make_readers(instruction, context, operation)
    readers[0] = moved(readers[0], movement)
    function = output_function(operation, instruction.modifiers)
    compute = call(function, readers)
    write = writer(context.operand(instruction.operands[0]), operation.result, context.target)

    def step(waves: Waves) -> None:
        value = compute(waves)
        where = waves.mask & movement.enabled
        if not movement.zero_fills:
            where = where & has_source(waves, movement)
        write_where(waves, where, write, value)

    return step


def write_where(waves: Waves, where: Any, write: Write, value: Any) -> None:
    """Write under a narrower mask than EXEC's."""
    mask, full = waves.mask, waves.full
    waves.mask, waves.full = where, False
    write(waves, value)
    waves.mask, waves.full = mask, full


def sdwa_step(instruction: Instruction, context: Context, operation: Operation) -> Step:
    """Bytes and words of the sources and of the destination are selected."""
    modifiers = instruction.modifiers
    selections = tuple(modifiers.get(f"src{place}_sel", "DWORD") for place in range(2))
    readers = make_readers(instruction, context, operation, selections)
    function = output_function(operation, modifiers)
    compute, row = call(function, readers), context.operand(instruction.operands[0]).index
    selection, unused = modifiers.get("dst_sel", "DWORD"), modifiers.get("dst_unused", "UNUSED_PRESERVE")
    if bits_of(operation.result) == 64:
        raise UndecodedError("SDWA with a 64-bit result")

    def step(waves: Waves) -> None:
        value = np.asarray(compute(waves))
        narrow = value.dtype.itemsize == 2
        words = value.view(np.uint16).astype(np.uint32) if narrow else value.view(np.uint32)
        waves.put(row, merge_bits(words, waves.u32[row], selection, unused))

    return step


def selected(operand: Operand, kind: str, selection: str) -> Read:
    """Reader of a selected part of an operand, with its sign modifiers."""
    if selection == "DWORD":
        return reader(replace(operand, extended=False), kind)
    words, dtype, extended = read_32(operand, "u32"), TYPES[kind], operand.extended
    return with_sign(
        lambda waves: select_bits(words(waves), selection, kind, dtype, extended),
        operand.negated,
        operand.absolute,
        kind,
    )


def decode_elementwise(instruction: Instruction, context: Context) -> Step:
    """Decode one instruction of the table."""
    name, suffix = split_mnemonic(instruction.mnemonic)
    operation = TABLE[name]
    if suffix.endswith("dpp"):
        return dpp_step(instruction, context, operation)
    if suffix == "_sdwa":
        return sdwa_step(instruction, context, operation)
    return plain_step(instruction, context, operation)


def modifiers_of(operation: Operation, suffix: str) -> str:
    """What an encoding may be modified by."""
    floating = operation.result in FLOATS
    output = "clamp mul div" if floating else "clamp" if operation.saturated is not None else ""
    if suffix == "_e32":
        output = ""
    halves = "op_sel" if suffix in ("", "_e64") and 16 in (bits_of(kind) for kind in _kinds(operation)) else ""
    encoding = {"_dpp": DPP_MODIFIERS, "_e64_dpp": DPP_MODIFIERS, "_sdwa": SDWA_MODIFIERS}.get(suffix, "")
    return f"{output} {halves} {encoding}"


def _kinds(operation: Operation) -> tuple[str, ...]:
    return (operation.result, *operation.sources)


for _name, _operation in TABLE.items():
    for _suffix in FORMS[_name]:
        register(_name + _suffix, modifiers_of(_operation, _suffix))(decode_elementwise)

DUAL = (
    *("fmac_f32", "fmaak_f32", "fmamk_f32", "mul_f32", "add_f32", "sub_f32", "subrev_f32", "mov_b32", "cndmask_b32"),
    *("max_f32", "max_num_f32", "min_f32", "min_num_f32", "add_nc_u32", "sub_nc_u32", "lshlrev_b32", "lshrrev_b32"),
    *("ashrrev_i32", "and_b32", "fma_f32", "max_i32", "min_i32"),
)


def half_compute(half: Instruction, context: Context) -> Compute:
    """What one half of a dual instruction computes."""
    name = "v_" + half.mnemonic.removeprefix("v_dual_")
    if name != "v_bitop2_b32" and "bitop3" in half.modifiers:
        raise UndecodedError(f"bitop3 of {half.mnemonic}")
    if name != "v_bitop2_b32":
        return call(TABLE[name].function, make_readers(half, context, TABLE[name]))
    table, nothing = int(half.modifiers["bitop3"], 0), np.zeros((), np.uint32)
    first, second = (reader(operand, "u32") for operand in context.operands(half)[1:])
    return lambda waves: bitop3(first(waves), second(waves), nothing, table)


@register([f"v_dual_{name}" for name in (*DUAL, "bitop2_b32")], "bitop3")
def decode_dual(instruction: Instruction, context: Context) -> Step:
    """Two operations of which neither sees the other's result."""
    second = instruction.second
    if second is None or not second.mnemonic.startswith("v_dual_"):
        raise UndecodedError("a dual instruction without its second half")
    first = half_compute(replace(instruction, modifiers=own_modifiers(instruction)), context)
    other = half_compute(second, context)
    row, other_row = (context.operand(half.operands[0]).index for half in (instruction, second))

    def step(waves: Waves) -> None:
        value = np.array(first(waves))
        waves.put(other_row, other(waves))
        waves.put(row, value)

    return step


def own_modifiers(instruction: Instruction) -> dict[str, str]:
    """Of a dual instruction's first half: the whole has those of both."""
    first = instruction.text.partition(" :: ")[0]
    return {name: value for name, value in instruction.modifiers.items() if f" {name}:" in first}


@register("v_bitop2_b32 v_bitop3_b32 v_bitop3_b16 v_bitop2_b32_e64 v_bitop3_b32_e64", "bitop3 op_sel")
def decode_bitop(instruction: Instruction, context: Context) -> Step:
    """Any function of three bits, by its truth table."""
    table = int(instruction.modifiers.get("bitop3", "0"), 0)
    kind = "u16" if instruction.mnemonic.endswith("b16") else "u32"
    halves = read_list(instruction.modifiers.get("op_sel", "[0,0,0,0]"))
    if kind == "u32" and any(halves):
        raise UndecodedError("op_sel of 32-bit operands")
    operands = context.operands(instruction)
    readers = [reader(operand, kind, bool(halves[place])) for place, operand in enumerate(operands[1:])]
    if len(readers) == 2:
        nothing = TYPES[kind](0)
        readers.append(lambda waves: nothing)
    write = writer(operands[0], kind, context.target, bool(halves[-1]))
    first, second, third = readers
    return lambda waves: write(waves, bitop3(first(waves), second(waves), third(waves), table))
