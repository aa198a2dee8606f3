"""Decodes atomic operations on global memory and on LDS: lanes act one after the other, in their order.

Source: CDNA3 and RDNA4 instruction set documents, global, buffer and LDS atomics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.addressing import Bounded, buffer_address, global_address, local_address, offset_of
from porting.emulators.amdgcn.arithmetic import bfloat_to_float, float_to_bfloat, maximum, minimum
from porting.emulators.amdgcn.operands import Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Selection, Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.transfers import CACHE, Width, everywhere, narrowed, put_loaded

Array = npt.NDArray[Any]
Modify = Callable[[Array, Array], Array]
"""(what memory holds, the lane's data) -> what memory then holds, as numbers of the operation's type."""


@dataclass(frozen=True)
class Atomic:
    """One atomic operation."""

    size: int
    dtype: Any
    modify: Modify
    compares: bool = False
    """The data is (new value, what memory must hold), in that order of registers."""


def _packed_half(old: Array, data: Array) -> Array:
    halves: Array = old.view(np.float16) + data.view(np.float16)
    return halves.view(np.uint32)


def _packed_brain(old: Array, data: Array) -> Array:
    total = bfloat_to_float(old.view(np.uint16)) + bfloat_to_float(data.view(np.uint16))
    return float_to_bfloat(total).view(np.uint32)


def _replace(old: Array, data: Array) -> Array:
    return data


WHOLE: dict[str, tuple[str, Modify]] = {
    "add": ("u", np.add),
    "sub": ("u", np.subtract),
    "min_i": ("i", np.minimum),
    "max_i": ("i", np.maximum),
    "min_u": ("u", np.minimum),
    "max_u": ("u", np.maximum),
    "and": ("u", np.bitwise_and),
    "or": ("u", np.bitwise_or),
    "xor": ("u", np.bitwise_xor),
    "swap": ("u", _replace),
}
OLD_NAMES = {"min_i": "smin", "max_i": "smax", "min_u": "umin", "max_u": "umax"}
KINDS = {("u", 4): np.uint32, ("i", 4): np.int32, ("u", 8): np.uint64, ("i", 8): np.int64}
GLOBAL: dict[str, Atomic] = {}
LOCAL: dict[str, Atomic] = {}


def _fill() -> None:
    """gfx9 names 64-bit operations with _x2; gfx12 every operation with its type."""
    for name, (kind, modify) in WHOLE.items():
        for size, suffix, bits in ((4, "", 32), (8, "_x2", 64)):
            atomic = Atomic(size, KINDS[kind, size], modify)
            GLOBAL[OLD_NAMES.get(name, name) + suffix] = atomic
            typed = name + str(bits) if name[-2] == "_" else f"{name}_{'b' if name in BITS else 'u'}{bits}"
            GLOBAL[typed] = atomic
            LOCAL[typed] = atomic
    for size, suffix, bits in ((4, "", 32), (8, "_x2", 64)):
        compare = Atomic(size, KINDS["u", size], _replace, compares=True)
        GLOBAL["cmpswap" + suffix] = GLOBAL[f"cmpswap_b{bits}"] = compare
    floats: dict[str, Atomic] = {
        "add_f32": Atomic(4, np.float32, np.add),
        "add_f64": Atomic(8, np.float64, np.add),
        "pk_add_f16": Atomic(4, np.uint32, _packed_half),
        "pk_add_bf16": Atomic(4, np.uint32, _packed_brain),
        "min_num_f32": Atomic(4, np.float32, minimum),
        "max_num_f32": Atomic(4, np.float32, maximum),
    }
    GLOBAL.update(floats)
    LOCAL.update(floats)


BITS = ("and", "or", "xor", "swap")
_fill()


def carry_out(
    atomic: Atomic, read: Callable[[Array], Array], write: Callable[[Array, Array], None], at: Array, data: Array
) -> Array:
    """Act lane by lane where addresses meet, together where they do not.

    Args:
        atomic: the operation.
        read: offsets -> words (words, lanes).
        write: offsets and words -> nothing.
        at: offset of each lane (lanes,).
        data: words of each lane (words, lanes).

    Returns:
        What memory held before each lane acted (words, lanes).
    """
    words = atomic.size // 4
    before = np.zeros((words, len(at)), np.uint32)
    waiting = np.arange(len(at))
    while waiting.size:
        _, first = np.unique(at[waiting], return_index=True)
        now = waiting[np.sort(first)]
        old = read(at[now])
        before[:, now] = old
        numbers = as_numbers(old, atomic)
        new = atomic.modify(numbers, as_numbers(data[:words, now], atomic))
        if atomic.compares:
            new = np.where(numbers == as_numbers(data[words:, now], atomic), new, numbers)
        write(at[now], as_words(np.asarray(new), words))
        waiting = np.setdiff1d(waiting, now, assume_unique=True)
    return before


def as_numbers(words: Array, atomic: Atomic) -> Array:
    """(words, lanes) -> (lanes,) of the operation's type."""
    result: Array = np.ascontiguousarray(words.T).view(atomic.dtype)[:, 0]
    return result


def as_words(numbers: Array, words: int) -> Array:
    """(lanes,) -> (words, lanes)."""
    result: Array = np.ascontiguousarray(numbers).view(np.uint32).reshape(-1, words).T
    return result


def take_data(waves: Waves, operands: tuple[Operand, ...]) -> Array:
    """The registers of the data (words, waves, lanes), as they are now."""
    return np.concatenate([waves.block(operand.index, operand.count) for operand in operands])


def global_step(
    instruction: Instruction,
    context: Context,
    atomic: Atomic,
    address: Bounded,
    data: Operand,
    destination: Operand | None,
) -> Step:
    """An atomic operation on global memory; destination: of what was there before."""
    if data.kind != "vector" or data.count != atomic.size // 4 * (1 + atomic.compares):
        raise UndecodedError(f"data of {data.count} registers")
    counter = context.target.store_counter if destination is None else context.target.load_counter
    width, keys = Width(atomic.size), () if destination is None else destination.keys

    def step(waves: Waves) -> None:
        addresses, inside = address(waves)
        mask, words = waves.mask, take_data(waves, (data,))

        def act(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            reached = lanes & inside
            before = np.zeros((width.registers, *mask.shape), np.uint32)
            if reached.any():
                memory = waves.memory
                read: Callable[[Array], Array] = lambda at: memory.read(at, None, atomic.size)  # noqa: E731
                write: Callable[[Array, Array], None] = lambda at, new: memory.write(at, None, new, atomic.size)  # noqa: E731
                before[:, reached] = carry_out(atomic, read, write, addresses[reached], words[:, reached])
            waves.count_bytes("global", atomic.size, reached, written=False)
            waves.count_bytes("global", atomic.size, reached, written=True)
            if destination is not None:
                put_loaded(waves, destination.index, before, lanes, width)

        waves.defer(counter, act, instruction, keys)

    return step


def returns(instruction: Instruction) -> bool:
    """Whether the instruction gives back what was there: sc0 of gfx9, th of gfx12."""
    th = instruction.modifiers.get("th", "TH_ATOMIC_RT")
    return "sc0" in instruction.modifiers or "glc" in instruction.modifiers or "RETURN" in th


@register([f"global_atomic_{name}" for name in GLOBAL], f"offset scale_offset {CACHE}")
def decode_global(instruction: Instruction, context: Context) -> Step:
    """On global memory."""
    atomic = GLOBAL[instruction.mnemonic.removeprefix("global_atomic_")]
    operands = context.operands(instruction)
    if len(operands) != 3 + returns(instruction):
        raise UndecodedError(f"{len(operands)} operands of an atomic operation")
    vector, data, scalar = operands[-3:]
    address = everywhere(global_address(vector, scalar, instruction, context, atomic.size))
    return global_step(instruction, context, atomic, address, data, operands[0] if len(operands) == 4 else None)


@register([f"buffer_atomic_{name}" for name in GLOBAL], f"offset offen {CACHE}")
def decode_buffer(instruction: Instruction, context: Context) -> Step:
    """Through a descriptor: what was there before replaces the data."""
    atomic = GLOBAL[instruction.mnemonic.removeprefix("buffer_atomic_")]
    data, vector, descriptor, scalar = context.operands(instruction)
    address = buffer_address(vector, descriptor, scalar, instruction, context, atomic.size)
    before = Operand("vector", data.index, atomic.size // 4) if returns(instruction) else None
    return global_step(instruction, context, atomic, address, data, before)


def local_names() -> dict[str, tuple[Atomic, bool]]:
    """Mnemonic -> (operation, whether it gives back what was there)."""
    found: dict[str, tuple[Atomic, bool]] = {}
    for name, atomic in LOCAL.items():
        plain, _, kind = name.rpartition("_")
        if plain == "swap":
            found[f"ds_storexchg_rtn_{kind}"] = found[f"ds_wrxchg_rtn_{kind}"] = (atomic, True)
            continue
        bits = kind if plain not in BITS else kind.replace("u", "b")
        found[f"ds_{plain}_{bits}"] = (atomic, False)
        found[f"ds_{plain}_rtn_{bits}"] = (atomic, True)
    for size, width in ((4, 32), (8, 64)):
        compare = Atomic(size, KINDS["u", size], _replace, compares=True)
        for name in ("cmpstore", "cmpst"):
            found[f"ds_{name}_b{width}"] = (compare, False)
            found[f"ds_{name}_rtn_b{width}"] = (compare, True)
    return found


LOCAL_NAMES = local_names()


@register(LOCAL_NAMES, "offset")
def decode_local(instruction: Instruction, context: Context) -> Step:
    """On LDS."""
    atomic, gives_back = LOCAL_NAMES[instruction.mnemonic]
    operands = context.operands(instruction)
    destination = operands.pop(0) if gives_back else None
    where, *data = operands
    if instruction.mnemonic.startswith("ds_cmpst_"):
        # gfx9 writes what memory must hold before the new value.
        data.reverse()
    if len(data) != 1 + atomic.compares:
        raise UndecodedError(f"{len(data)} data operands of an atomic operation")
    address, width = local_address(where, offset_of(instruction)), Width(atomic.size)
    keys = () if destination is None else destination.keys
    counter = context.target.local_counter

    def step(waves: Waves) -> None:
        addresses, mask, words = address(waves), waves.mask, take_data(waves, tuple(data))

        def act(selection: Selection) -> None:
            lanes = narrowed(mask, selection)
            before = np.zeros((width.registers, *mask.shape), np.uint32)
            if lanes.any():
                places = np.nonzero(lanes)[0]
                at = waves.local.act_on(addresses[lanes], atomic.size, waves.groups[places], waves.places[places])
                content = waves.local.bytes
                read: Callable[[Array], Array] = lambda at: content.read(at, atomic.size)  # noqa: E731
                write: Callable[[Array, Array], None] = lambda at, new: content.write(at, new, atomic.size)  # noqa: E731
                before[:, lanes] = carry_out(atomic, read, write, at, words[:, lanes])
            waves.count_bytes("shared", atomic.size, lanes, written=False)
            waves.count_bytes("shared", atomic.size, lanes, written=True)
            if destination is not None:
                put_loaded(waves, destination.index, before, lanes, width)

        waves.defer(counter, act, instruction, keys)

    return step
