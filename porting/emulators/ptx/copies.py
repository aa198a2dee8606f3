"""cp.async: copies from global to shared memory that take effect when they are waited for.

Lazy: a copy writes when its own thread waits for its group, which is the latest that the architecture permits; until
then a look at the bytes it will write is a fault. Eager: it writes at once, and is waited for all the same.
Semantics: PTX ISA 9, "Data Movement: cp.async, cp.async.commit_group, cp.async.wait_group".
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.memory import SHARED_BASE, Addresses
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.types import Row


@dataclass
class Copy:
    """One instruction's copies, of the threads that executed it."""

    thread: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    """Of each thread: how many groups it had committed before."""
    source: Addresses
    target: Addresses
    size: int
    """Bytes written by each thread."""
    taken: npt.NDArray[np.int64]
    """Bytes read by each thread; the rest is filled with zeros."""


class Copies:
    """The copies of a program that were not waited for."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.committed = np.zeros(machine.threads, np.int64)
        """Groups, of each thread."""
        self.open: list[Copy] = []

    def reset(self) -> None:
        """No copy is under way."""
        self.committed[:] = 0
        self.open.clear()

    def finish(self) -> None:
        """Copies that nobody waited for take effect at last; nobody sees them."""
        for copy in self.open:
            self._land(copy)
        self.open.clear()

    def issue(self, copy: Copy) -> None:
        """Threads start copies.

        Raises:
            Fault: OUT_OF_BOUNDS, MISALIGNED, PENDING or RACE.
        """
        machine = self.machine
        shared = machine.shared
        shared.content.places(copy.target, 4, copy.size // 4)
        if (copy.target & (copy.size - 1)).any() or (copy.source & (copy.size - 1)).any():
            raise Fault(FaultKind.MISALIGNED, f"a copy of {copy.size} bytes from or to an address that is no multiple")
        self._look_up(copy)
        warp = machine.warp[copy.thread]
        if machine.schedule.check:
            if shared.arrivals:
                shared.expect_settled(copy.target, copy.size)
            if machine.shadow is not None:
                machine.shadow.shared_write(copy.target, copy.size, warp)
            shared.arriving[_offsets(copy)] = 1
            shared.arrivals += 1
        machine.counts.bytes_read["global"] += int(copy.taken.sum())
        machine.counts.bytes_written["shared"] += copy.size * len(copy.thread)
        self.open.append(copy)
        if not machine.schedule.lazy:
            self._write(copy)

    def commit(self, active: Active) -> None:
        """The active threads' copies since their last commit become a group."""
        self.committed[active.index] += 1

    def wait(self, active: Active, pending: int | None) -> None:
        """The active threads wait until at most so many of their newest groups are under way; None: for everything."""
        kept = []
        for copy in self.open:
            before = self.committed[copy.thread] - (0 if pending is None else pending)
            due = active.mask[copy.thread] & ((copy.group < before) if pending is not None else True)
            if due.all():
                self._land(copy)
            elif due.any():
                self._land(_part(copy, due))
                kept.append(_part(copy, ~due))
            else:
                kept.append(copy)
        self.open = kept

    def _look_up(self, copy: Copy) -> None:
        """See that what is read lies within a buffer."""
        for size in np.unique(copy.taken).tolist():
            if size:
                self.machine.memory.read(copy.source[copy.taken == size] + size - 1, 1)
                self.machine.memory.read(copy.source[copy.taken == size], 1)

    def _land(self, copy: Copy) -> None:
        machine = self.machine
        if machine.schedule.check:
            machine.shared.arriving[_offsets(copy)] = 0
            machine.shared.arrivals = max(machine.shared.arrivals - 1, int(machine.shared.arriving.any()))
            if machine.shadow is not None:
                machine.shadow.shared_write(copy.target, copy.size, machine.warp[copy.thread])
        if machine.schedule.lazy:
            self._write(copy)

    def _write(self, copy: Copy) -> None:
        shared, memory = self.machine.shared, self.machine.memory
        values: Row = np.zeros((len(copy.thread), copy.size // 4), np.uint32)
        full = copy.taken == copy.size
        if full.all():
            values = memory.read(copy.source, 4, copy.size // 4)
        else:
            if full.any():
                values[full] = memory.read(copy.source[full], 4, copy.size // 4).reshape(-1, copy.size // 4)
            octets = values.view(np.uint8)
            for place in np.flatnonzero(~full & (copy.taken > 0)).tolist():
                for octet in range(int(copy.taken[place])):
                    octets[place, octet] = memory.read(copy.source[place : place + 1] + octet, 1)[0]
        shared.write(copy.target, 4, values.ravel() if copy.size == 4 else values, check=False)


def _part(copy: Copy, which: npt.NDArray[np.bool_]) -> Copy:
    return Copy(
        copy.thread[which], copy.group[which], copy.source[which], copy.target[which], copy.size, copy.taken[which]
    )


def _offsets(copy: Copy) -> npt.NDArray[np.int64]:
    return (copy.target - SHARED_BASE)[:, None] + np.arange(copy.size)


_CACHES = ("", ".L2::cache_hint", ".L2::64B", ".L2::128B", ".L2::256B")


@instruction(
    *(f"cp.async.{cache}.{space}.global{hint}"
      for cache in ("ca", "cg") for space in ("shared", "shared::cta") for hint in _CACHES),
)  # fmt: skip
def _copy(one: Instruction, machine: Machine) -> Step:
    copies = machine.unit(Copies)
    operands = one.operands[:-1] if "cache_hint" in one.mnemonic else one.operands
    target, source = machine.address(operands[0]), machine.address(operands[1])
    size = int(operands[2], 0)
    if size not in (4, 8, 16) or (".cg" in one.mnemonic and size != 16) or len(operands) > 4:
        raise Fault(FaultKind.UNKNOWN, f"a copy of {operands[2:]} bytes")
    taken = machine.source(operands[3], "u32") if len(operands) == 4 else None

    def step(active: Active) -> None:
        thread = active.index
        amount = np.full(len(thread), size) if taken is None else taken[thread].astype(np.int64)
        if taken is not None and int(amount.max()) > size:
            raise Fault(FaultKind.MISUSE, f"{int(amount.max())} bytes are to be read for {size}")
        copies.issue(Copy(thread, copies.committed[thread], source(active), target(active), size, amount))

    return step


@instruction("cp.async.commit_group")
def _commit(one: Instruction, machine: Machine) -> Step:
    copies = machine.unit(Copies)
    return copies.commit


@instruction("cp.async.wait_group")
def _wait(one: Instruction, machine: Machine) -> Step:
    copies = machine.unit(Copies)
    pending = int(one.operands[0], 0)
    return lambda active: copies.wait(active, pending)


@instruction("cp.async.wait_all")
def _wait_all(one: Instruction, machine: Machine) -> Step:
    copies = machine.unit(Copies)
    return lambda active: copies.wait(active, None)
