"""PTX's types as numpy's: how wide, which view of a register's bits, what an immediate stands for.

A register is one row of a numpy array of unsigned integers of its width (bool for a predicate), one element a thread;
a type is a view of that row, never a conversion.
"""

import re
import struct
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Row = npt.NDArray[Any]
"""One element a thread, or a few."""

BYTES = {
    **dict.fromkeys(("pred", "b8", "u8", "s8"), 1),
    **dict.fromkeys(("b16", "u16", "s16", "f16", "bf16"), 2),
    **dict.fromkeys(("b32", "u32", "s32", "f32", "f16x2", "bf16x2", "u16x2", "s16x2"), 4),
    **dict.fromkeys(("b64", "u64", "s64", "f64", "f32x2"), 8),
    "b128": 16,
}
"""Type -> bytes of one thread's element."""

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "pred": np.bool_,
        "b8": np.uint8,
        "u8": np.uint8,
        "s8": np.int8,
        "b16": np.uint16,
        "u16": np.uint16,
        "s16": np.int16,
        "f16": np.float16,
        "bf16": ml_dtypes.bfloat16,
        "b32": np.uint32,
        "u32": np.uint32,
        "s32": np.int32,
        "f32": np.float32,
        "b64": np.uint64,
        "u64": np.uint64,
        "s64": np.int64,
        "f64": np.float64,
    }.items()
}
"""Type of one number -> numpy's."""

ELEMENT = {"f16x2": "f16", "bf16x2": "bf16", "u16x2": "u16", "s16x2": "s16", "f32x2": "f32"}
"""Packed type -> type of each of its two numbers, the first in the low bits."""

UNSIGNED: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.uint8),
    2: np.dtype(np.uint16),
    4: np.dtype(np.uint32),
    8: np.dtype(np.uint64),
}
"""Bytes -> the unsigned integer that holds them."""

_FLOAT_BITS = re.compile(r"0([fFdD])([0-9a-fA-F]+)")
_INTEGER = re.compile(r"(-?)(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?")


def view(row: Row, kind: str) -> Row:
    """A register's bits as a type no wider than it: its low bits where the type is narrower.

    Packed types get a last axis of two.
    """
    dtype = DTYPES[ELEMENT.get(kind, kind)]
    if dtype == row.dtype:
        return row
    seen = row.view(dtype)
    if kind in ELEMENT:
        return seen.reshape(len(row), -1)[:, :2]
    return seen if dtype.itemsize == row.dtype.itemsize else seen[:: row.dtype.itemsize // dtype.itemsize]


def widened(row: Row, kind: str) -> Row:
    """Where a value of that type is written: the whole register, signed where numpy must extend the sign."""
    if kind in ELEMENT or DTYPES[kind].itemsize == row.dtype.itemsize:
        return view(row, kind)
    return view(row, f"s{row.dtype.itemsize * 8}") if kind[0] == "s" else row


def immediate(text: str, kind: str) -> Row | None:
    """What a literal of an instruction stands for: one element of numpy's type; None if it is no literal."""
    dtype = DTYPES[ELEMENT.get(kind, kind)]
    bits = _FLOAT_BITS.fullmatch(text)
    if bits is not None:
        number = struct.unpack(">f" if bits[1] in "fF" else ">d", bytes.fromhex(bits[2]))[0]
        if dtype.kind in "ui":
            return np.frombuffer(bytes.fromhex(bits[2])[::-1], UNSIGNED[len(bits[2]) // 2]).astype(dtype)
        return np.array([number]).astype(dtype)
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    octal = match[2].isdecimal() and match[2][0] == "0"  # as in C
    value = int(match[1] + match[2], 8 if octal else 0)
    if kind == "pred":
        return np.array([value != 0])
    size = BYTES[kind]
    raw = (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little")
    return np.frombuffer(raw, dtype).copy()
