"""Every module that enters instructions in the table: importing this one makes the table complete."""

from porting.emulators.ptx import (
    atomics,
    barriers,
    bits,
    convert,
    copies,
    fences,
    floats,
    functions,
    integers,
    matrix,
    mma,
    mma_scaled,
    moves,
    transfers,
    warp,
    wgmma,
)

__all__ = [
    "atomics",
    "barriers",
    "bits",
    "convert",
    "copies",
    "fences",
    "floats",
    "functions",
    "integers",
    "matrix",
    "mma",
    "mma_scaled",
    "moves",
    "transfers",
    "warp",
    "wgmma",
]
