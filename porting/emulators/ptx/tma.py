"""Bulk copies (TMA): cp.async.bulk and cp.async.bulk.tensor, between global and shared memory.

What comes into shared memory is announced at an mbarrier and lands as late as the schedule says; until then nobody may
look at it. What goes to global memory is read when a wait for its group's reading, and written when a wait for the
group, says that it must be. Not covered: reductions, multicast, im2col, gather and scatter.
Semantics: PTX ISA 9, "cp.async.bulk", "cp.async.bulk.tensor", "cp.async.bulk.commit_group, wait_group".
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.asynchronous import CHUNK, learn, read_chunks, submit, tell, write_chunks
from porting.emulators.ptx.clocks import Integers
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.mbarrier import MBarriers
from porting.emulators.ptx.memory import SHARED_BASE
from porting.emulators.ptx.parse import Instruction, operands_of
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.tensor_boxes import Extent, box_extent, line_extent
from porting.emulators.ptx.tensor_maps import TensorMaps


@dataclass
class Outgoing:
    """One copy to global memory."""

    extent: Extent
    one: Instruction
    told: Integers | None
    words: npt.NDArray[np.uint64] | None = None
    """What was read."""


@dataclass
class Groups:
    """One thread's copies to global memory."""

    open: list[Outgoing] = field(default_factory=list)
    committed: list[list[Outgoing]] = field(default_factory=list)


