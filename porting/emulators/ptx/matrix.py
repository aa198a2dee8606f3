"""Matrices between shared memory and a warp's registers: ldmatrix, stmatrix.

Semantics: PTX ISA 9, "Warp-Level Matrix Load Instruction: ldmatrix" and "stmatrix". Eight threads give the addresses of
one matrix's rows: threads 0 to 7 of the first matrix, 8 to 15 of the second, and so on.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.memory import Addresses
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.shadow import Overwrite
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.transfers import elements_of, expect_one_value
from porting.emulators.ptx.types import Row

_SPACES = ("shared", "shared::cta")
_LANE = np.arange(WARP)


def expect_whole(active: Active) -> None:
    """See that the warps that are here are here with all their threads, as .aligned asks.

    Raises:
        Fault: DIVERGENT.
    """
    if not active.whole:
        raise Fault(FaultKind.DIVERGENT, f"warps {active.warps.tolist()} have {active.count} threads here, not all")


class _Rows:
    """The rows whose addresses the threads of the active warps give, for some matrices of eight rows of 16 bytes."""

    def __init__(self, machine: Machine, active: Active, address: Addresses, matrices: int) -> None:
        expect_whole(active)
        self.machine = machine
        rows = address.reshape(-1, WARP)[:, : 8 * matrices]
        if (rows & 15).any():
            raise Fault(
                FaultKind.MISALIGNED, f"a row at {int(rows[(rows & 15) != 0][0]):#x} is not aligned to 16 bytes"
            )
        self.rows = rows
        self.warp = np.repeat(active.warps, 8 * matrices)
        self.flat = rows.ravel()
        machine.banks.access(self.flat, self.warp, 16)

    def read(self) -> None:
        """Look at and count the read of the whole rows."""
        shared = self.machine.shared
        if self.machine.schedule.check:
            shared.read(self.flat, 8, 2)
        if self.machine.shadow is not None:
            self.machine.shadow.shared_read(self.flat, 16, self.warp)
        self.machine.counts.bytes_read["shared"] += 16 * len(self.flat)

    def write(self) -> Sequence[Overwrite]:
        """Look at and count the write of the whole rows, before it; what is to be settled after it."""
        shared, shadow = self.machine.shared, self.machine.shadow
        shared.content.places(self.flat, 8, 2)
        if self.machine.schedule.check and shared.arrivals:
            shared.expect_settled(self.flat, 16)
        self.machine.counts.bytes_written["shared"] += 16 * len(self.flat)
        return shadow.shared_write(self.flat, 16, self.warp, tolerant=True) if shadow is not None else ()

    def pieces(self, matrix: int, transposed: bool) -> tuple[Addresses, int]:
        """Where each thread's part of a matrix lies: (warps * 32,) words, or (warps * 32, 2) halves if transposed."""
        rows = self.rows[:, 8 * matrix : 8 * matrix + 8]
        if not transposed:
            return (rows[:, _LANE // 4] + 4 * (_LANE % 4)).ravel(), 4
        pair = np.stack([rows[:, 2 * (_LANE % 4) + half] + 2 * (_LANE // 4) for half in (0, 1)], axis=-1)
        return pair.reshape(-1, 2), 2


def _form(one: Instruction) -> tuple[int, bool]:
    parts = one.mnemonic.split(".")
    return next(int(part[1:]) for part in parts if part in ("x1", "x2", "x4")), "trans" in parts


def _put(out: Row, active: Active, values: npt.NDArray[np.uint32]) -> None:
    if active.full:
        out[:] = values
    else:
        out[active.index] = values


@instruction(
    *(f"ldmatrix.sync.aligned.m8n8.{count}{trans}.{space}.b16"
      for count in ("x1", "x2", "x4") for trans in ("", ".trans") for space in _SPACES),
)  # fmt: skip
def _load(one: Instruction, machine: Machine) -> Step:
    count, transposed = _form(one)
    names = elements_of(one.operands[0])
    if len(names) != count:
        raise Fault(FaultKind.UNKNOWN, f"{len(names)} registers for {count} matrices")
    outs = [machine.destination(name, "b32") for name in names]
    address = machine.address(one.operands[1])

    def step(active: Active) -> None:
        rows = _Rows(machine, active, address(active), count)
        rows.read()
        for matrix, out in enumerate(outs):
            place, size = rows.pieces(matrix, transposed)
            values = machine.shared.read(place, size, check=False) if place.ndim == 1 else _halves(machine, place)
            _put(out, active, values)

    return step


def _halves(machine: Machine, place: Addresses) -> npt.NDArray[np.uint32]:
    halves = machine.shared.read(place.ravel(), 2, check=False)
    return halves.view(np.uint32)


@instruction(
    *(f"stmatrix.sync.aligned.m8n8.{count}{trans}.{space}.b16"
      for count in ("x1", "x2", "x4") for trans in ("", ".trans") for space in _SPACES),
)  # fmt: skip
def _store(one: Instruction, machine: Machine) -> Step:
    count, transposed = _form(one)
    names = elements_of(one.operands[1])
    if len(names) != count:
        raise Fault(FaultKind.UNKNOWN, f"{len(names)} registers for {count} matrices")
    sources = [machine.source(name, "b32") for name in names]
    address = machine.address(one.operands[0])

    def step(active: Active) -> None:
        rows = _Rows(machine, active, address(active), count)
        doubts = rows.write()
        for matrix, source in enumerate(sources):
            place, size = rows.pieces(matrix, transposed)
            values = source if active.full else source[active.index]
            if transposed:
                values = np.ascontiguousarray(values).view(np.uint16)
            machine.shared.write(place.ravel(), size, values, check=False)
            if machine.shadow is not None:
                warp = np.repeat(active.warps, WARP * place.size // active.count)
                expect_one_value(machine, place.ravel(), size, values, warp)
        if machine.shadow is not None:
            machine.shadow.settle(doubts)

    return step
