"""Every module that enters instructions in the table: importing this one makes the table complete."""

from porting.emulators.ptx import (
    atomics,
    barriers,
    bits,
    convert,
    copies,
    floats,
    functions,
    integers,
    matrix,
    mma,
    moves,
    transfers,
    warp,
)

__all__ = [
    "atomics",
    "barriers",
    "bits",
    "convert",
    "copies",
    "floats",
    "functions",
    "integers",
    "matrix",
    "mma",
    "moves",
    "transfers",
    "warp",
]
