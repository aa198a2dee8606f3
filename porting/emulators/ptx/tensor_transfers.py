"""Tensor memory and registers: tcgen05.alloc, dealloc, relinquish_alloc_permit, ld, st and wait.

A load or store takes effect at once, as code uses the registers that depend on it; that it was waited for before
anything else touches the cells is checked by their order. Each warp's loads are one engine, its stores another: a wait
makes the warp know of them. Each warp reaches a quarter of the lanes, given by its number modulo 4.
Semantics: PTX ISA 9, "TensorCore 5th Generation: tcgen05.alloc", "tcgen05.ld, tcgen05.st", "tcgen05.wait"; which thread
holds what of .pack::16b as in CUTLASS 4, cute/atom/copy_traits_sm100.hpp.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.asynchronous import learn, tell
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.matrix import expect_whole
from porting.emulators.ptx.memory import Addresses
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.tensor_memory import GRANULE, Area, TensorMemory
from porting.emulators.ptx.transfers import elements_of

Integers = npt.NDArray[np.int64]


class Ports:
    """Each warp's engines that load from and store to tensor memory."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.memory = machine.unit(TensorMemory)
        self._engines: dict[tuple[int, bool], int] = {}

    def reset(self) -> None:
        """A program begins; the engines stay."""

    def finish(self) -> None:
        """What was not waited for, nobody sees."""

    def start(self, warp: int, stores: bool, areas: list[Area]) -> None:
        """A warp loads or stores.

        Raises:
            Fault: OUT_OF_BOUNDS or RACE.
        """
        for area in areas:
            self.memory.expect_owned(area.columns)
        if self.memory.order is None:
            return
        engine = self._engine(warp, stores)
        learn(self.machine, engine, tell(self.machine, warp))
        if stores:
            self.memory.order.write(engine, areas)
        else:
            self.memory.order.read(engine, areas)

    def wait(self, active: Active, stores: bool) -> None:
        """Warps wait for their loads or stores."""
        expect_whole(active)
        if self.memory.order is not None:
            for warp in active.warps.tolist():
                learn(self.machine, warp, tell(self.machine, self._engine(warp, stores)))

    def _engine(self, warp: int, stores: bool) -> int:
        if (warp, stores) not in self._engines:
            what = "stores" if stores else "loads"
            self._engines[warp, stores] = self.machine.clocks.engine(f"tensor memory's {what} of warp {warp}")
        return self._engines[warp, stores]


@dataclass(frozen=True)
class Shape:
    """Which cells a warp's threads exchange with their registers."""

    lanes: Integers
    """(registers, 32): beyond the address's."""
    columns: Integers
    """(registers, 32): beyond the address's."""
    half: int
    """Lanes touched: 16 or 32."""

    def spans(self, stop: int) -> list[tuple[int, int]]:
        """Columns touched, as [first, last + 1) ranges; `stop`: of how many columns there are two bits a cell."""
        touched = np.unique(self.columns)
        breaks = np.flatnonzero(np.diff(touched) > 1) + 1
        return [(int(part[0]), int(part[-1]) + stop) for part in np.split(touched, breaks)]


_PER_REPEAT = {"32x32b": 1, "16x64b": 1, "16x128b": 2, "16x256b": 4, "16x32bx2": 1}
"""Shape -> registers of a repeat."""


