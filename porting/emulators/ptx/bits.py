"""Logic, shifts and single bits: and, or, xor, not, cnot, lop3, shl, shr, shf, bfe, bfi, bfind, prmt, clz, popc, brev.

Semantics: PTX ISA 9, "Logic and Shift Instructions" and, of the integer instructions, those on bits.
"""

import numpy as np

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.elementwise import computed, expect_operands, in_place
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.types import UNSIGNED, Row


def shift_left(row: Row, amount: Row) -> Row:
    """By amount bits; nothing is left from the width on."""
    return np.left_shift(row, _clamped(amount, row))


def shift_right(row: Row, amount: Row) -> Row:
    """By amount bits, filled with the sign if signed; from the width on, only the filling is left."""
    return np.right_shift(row, _clamped(amount, row))


def _clamped(amount: Row, row: Row) -> Row:
    # Numpy shifts by the width or more as PTX does, but the amount must first fit the row's type.
    return np.minimum(amount, 8 * row.dtype.itemsize).astype(row.dtype)


def extract(row: Row, position: Row, length: Row) -> Row:
    """The field of `length` bits from `position` on, its sign extended if the row is signed."""
    width = 8 * row.dtype.itemsize
    bits = row.view(UNSIGNED[row.dtype.itemsize])
    start, count = (position & 0xFF).astype(np.int64), (length & 0xFF).astype(np.int64)
    inside = np.clip(width - start, 0, count)
    mask = shift_left(np.ones_like(bits), inside) - bits.dtype.type(1)
    field: Row = shift_right(bits, start) & mask
    if row.dtype.kind == "i":
        last = np.minimum(start + count - 1, width - 1)
        negative = (shift_right(bits, np.maximum(last, 0)) & 1 == 1) & (count > 0)
        field = np.where(negative, field | ~mask, field)
    return field.view(row.dtype)


def insert(field: Row, row: Row, position: Row, length: Row) -> Row:
    """The row with the field's low `length` bits at `position`; what would lie beyond is dropped."""
    start, count = (position & 0xFF).astype(np.int64), (length & 0xFF).astype(np.int64)
    mask = shift_left(shift_left(np.ones_like(row), count) - row.dtype.type(1), start)
    return (row & ~mask) | (shift_left(field, start) & mask)


def leading_zeros(row: Row) -> Row:
    """Zeros above the highest one: (n,) uint32."""
    width = 8 * row.dtype.itemsize
    filled = row
    for step in (1, 2, 4, 8, 16, 32)[: width.bit_length() - 1]:
        filled = filled | filled >> row.dtype.type(step)
    return (width - np.bitwise_count(filled)).astype(np.uint32)


def reversed_bits(row: Row) -> Row:
    """The lowest bit first."""
    octets = np.ascontiguousarray(row).view(np.uint8).reshape(-1, row.dtype.itemsize)
    bits = np.unpackbits(octets, axis=1, bitorder="little")[:, ::-1]
    return np.packbits(bits, axis=1, bitorder="little").view(row.dtype).ravel()


def highest_bit(row: Row) -> Row:
    """The place of the highest bit that differs from the sign; all ones where there is none: (n,) uint32."""
    bits = row.view(UNSIGNED[row.dtype.itemsize])
    if row.dtype.kind == "i":
        bits = np.where(row < 0, ~bits, bits)
    return (8 * row.dtype.itemsize - 1 - leading_zeros(bits).astype(np.int64)).astype(np.uint32)


def logic(first: Row, second: Row, third: Row, table: int) -> Row:
    """Bit by bit, what the table of eight says: bit (4 a + 2 b + c) of it."""
    result = np.zeros_like(first)
    for place in range(8):
        if table >> place & 1:
            term = first if place & 4 else ~first
            term = term & (second if place & 2 else ~second)
            result |= term & (third if place & 1 else ~third)
    return result


def permute(first: Row, second: Row, selector: Row) -> Row:
    """Four bytes chosen among the eight of both; a selector of 8 or more repeats the byte's sign."""
    both = np.empty((len(first), 8), np.uint8)
    both[:, :4] = np.ascontiguousarray(first).view(np.uint8).reshape(-1, 4)
    both[:, 4:] = np.ascontiguousarray(second).view(np.uint8).reshape(-1, 4)
    nibbles = selector[:, None] >> np.array([0, 4, 8, 12], np.uint32)
    chosen = np.take_along_axis(both, (nibbles & 7).astype(np.int64), axis=1)
    signs = np.where(chosen & 0x80, np.uint8(0xFF), np.uint8(0))
    return np.ascontiguousarray(np.where(nibbles & 8, signs, chosen)).view(np.uint32).ravel()


_MODES = {
    "f4e": ((3, 2, 1, 0), (4, 3, 2, 1), (5, 4, 3, 2), (6, 5, 4, 3)),
    "b4e": ((5, 6, 7, 0), (6, 7, 0, 1), (7, 0, 1, 2), (0, 1, 2, 3)),
    "rc8": ((0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)),
    "ecl": ((3, 2, 1, 0), (3, 2, 1, 1), (3, 2, 2, 2), (3, 3, 3, 3)),
    "ecr": ((0, 0, 0, 0), (1, 1, 1, 0), (2, 2, 1, 0), (3, 2, 1, 0)),
    "rc16": ((1, 0, 1, 0), (3, 2, 3, 2), (1, 0, 1, 0), (3, 2, 3, 2)),
}
"""Mode -> for each value of the selector's low two bits, which bytes go to places 3, 2, 1, 0."""


