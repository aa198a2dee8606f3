"""Every module that enters instructions in the table: importing this one makes the table complete."""

from porting.emulators.ptx import (
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
