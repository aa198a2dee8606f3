"""mma.sync: a warp multiplies small matrices that lie spread over its registers.

Semantics: PTX ISA 9, "Matrix Fragments for mma.m16n8k...". Products are exact and their sum is taken in float64, then
rounded once to the accumulator's type: the order and the truncation of the hardware's own sum are not specified.
"""

from functools import cache

import ml_dtypes
import numpy as np
import numpy.typing as npt

from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.convert import DECODED
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.matrix import expect_whole
from porting.emulators.ptx.numbers import narrowed
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.transfers import elements_of
from porting.emulators.ptx.types import Row

Places = npt.NDArray[np.int64]

_SHAPES = {
    **{(kind, k): 16 for kind in ("f16", "bf16") for k in (8, 16)},
    **{("tf32", k): 32 for k in (4, 8)},
    **{(kind, k): 8 for kind in ("e4m3", "e5m2", "s8", "u8") for k in (16, 32)},
}
"""Type of the factors and K -> bits of one element; M is 16 and N is 8."""


@cache
def fragment_a(k: int, bits: int) -> Places:
    """Where A's elements lie: (16, k) -> place in a warp's registers, lane by lane: (lane, register, element)."""
    per, registers = 32 // bits, 16 * k * bits // (32 * 32)
    row, column = np.arange(16)[:, None], np.arange(k)[None]
    lane = (row % 8) * 4 + column % (4 * per) // per
    register = row // 8 + 2 * (column // (4 * per))
    return (lane * registers + register) * per + column % per


@cache
def fragment_b(k: int, bits: int) -> Places:
    """Where B's elements lie: (k, 8), as `fragment_a`."""
    per, registers = 32 // bits, 8 * k * bits // (32 * 32)
    row, column = np.arange(k)[:, None], np.arange(8)[None]
    lane = column * 4 + row % (4 * per) // per
    return (lane * registers + row // (4 * per)) * per + row % per


@cache
def fragment_c(bits: int) -> Places:
    """Where C's and D's elements lie: (16, 8), as `fragment_a`."""
    row, column = np.arange(16)[:, None], np.arange(8)[None]
    lane, element = (row % 8) * 4 + column // 2, column % 2 + 2 * (row // 8)
    per = 32 // bits
    return lane * 4 + element if per == 1 else (lane * 2 + element // per) * per + element % per


def values_of(registers: npt.NDArray[np.uint32], kind: str) -> npt.NDArray[np.float64]:
    """Registers as numbers, one more axis for the elements of each; tf32 ignores the low 13 bits."""
    if kind == "tf32":
        return (registers & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)[..., None]
    if kind == "e2m1":  # two in a byte, the first in its low half
        octets = registers.view(np.uint8)
        nibbles = np.stack([octets & 15, octets >> 4], axis=-1)
        return DECODED[kind][nibbles].astype(np.float64).reshape(*registers.shape, -1)
    if kind in DECODED:
        return DECODED[kind][registers.view(np.uint8)].astype(np.float64).reshape(*registers.shape, -1)
    dtype = {
        "f16": np.dtype(np.float16),
        "bf16": np.dtype(ml_dtypes.bfloat16),
        "s8": np.dtype(np.int8),
        "u8": np.dtype(np.uint8),
        "f32": np.dtype(np.float32),
        "s32": np.dtype(np.int32),
    }[kind]
    numbers: npt.NDArray[np.float64] = registers.view(dtype).astype(np.float64)
    return numbers.reshape(*registers.shape, -1)


class Fragment:
    """Registers that hold one matrix, read as numbers.

    Args:
        names: of the registers.
        places: (rows, columns), from `fragment_a` and its like.
    """

    def __init__(self, machine: Machine, names: tuple[str, ...], kind: str, places: Places) -> None:
        self.kind, self.places = kind, places
        self.rows = [machine.source(name, "b32") for name in names]

    def read(self, active: Active) -> npt.NDArray[np.float64]:
        """(active warps, rows, columns)."""
        registers = np.empty((active.count, len(self.rows)), np.uint32)
        for place, row in enumerate(self.rows):
            registers[:, place] = row if active.full else row[active.index]
        warps = active.count // WARP
        return values_of(registers, self.kind).reshape(warps, -1)[:, self.places]


def accumulate(product: npt.NDArray[np.float64], kind: str, saturate: bool = False) -> Row:
    """The sums as the accumulator's type: floats rounded once, integers wrapped or held within 32 bits."""
    if kind != "s32":
        return narrowed(product, kind)
    if saturate:
        product = np.clip(product, -(2.0**31), 2.0**31 - 1)
    return product.astype(np.int64).astype(np.int32)


def store_accumulator(outs: list[Row], active: Active, values: Row, places: Places) -> None:
    """Spread (active warps, 16, 8) over the registers again."""
    warps = len(values)
    flat = np.empty((warps, places.size), values.dtype)
    flat[:, places] = values
    registers = flat.reshape(warps * WARP, -1).view(np.uint32)
    for place, out in enumerate(outs):
        if active.full:
            out[:] = registers[:, place]
        else:
            out[active.index] = registers[:, place]


def _decode(one: Instruction, machine: Machine, kinds: tuple[str, str, str, str], k: int, saturate: bool) -> Step:
    kind_d, kind_a, kind_b, kind_c = kinds
    names = [elements_of(operand) for operand in one.operands]
    bits = _SHAPES[kind_a, k]
    first = Fragment(machine, names[1], kind_a, fragment_a(k, bits))
    second = Fragment(machine, names[2], kind_b, fragment_b(k, bits))
    addend = Fragment(machine, names[3], kind_c, fragment_c(16 if kind_c == "f16" else 32))
    outs = [machine.destination(name, "b32") for name in names[0]]
    places = fragment_c(16 if kind_d == "f16" else 32)

    def step(active: Active) -> None:
        expect_whole(active)
        product = first.read(active) @ second.read(active) + addend.read(active)
        store_accumulator(outs, active, accumulate(product, kind_d, saturate), places)

    return step


def _enter(kinds: tuple[str, str, str, str], k: int, modifier: str = "") -> None:
    mnemonic = f"mma.sync.aligned.m16n8k{k}.row.col{modifier}.{'.'.join(kinds)}"
    instruction(mnemonic)(lambda one, machine: _decode(one, machine, kinds, k, bool(modifier)))


for _k in (8, 16):
    _enter(("f32", "f16", "f16", "f32"), _k)
    _enter(("f16", "f16", "f16", "f16"), _k)
    _enter(("f32", "bf16", "bf16", "f32"), _k)
for _k in (4, 8):
    _enter(("f32", "tf32", "tf32", "f32"), _k)
for _k in (16, 32):
    for _a in ("s8", "u8"):
        for _b in ("s8", "u8"):
            for _modifier in ("", ".satfinite"):
                _enter(("s32", _a, _b, "s32"), _k, _modifier)
    for _a in ("e4m3", "e5m2"):
        for _b in ("e4m3", "e5m2"):
            for _d in ("f32", "f16"):
                _enter((_d, _a, _b, _d), _k)