@instruction("prmt.b32")
def _permute(one: Instruction, machine: Machine) -> Step:
    expect_operands(one, 4)
    out = machine.destination(one.operands[0], "b32")
    first, second, selector = (machine.source(operand, "b32") for operand in one.operands[1:])
    if one.operands[3] in machine.program.registers:
        return computed("b32", ("b32", "b32", "b32"), permute)(one, machine)
    nibbles = [int(selector[0]) >> (4 * place) & 15 for place in range(4)]
    if any(nibble & 8 for nibble in nibbles):
        return computed("b32", ("b32", "b32", "b32"), permute)(one, machine)
    sources = (first, second)
    if all(low % 2 == 0 and high == low + 1 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True)):
        parts: list[Row] = [sources[low // 4].view(np.uint16)[low % 4 // 2 :: 2] for low in nibbles[::2]]
        buffer: Row = np.empty((machine.threads, 2), np.uint16)
    else:
        parts = [sources[nibble // 4].view(np.uint8)[nibble % 4 :: 4] for nibble in nibbles]
        buffer = np.empty((machine.threads, 4), np.uint8)
    whole = buffer.view(np.uint32).ravel()

    def step(active: Active) -> None:
        for place, part in enumerate(parts):
            buffer[:, place] = part
        np.copyto(out, whole, where=active.where)

    return step


def _permute_mode(mode: str) -> None:
    rows = [sum(byte << (4 * (3 - place)) for place, byte in enumerate(row)) for row in _MODES[mode]]
    selectors = np.array(rows, np.uint32)
    instruction(f"prmt.b32.{mode}")(
        computed("b32", ("b32", "b32", "b32"), lambda a, b, c: permute(a, b, selectors[c & 3]))
    )


@instruction("lop3.b32")
def _logic(one: Instruction, machine: Machine) -> Step:
    expect_operands(one, 5)
    try:
        table = int(one.operands[4].rstrip("U"), 0)
    except ValueError as cause:
        raise Fault(FaultKind.UNKNOWN, f"table {one.operands[4]}") from cause
    out = machine.destination(one.operands[0], "b32")
    first, second, third = (machine.source(operand, "b32") for operand in one.operands[1:4])

    def step(active: Active) -> None:
        np.copyto(out, logic(first, second, third, table), where=active.where)

    return step


def _funnel(low: Row, high: Row, amount: Row, left: bool, wrap: bool) -> Row:
    distance = (amount & 31 if wrap else np.minimum(amount, 32)).astype(np.uint64)
    both = high.astype(np.uint64) << np.uint64(32) | low
    if left:
        return (shift_left(both, distance) >> np.uint64(32)).astype(np.uint32)
    return shift_right(both, distance).astype(np.uint32)


def _enter(bits: int) -> None:
    kind = f"b{bits}"
    instruction(f"and.{kind}")(in_place(kind, np.bitwise_and))
    instruction(f"or.{kind}")(in_place(kind, np.bitwise_or))
    instruction(f"xor.{kind}")(in_place(kind, np.bitwise_xor))
    instruction(f"not.{kind}")(in_place(kind, np.invert))
    instruction(f"cnot.{kind}")(computed(kind, (kind,), lambda a: (a == 0).astype(a.dtype)))
    instruction(f"shl.{kind}")(computed(kind, (kind, "u32"), shift_left))
    for signed in (kind, f"u{bits}", f"s{bits}"):
        instruction(f"shr.{signed}")(computed(signed, (signed, "u32"), shift_right))
    if bits == 16:
        return
    instruction(f"clz.{kind}")(computed("b32", (kind,), leading_zeros))
    instruction(f"popc.{kind}")(computed("b32", (kind,), lambda a: np.bitwise_count(a).astype(np.uint32)))
    instruction(f"brev.{kind}")(computed(kind, (kind,), reversed_bits))
    instruction(f"bfi.{kind}")(computed(kind, (kind, kind, "u32", "u32"), insert))
    for field in (f"u{bits}", f"s{bits}"):
        instruction(f"bfe.{field}")(computed(field, (field, "u32", "u32"), extract))
        instruction(f"bfind.{field}")(computed("u32", (field,), highest_bit))


for _bits in (16, 32, 64):
    _enter(_bits)
for _mode in _MODES:
    _permute_mode(_mode)
for _side in ("l", "r"):
    for _way in ("wrap", "clamp"):
        instruction(f"shf.{_side}.{_way}.b32")(
            computed(
                "b32",
                ("b32", "b32", "u32"),
                lambda a, b, c, left=_side == "l", wrap=_way == "wrap": _funnel(a, b, c, left, wrap),
            )
        )
instruction("and.pred")(in_place("pred", np.logical_and))
instruction("or.pred")(in_place("pred", np.logical_or))
instruction("xor.pred")(in_place("pred", np.logical_xor))
instruction("not.pred")(in_place("pred", np.logical_not))