class Bulk:
    """A program's bulk copies."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.barriers = machine.unit(MBarriers)
        self.maps = machine.unit(TensorMaps)
        self._engines: dict[str, int] = {}
        self._groups: dict[int, Groups] = {}

    def reset(self) -> None:
        """Nothing is under way."""
        self._groups.clear()

    def finish(self) -> None:
        """Shared memory must not end while it is still being read; what is left to be written is written.

        Raises:
            Fault: MISUSE.
        """
        for groups in self._groups.values():
            for copy in (*(copy for group in groups.committed for copy in group), *groups.open):
                if copy.words is None and self.machine.schedule.check:
                    raise copy.one.fault(FaultKind.MISUSE, "the program ends before its shared memory was read")
                self._read(copy)
                self._write(copy)

    def engine(self, name: str, warp: int) -> int:
        """The engine of that name, which knows what the warp knows."""
        if self.machine.shadow is None:
            return 0
        if name not in self._engines:
            self._engines[name] = self.machine.clocks.engine(name)
        learn(self.machine, self._engines[name], tell(self.machine, warp))
        return self._engines[name]

    def load(self, one: Instruction, extent: Extent, barrier: int, warp: int) -> None:
        """Start a copy into shared memory.

        Raises:
            Fault: of many kinds.
        """
        machine = self.machine
        engine = self.engine(f"the bulk copies of the mbarrier at {barrier:#x}", warp)
        self.barriers.use(barrier, engine)
        write_chunks(machine, extent.chunks, engine)
        told = tell(machine, engine)
        offset = (extent.chunks - SHARED_BASE)[:, None] + np.arange(CHUNK)
        shared = machine.shared
        if machine.schedule.check:
            shared.arriving[offset] = 1
            shared.arrivals += 1

        def land() -> None:
            if machine.schedule.check:
                shared.arriving[offset] = 0
                shared.arrivals -= 1
            shared.write(extent.chunks, 8, extent.fetch(machine), check=False)
            self.barriers.transferred(barrier, CHUNK * len(extent.chunks), told)

        submit(machine, one, land)

    def store(self, one: Instruction, extent: Extent, thread: int) -> None:
        """Start a copy to global memory.

        Raises:
            Fault: of many kinds.
        """
        engine = self.engine(f"the outgoing bulk copies of warp {thread // WARP}", thread // WARP)
        read_chunks(self.machine, extent.chunks, engine)
        copy = Outgoing(extent, one, tell(self.machine, engine))
        self._groups.setdefault(thread, Groups()).open.append(copy)
        if not self.machine.schedule.lazy:
            self._read(copy)
            self._write(copy)

    def commit(self, active: Active) -> None:
        """Each thread's copies since its last commit become a group."""
        for thread in active.index.tolist():
            groups = self._groups.setdefault(thread, Groups())
            groups.committed.append(groups.open)
            groups.open = []

    def wait(self, active: Active, pending: int, only_read: bool) -> None:
        """Each thread waits until at most so many of its newest groups are under way, or being read."""
        for thread in active.index.tolist():
            groups = self._groups.get(thread)
            if groups is None:
                continue
            due = groups.committed[: max(0, len(groups.committed) - pending)]
            for copy in (copy for group in due for copy in group):
                self._read(copy)
                learn(self.machine, thread // WARP, copy.told)
                if not only_read:
                    self._write(copy)
            if not only_read:
                del groups.committed[: len(due)]

    def _read(self, copy: Outgoing) -> None:
        if copy.words is None:
            try:
                copy.words = self.machine.shared.read(copy.extent.chunks, 8, 2, self.machine.schedule.check)
            except Fault as fault:
                raise copy.one.fault(fault.kind, fault.detail) from fault

    def _write(self, copy: Outgoing) -> None:
        if copy.words is not None:
            try:
                copy.extent.store(self.machine, copy.words)
            except Fault as fault:
                raise copy.one.fault(fault.kind, fault.detail) from fault


_HINTS = ("", ".L2::cache_hint")
_INTO = ("shared::cta", "shared::cluster")
_BARRIER = "mbarrier::complete_tx::bytes"


def _tensor_place(one: Instruction, machine: Machine, operand: str) -> Callable[[int], tuple[int, tuple[int, ...]]]:
    """Of "[%rd1, {%r1, %r2}]": the map's address and the coordinates, of one thread."""
    parts = operands_of(operand.strip()[1:-1])
    dimensions = int(next(part for part in one.mnemonic.split(".") if part in ("1d", "2d", "3d", "4d", "5d"))[0])
    names = operands_of(parts[1].strip()[1:-1]) if len(parts) == 2 else ()
    if len(names) != dimensions:
        raise Fault(FaultKind.UNKNOWN, f"operand {operand}")
    address, rows = machine.source(parts[0], "u64"), [machine.source(name, "s32") for name in names]
    return lambda thread: (int(address[thread]), tuple(int(row[thread]) for row in rows))


def _place(machine: Machine, operand: str) -> Callable[[int], int]:
    """An address of one thread."""
    address = machine.address(operand)
    masks = np.eye(machine.threads, dtype=bool)
    return lambda thread: int(address(Active(masks[thread]))[0])


def _expect_operands(one: Instruction, count: int) -> None:
    if len(one.operands) != count + ("cache_hint" in one.mnemonic):
        raise Fault(FaultKind.UNKNOWN, f"operands of {one.text}")


def _each(execute: Callable[[int], None]) -> Step:
    def step(active: Active) -> None:
        for thread in active.index.tolist():
            execute(thread)

    return step


def _expect_box(bulk: Bulk, address: int, place: tuple[int, ...], shared: int, warp: int) -> Extent:
    made = bulk.maps.use(address, warp)
    if len(made.box) != len(place):
        raise Fault(FaultKind.MISUSE, f"{len(place)} coordinates for a tensor of {len(made.box)} dimensions")
    if shared % 128:
        raise Fault(FaultKind.MISALIGNED, f"a box at {shared:#x} in shared memory is not aligned to 128 bytes")
    return box_extent(made, place, shared)


@instruction(
    *(f"cp.async.bulk.tensor.{rank}d.{space}.global{mode}.{_BARRIER}{hint}"
      for rank in range(1, 6) for space in _INTO for mode in ("", ".tile") for hint in _HINTS),
)  # fmt: skip
def _load_tensor(one: Instruction, machine: Machine) -> Step:
    bulk = machine.unit(Bulk)
    _expect_operands(one, 3)
    target, source = _place(machine, one.operands[0]), _tensor_place(one, machine, one.operands[1])
    barrier = _place(machine, one.operands[2])

    def execute(thread: int) -> None:
        extent = _expect_box(bulk, *source(thread), target(thread), thread // WARP)
        bulk.load(one, extent, barrier(thread), thread // WARP)

    return _each(execute)


@instruction(
    *(f"cp.async.bulk.tensor.{rank}d.global.shared::cta{mode}.bulk_group{hint}"
      for rank in range(1, 6) for mode in ("", ".tile") for hint in _HINTS),
)  # fmt: skip
def _store_tensor(one: Instruction, machine: Machine) -> Step:
    bulk = machine.unit(Bulk)
    _expect_operands(one, 2)
    target, source = _tensor_place(one, machine, one.operands[0]), _place(machine, one.operands[1])

    def execute(thread: int) -> None:
        bulk.store(one, _expect_box(bulk, *target(thread), source(thread), thread // WARP), thread)

    return _each(execute)


@instruction(*(f"cp.async.bulk.{space}.global.{_BARRIER}{hint}" for space in _INTO for hint in _HINTS))
def _load_line(one: Instruction, machine: Machine) -> Step:
    bulk = machine.unit(Bulk)
    _expect_operands(one, 4)
    target, source, barrier = (_place(machine, one.operands[place]) for place in (0, 1, 3))
    size = machine.source(one.operands[2], "u32")

    def execute(thread: int) -> None:
        extent = line_extent(source(thread), int(size[thread]), target(thread))
        bulk.load(one, extent, barrier(thread), thread // WARP)

    return _each(execute)


@instruction(*(f"cp.async.bulk.global.shared::cta.bulk_group{hint}" for hint in _HINTS))
def _store_line(one: Instruction, machine: Machine) -> Step:
    bulk = machine.unit(Bulk)
    _expect_operands(one, 3)
    target, source = _place(machine, one.operands[0]), _place(machine, one.operands[1])
    size = machine.source(one.operands[2], "u32")

    def execute(thread: int) -> None:
        bulk.store(one, line_extent(target(thread), int(size[thread]), source(thread)), thread)

    return _each(execute)


@instruction("cp.async.bulk.commit_group")
def _commit(one: Instruction, machine: Machine) -> Step:
    return machine.unit(Bulk).commit


@instruction("cp.async.bulk.wait_group", "cp.async.bulk.wait_group.read")
def _wait(one: Instruction, machine: Machine) -> Step:
    bulk = machine.unit(Bulk)
    pending, only_read = int(one.operands[0], 0), one.mnemonic.endswith(".read")
    return lambda active: bulk.wait(active, pending, only_read)