def shape_of(name: str, registers: int, second: int = 0) -> Shape:
    """Where the registers of a warp lie.

    Args:
        name: of the shape.
        registers: of each thread.
        second: of 16x32bx2: column at which the upper 16 threads begin.
    """
    lane, register = np.arange(WARP)[None], np.arange(registers)[:, None]
    if name == "32x32b":
        return Shape(lane + 0 * register, register + 0 * lane, 32)
    if name == "16x32bx2":
        return Shape(lane % 16 + 0 * register, register + second * (lane // 16), 16)
    if name == "16x64b":
        return Shape(lane // 4 + 8 * (lane % 2) + 0 * register, lane // 2 % 2 + 2 * register, 16)
    if name == "16x128b":
        return Shape(lane // 4 + 8 * (register % 2), lane % 4 + 4 * (register // 2), 16)
    if name == "16x256b":
        row = lane // 4 + 8 * (register // 2 % 2)
        return Shape(row, register % 2 + 2 * (lane % 4) + 8 * (register // 4), 16)
    raise Fault(FaultKind.UNKNOWN, f"tensor memory shape {name}")


class Transfer:
    """Which cells one ld or st moves, of the warps that execute it."""

    def __init__(self, one: Instruction, machine: Machine, names: tuple[str, ...], second: int, stores: bool) -> None:
        parts = one.mnemonic.split(".")
        name, repeats = parts[4], int(parts[5][1:])
        if len(names) != repeats * _PER_REPEAT[name]:
            raise Fault(FaultKind.UNKNOWN, f"{len(names)} registers for {name} {repeats} times")
        self.ports = machine.unit(Ports)
        self.memory, self.warps = self.ports.memory, machine.warps
        self.stores, self.packed = stores, "16b" in one.mnemonic
        self.shape = shape_of(name, len(names), second if not self.packed else 0)
        columns = self.shape.columns
        if self.packed:  # a register holds the lower halves of two columns
            shift = second * (np.arange(WARP)[None] // 16) if name == "16x32bx2" else 0
            columns = 2 * columns + shift
            self.shape = Shape(self.shape.lanes, columns, self.shape.half)
        self.base = self.shape.lanes * self.memory.columns + columns
        self.spans = self.shape.spans(2 if self.packed else 1)
        self._places: dict[bytes, Integers] = {}

    def cells(self, active: Active, address: Addresses) -> Integers:
        """(registers, active threads): of packed ones, the first of both.

        Raises:
            Fault: DIVERGENT, MISUSE, OUT_OF_BOUNDS or RACE.
        """
        expect_whole(active)
        given = address.reshape(-1, WARP)
        starts = given[:, 0]
        if (given != starts[:, None]).any():
            raise Fault(FaultKind.MISUSE, "the threads of a warp give different addresses of tensor memory")
        for warp, start in zip(active.warps.tolist(), starts.tolist(), strict=True):
            lane, column = start >> 16, start & 0xFFFF
            if lane // 32 != warp % 4 or lane % self.shape.half:
                raise Fault(
                    FaultKind.MISUSE, f"warp {warp} reaches for lane {lane} of tensor memory ({self.shape.half} lanes)"
                )
            lanes = slice(lane // GRANULE, (lane + self.shape.half) // GRANULE)
            self.ports.start(
                warp, self.stores, [Area(lanes, slice(column + first, column + last)) for first, last in self.spans]
            )
        key = starts.tobytes()
        if key not in self._places:
            offset = (starts >> 16) * self.memory.columns + (starts & 0xFFFF)
            self._places[key] = (self.base[:, None] + offset[None, :, None]).reshape(len(self.base), -1)
        return self._places[key]


_REPEATS = {name: [1 << power for power in range(8) if (1 << power) * per <= 128] for name, per in _PER_REPEAT.items()}


def _mnemonics(operation: str, packing: str) -> list[str]:
    return [
        f"tcgen05.{operation}.sync.aligned.{shape}.x{repeats}{packed}.b32"
        for shape, several in _REPEATS.items()
        for repeats in several
        for packed in ("", packing)
    ]


@instruction(*_mnemonics("ld", ".pack::16b"))
def _load(one: Instruction, machine: Machine) -> Step:
    names = elements_of(one.operands[0])
    second = int(one.operands[2], 0) if ".16x32bx2." in one.mnemonic else 0
    transfer = Transfer(one, machine, names, second, stores=False)
    address = machine.address(one.operands[1])
    outs = [machine.destination(name, "b32") for name in names]
    memory, read = transfer.memory, machine.counts.bytes_read

    def step(active: Active) -> None:
        cells = transfer.cells(active, address(active))
        values = memory.load(cells)
        if transfer.packed:
            values = values & np.uint32(0xFFFF) | memory.load(cells + 1) << np.uint32(16)
        read["tensor"] += 4 * values.size * (2 if transfer.packed else 1)
        for out, row in zip(outs, values, strict=True):
            if active.full:
                out[:] = row
            else:
                out[active.index] = row

    return step


@instruction(*_mnemonics("st", ".unpack::16b"))
def _store(one: Instruction, machine: Machine) -> Step:
    names = elements_of(one.operands[-1])
    second = int(one.operands[1], 0) if ".16x32bx2." in one.mnemonic else 0
    transfer = Transfer(one, machine, names, second, stores=True)
    address = machine.address(one.operands[0])
    sources = [machine.source(name, "b32") for name in names]
    memory, written = transfer.memory, machine.counts.bytes_written

    def step(active: Active) -> None:
        cells = transfer.cells(active, address(active))
        values = np.stack(sources) if active.full else np.stack([row[active.index] for row in sources])
        written["tensor"] += 4 * values.size * (2 if transfer.packed else 1)
        if transfer.packed:
            memory.write(cells + 1, values >> np.uint32(16))
            values = values & np.uint32(0xFFFF)
        memory.write(cells, values)

    return step


@instruction("tcgen05.wait::ld.sync.aligned")
def _wait_load(one: Instruction, machine: Machine) -> Step:
    ports = machine.unit(Ports)
    return lambda active: ports.wait(active, stores=False)


@instruction("tcgen05.wait::st.sync.aligned")
def _wait_store(one: Instruction, machine: Machine) -> Step:
    ports = machine.unit(Ports)
    return lambda active: ports.wait(active, stores=True)


@instruction(*(f"tcgen05.alloc.cta_group::1.sync.aligned{space}.b32" for space in ("", ".shared::cta")))
def _allocate(one: Instruction, machine: Machine) -> Step:
    memory = machine.unit(TensorMemory)
    address, columns = machine.address(one.operands[0]), machine.source(one.operands[1], "u32")

    def step(active: Active) -> None:
        expect_whole(active)
        places = address(active).reshape(-1, WARP)[:, :1]
        for warp, place in zip(active.warps.tolist(), places, strict=True):
            start = memory.allocate(int(columns[warp * WARP]))
            if machine.shadow is not None:
                machine.shadow.shared_write(place, 4, np.array([warp]))
            machine.shared.write(place, 4, np.array([start], np.uint32), machine.schedule.check)

    return step


@instruction("tcgen05.dealloc.cta_group::1.sync.aligned.b32")
def _release(one: Instruction, machine: Machine) -> Step:
    memory = machine.unit(TensorMemory)
    address, columns = machine.source(one.operands[0], "u32"), machine.source(one.operands[1], "u32")

    def step(active: Active) -> None:
        expect_whole(active)
        for warp in active.warps.tolist():
            memory.release(int(address[warp * WARP]), int(columns[warp * WARP]), warp)

    return step


@instruction("tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned")
def _relinquish(one: Instruction, machine: Machine) -> Step:
    memory = machine.unit(TensorMemory)

    def step(active: Active) -> None:
        expect_whole(active)
        memory.relinquished = True

    return step
