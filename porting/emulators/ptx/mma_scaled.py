"""mma.sync with block scales, as sm_120 has it: each block of K of a row of A, or column of B, has a scale of its own.

Semantics: PTX ISA 9, "Block Scaling for mma.sync". Which thread gives the scale of which row is the ISA's figure, and
was probed on a device by others: of a quad, a pair of threads for A's rows r and r + 8, one thread for B's column.
"""

import re

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.convert import DECODED
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.matrix import expect_whole
from porting.emulators.ptx.mma import Fragment, accumulate, fragment_a, fragment_b, fragment_c, store_accumulator
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.transfers import elements_of
from porting.emulators.ptx.types import Row

_BLOCKS = {"1X": 1, "2X": 2, "4X": 4}
"""scale_vec -> blocks of K, each with its scale."""


def lanes_of_a(pair: int) -> npt.NDArray[np.int64]:
    """The thread that gives the scales of each of A's 16 rows."""
    row = np.arange(16)
    return 4 * (row % 8) + 2 * pair + row // 8


def lanes_of_b(thread: int) -> npt.NDArray[np.int64]:
    """The thread that gives the scales of each of B's 8 columns."""
    return 4 * np.arange(8) + thread


class Scales:
    """One operand's scales: a register, and immediates that say which bytes of which threads count."""

    def __init__(self, machine: Machine, register: str, chosen: str, kind: str, blocks: int, second: bool) -> None:
        match = re.fullmatch(r"\{\s*(\d+)\s*,\s*(\d+)\s*\}", chosen)
        if match is None:
            raise Fault(FaultKind.UNKNOWN, f"bytes and threads {chosen} of scales")
        byte, thread = int(match[1]), int(match[2])
        if byte % blocks or byte + blocks > 4 or thread > (3 if second else 1):
            raise Fault(FaultKind.MISUSE, f"byte {byte} of thread {thread} for {blocks} scales")
        self.row = machine.source(register, "b32")
        self.lanes = lanes_of_b(thread) if second else lanes_of_a(thread)
        self.bytes = slice(byte, byte + blocks)
        self.kind = kind

    def read(self, active: Active) -> npt.NDArray[np.float64]:
        """(active warps, rows or columns, blocks)."""
        row: Row = self.row if active.full else self.row[active.index]
        octets = np.ascontiguousarray(row).view(np.uint8).reshape(-1, WARP, 4)
        return DECODED[self.kind][octets[:, self.lanes, self.bytes]].astype(np.float64)


def _decode(one: Instruction, machine: Machine, kinds: tuple[str, str], k: int, blocks: int, scale: str) -> Step:
    if len(one.operands) != 8:
        raise Fault(FaultKind.UNKNOWN, f"{len(one.operands)} operands")
    names = [elements_of(operand) for operand in one.operands[:4]]
    bits = 4 if k == 64 else 8
    first = Fragment(machine, names[1], kinds[0], fragment_a(k, bits))
    second = Fragment(machine, names[2], kinds[1], fragment_b(k, bits))
    addend = Fragment(machine, names[3], "f32", fragment_c(32))
    scales_a = Scales(machine, one.operands[4], one.operands[5], scale, blocks, second=False)
    scales_b = Scales(machine, one.operands[6], one.operands[7], scale, blocks, second=True)
    outs = [machine.destination(name, "b32") for name in names[0]]

    def step(active: Active) -> None:
        expect_whole(active)
        a = first.read(active) * np.repeat(scales_a.read(active), k // blocks, axis=2)
        b = second.read(active) * np.repeat(scales_b.read(active), k // blocks, axis=2).swapaxes(1, 2)
        store_accumulator(outs, active, accumulate(a @ b + addend.read(active), "f32"), fragment_c(32))

    return step


def _enter(kind: str, vector: str, kinds: tuple[str, str], k: int, scale: str) -> None:
    shown = f".scale_vec::{vector}"
    for middle in {shown, "" if kind != "mxf4nvf4" else shown}:
        mnemonic = (
            f"mma.sync.aligned.m16n8k{k}.row.col.kind::{kind}.block_scale{middle}.f32.{kinds[0]}.{kinds[1]}.f32.{scale}"
        )
        instruction(mnemonic)(lambda one, machine: _decode(one, machine, kinds, k, _BLOCKS[vector], scale))


for _a in ("e4m3", "e5m2"):
    for _b in ("e4m3", "e5m2"):
        _enter("mxf8f6f4", "1X", (_a, _b), 32, "ue8m0")
_enter("mxf4", "2X", ("e2m1", "e2m1"), 64, "ue8m0")
_enter("mxf4nvf4", "2X", ("e2m1", "e2m1"), 64, "ue8m0")
_enter("mxf4nvf4", "4X", ("e2m1", "e2m1"), 64, "ue4m3")
