"""Reads an operand's text: which registers or which constant it names, with its sign and half."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

VCC, TRAP, M0, EXEC, NULL = 106, 108, 124, 126, 130
SCALARS = 136
"""Places of the scalar register file: 106 SGPRs, VCC, 16 trap registers, M0, EXEC, null."""
NAMED = {
    "vcc": (VCC, 2),
    "vcc_lo": (VCC, 1),
    "vcc_hi": (VCC + 1, 1),
    "exec": (EXEC, 2),
    "exec_lo": (EXEC, 1),
    "exec_hi": (EXEC + 1, 1),
    "m0": (M0, 1),
    "null": (NULL, 2),
}
ONE = re.compile(r"(ttmp|[vas])(\d+)(?:\.([lh]))?$")
MANY = re.compile(r"(ttmp|[vas])\[(\d+):(\d+)\]$")
WIDE = re.compile(r"/\*\s*[va]\[?(\d+)")
INTEGER = re.compile(r"-?(0x[0-9a-fA-F]+|\d+)$")
FLOAT = re.compile(r"-?\d*\.\d+(e[-+]?\d+)?$")


class UndecodedError(Exception):
    """An operand, a modifier or a value that the emulator does not know: never leaves this package."""


@dataclass(frozen=True, slots=True)
class Operand:
    """What one operand names."""

    kind: str
    """vector, scalar, literal, scc or off."""
    index: int = 0
    """Row of the vector register file (accumulation registers follow the others), or scalar register."""
    count: int = 1
    """Of registers."""
    value: int | float = 0
    negated: bool = False
    absolute: bool = False
    half: str = ""
    """l or h, where a half of a register is named."""
    extended: bool = False
    """SDWA: the selected byte or word is sign-extended."""

    @property
    def keys(self) -> tuple[int, ...]:
        """Of the registers, as hazards name them: rows as they are, scalar registers as -1 - index."""
        if self.kind == "vector":
            return tuple(range(self.index, self.index + self.count))
        if self.kind == "scalar" and self.index < NULL:
            return tuple(-1 - self.index - place for place in range(self.count))
        return ()


def _register(text: str, accumulators_at: int) -> Operand | None:
    """A register or a run of registers; None if the text names neither."""
    wide = WIDE.search(text)
    text = re.sub(r"/\*.*?\*/", "", text).strip()
    if text in NAMED:
        index, count = NAMED[text]
        return Operand("scalar", index, count)
    found = MANY.match(text)
    half = ""
    if found:
        letter, first, count = found[1], int(found[2]), int(found[3]) - int(found[2]) + 1
    else:
        found = ONE.match(text)
        if not found:
            return None
        letter, first, count, half = found[1], int(found[2]), 1, found[3] or ""
    if wide:
        first = int(wide[1])
    if letter in "sttmp" and letter != "a":
        return Operand("scalar", first + (TRAP if letter == "ttmp" else 0), count)
    return Operand("vector", first + (accumulators_at if letter == "a" else 0), count, half=half)


def _constant(text: str) -> Operand:
    """A number, or a symbol whose address is 0: the start of LDS."""
    if INTEGER.match(text):
        return Operand("literal", value=int(text, 0))
    if FLOAT.match(text):
        return Operand("literal", value=float(text))
    literal = re.match(r"lit(?:64)?\((.*)\)$", text)
    if literal:
        return _constant(literal[1])
    if re.match(r"global_smem(@\w+)*$", text):
        return Operand("literal", value=0)
    raise UndecodedError(f"operand {text}")


@lru_cache(maxsize=1 << 14)
def parse_operand(text: str, accumulators_at: int) -> Operand:
    """Read one operand.

    Raises:
        UndecodedError: it is none that is known.
    """
    negated = absolute = False
    if text in ("off", "scc"):
        return Operand(text)
    if text == "src_scc":
        return Operand("scc")
    if re.match(r"-[vas|(a]", text):
        negated, text = True, text[1:]
    extended = re.match(r"sext\((.*)\)$", text)
    if extended:
        return replace(parse_operand(extended[1], accumulators_at), extended=True)
    found = re.match(r"neg\((.*)\)$", text)
    if found:
        negated, text = True, found[1]
    found = re.match(r"(?:\|(.*)\||abs\((.*)\))$", text)
    if found:
        absolute, text = True, found[1] or found[2]
    register = _register(text, accumulators_at)
    operand = register if register is not None else _constant(text)
    if not (negated or absolute):
        return operand
    return Operand(operand.kind, operand.index, operand.count, operand.value, negated, absolute, operand.half)


def constant_bits(value: int | float, bits: int) -> int:
    """An inline constant as its bits: a float is one of the operand's own width.

    bits: 16, 32 or 64.
    """
    if isinstance(value, float):
        kinds = {16: (np.float16, np.uint16), 32: (np.float32, np.uint32), 64: (np.float64, np.uint64)}
        real, whole = kinds[bits]
        return int(np.array(value, real).view(whole))
    return value & ((1 << bits) - 1)
