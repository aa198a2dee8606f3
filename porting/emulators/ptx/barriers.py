"""Barriers of a program's threads (bar.*, barrier.*) and the branches: what changes where threads go on.

Semantics: PTX ISA 9, "Parallel Synchronization: bar, barrier" and "Control Flow Instructions".
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.flow import Mask
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import ControlStep, Outcome, Step, control


@dataclass
class Barrier:
    """One of a program's sixteen barriers, while threads stand at it."""

    expected: int
    arrived: Mask
    """Threads that arrived, whether they wait or not."""
    waiting: list[tuple[int, Mask]] = field(default_factory=list)
    """Threads that wait: the instruction at which they stand."""
    ballot: Mask | None = None
    """For a reduction: the threads whose predicate holds."""
    reduced: list[tuple[Step, Mask]] = field(default_factory=list)


class Barriers:
    """All of a program's barriers."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.open: dict[int, Barrier] = {}

    def reset(self) -> None:
        """No one waits."""
        self.open.clear()

    def finish(self) -> None:
        """A barrier that was only arrived at is misuse."""
        for number, barrier in self.open.items():
            raise Fault(FaultKind.MISUSE, f"barrier {number} has {int(barrier.arrived.sum())} arrivals at the end")

    def waiting(self) -> list[dict[int, int]]:
        """Of each barrier: instruction -> threads that wait there."""
        return [{index: int(mask.sum()) for index, mask in one.waiting} for one in self.open.values()]

    def arrive(self, active: Active, number: int, expected: int, index: int | None) -> Outcome:
        """Threads arrive, to wait at that instruction or (None) to go on; whoever completes it releases all.

        Raises:
            Fault: MISUSE or DIVERGENT.
        """
        if not 0 <= number < 16:
            raise Fault(FaultKind.MISUSE, f"barrier {number}: there are 16")
        if expected <= 0 or expected % WARP or expected > self.machine.threads:
            raise Fault(FaultKind.MISUSE, f"barrier {number} of {expected} threads")
        barrier = self.open.get(number)
        if barrier is None:
            barrier = self.open[number] = Barrier(expected, np.zeros(self.machine.threads, bool))
        if barrier.expected != expected:
            raise Fault(FaultKind.MISUSE, f"barrier {number} of {barrier.expected} threads, here of {expected}")
        if (barrier.arrived & active.mask).any():
            raise Fault(FaultKind.MISUSE, f"barrier {number}: threads arrive that have arrived already")
        barrier.arrived |= active.mask
        if index is not None:
            barrier.waiting.append((index, active.mask))
        arrived = int(np.count_nonzero(barrier.arrived))
        if arrived > expected:
            raise Fault(FaultKind.MISUSE, f"barrier {number}: {arrived} threads arrive where {expected} are expected")
        if arrived < expected:
            return [] if index is not None else None
        return self._release(number, barrier, active, index)

    def _release(self, number: int, barrier: Barrier, active: Active, index: int | None) -> Outcome:
        del self.open[number]
        waited = np.zeros(self.machine.threads, bool)
        for _, mask in barrier.waiting:
            waited |= mask
        self.machine.clocks.meet(_warps(barrier.arrived), _warps(waited))
        for reduce, mask in barrier.reduced:
            reduce(Active(mask))
        if len(barrier.waiting) == 1 and index is not None:
            return None
        moves = [(place + 1, mask) for place, mask in barrier.waiting]
        if index is None:
            for place, mask in moves:
                self.machine.flow.resume(place, mask)
            return None
        return moves


def _warps(mask: Mask) -> list[int]:
    return np.flatnonzero(mask.reshape(-1, WARP).any(1)).tolist()


def _expect_whole(active: Active, machine: Machine) -> None:
    if not active.whole:
        threads = np.flatnonzero(~active.mask.reshape(-1, WARP)[active.warps])
        raise Fault(FaultKind.DIVERGENT, f"{len(threads)} threads of warps {active.warps.tolist()} are not here")


def _decode_barrier(one: Instruction, machine: Machine, waits: bool) -> ControlStep:
    barriers = machine.unit(Barriers)
    number = machine.source(one.operands[0], "u32")
    expected = machine.source(one.operands[1], "u32") if len(one.operands) > 1 else None
    # "bar" and ".aligned" ask that a warp's threads come together; without, each thread counts.
    aligned = one.mnemonic.startswith("bar.") or one.mnemonic.endswith(".aligned")

    def step(active: Active) -> Outcome:
        if aligned:
            _expect_whole(active, machine)
        first = int(active.mask.argmax())
        count = machine.threads if expected is None else int(expected[first])
        return barriers.arrive(active, int(number[first]), count, one.index if waits else None)

    return step


@control(
    "bar.sync", "bar.cta.sync", "barrier.sync", "barrier.sync.aligned", "barrier.cta.sync", "barrier.cta.sync.aligned"
)
def _sync(one: Instruction, machine: Machine) -> ControlStep:
    return _decode_barrier(one, machine, waits=True)


@control(
    "bar.arrive", "bar.cta.arrive", "barrier.arrive", "barrier.arrive.aligned", "barrier.cta.arrive",
    "barrier.cta.arrive.aligned",
)  # fmt: skip
def _arrive(one: Instruction, machine: Machine) -> ControlStep:
    return _decode_barrier(one, machine, waits=False)


@control(
    *(f"{name}.red.{operation}" for name in ("bar", "bar.cta") for operation in ("popc.u32", "and.pred", "or.pred"))
)
def _reduce(one: Instruction, machine: Machine) -> ControlStep:
    barriers = machine.unit(Barriers)
    operation, kind = one.mnemonic.split(".")[-2:]
    destination, name, *count, predicate = one.operands
    negated = predicate.startswith("!")
    out = machine.destination(destination, kind)
    number, holds = machine.source(name, "u32"), machine.source(predicate.removeprefix("!"), "pred")
    expected = machine.source(count[0], "u32") if count else None

    def step(active: Active) -> Outcome:
        _expect_whole(active, machine)
        first = int(active.mask.argmax())
        threads = machine.threads if expected is None else int(expected[first])
        place = int(number[first])
        barrier = barriers.open.setdefault(place, Barrier(threads, np.zeros(machine.threads, bool)))
        ballot = barrier.ballot = np.zeros(machine.threads, bool) if barrier.ballot is None else barrier.ballot
        ballot |= active.mask & (~holds if negated else holds)

        def reduce(together: Active) -> None:
            # All who arrived have voted by now.
            votes = ballot[barrier.arrived]
            out[together.mask] = (
                votes.sum() if operation == "popc" else votes.all() if operation == "and" else votes.any()
            )

        barrier.reduced.append((reduce, active.mask))
        return barriers.arrive(active, place, threads, one.index)

    return step


class WarpBarriers:
    """Threads that wait for the others of their warp."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.open: list[tuple[int, Mask]] = []
        """The instruction at which threads wait, which need not be the same for all of a warp."""

    def reset(self) -> None:
        """No one waits."""
        self.open.clear()

    def finish(self) -> None:
        """Who waits has not ended: nothing is left."""

    def waiting(self) -> list[dict[int, int]]:
        """Instruction -> threads that wait there, of each group of them."""
        return [{index: int(mask.sum())} for index, mask in self.open]

    def arrive(self, active: Active, members: npt.NDArray[np.uint32], index: int) -> Outcome:
        """Threads arrive; those whose members have all arrived go on, wherever they stand."""
        everyone = [*self.open, (index, active.mask)]
        arrived = np.logical_or.reduce([mask for _, mask in everyone])
        present = _lanes(arrived)[self.machine.warp]
        complete = (members & ~present) == 0
        self.open = [(place, mask & ~complete) for place, mask in everyone if (mask & ~complete).any()]
        return [(place + 1, mask & complete) for place, mask in everyone if (mask & complete).any()]


@control("bar.warp.sync")
def _warp_sync(one: Instruction, machine: Machine) -> ControlStep:
    members = machine.source(one.operands[0], "b32")
    barriers = machine.unit(WarpBarriers)

    def step(active: Active) -> Outcome:
        if active.whole and not barriers.open:
            return None
        return barriers.arrive(active, members, one.index)

    return step


def _lanes(mask: Mask) -> npt.NDArray[np.uint32]:
    """(warps,) bit masks."""
    return np.packbits(mask.reshape(-1, WARP), axis=1, bitorder="little").view(np.uint32).ravel()


def expect_members(active: Active, machine: Machine, members: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> None:
    """See that the threads that a member mask names are those that are here.

    Raises:
        Fault: DIVERGENT.
    """
    present = _lanes(active.mask)
    chosen = members if active.full else members[active.index]
    there = present.repeat(WARP) if active.full else present[machine.warp[active.index]]
    if (chosen & ~there).any():
        raise Fault(FaultKind.DIVERGENT, f"member mask {int(chosen[0]):#x}, present {int(there[0]):#x}")


@control("bra", "bra.uni")
def _branch(one: Instruction, machine: Machine) -> ControlStep:
    target = machine.program.target(one.operands[0], one.scopes)
    return lambda active: target


@control("brx.idx", "brx.idx.uni")
def _branch_indexed(one: Instruction, machine: Machine) -> ControlStep:
    index = machine.source(one.operands[0], "u32")
    table = machine.program.tables.get(one.operands[1])
    if table is None:
        raise Fault(FaultKind.UNKNOWN, f"there is no branch table {one.operands[1]}")
    targets = [machine.program.target(label, one.scopes) for label in table]

    def step(active: Active) -> Outcome:
        chosen = index[active.index]
        if int(chosen.max()) >= len(targets):
            raise Fault(FaultKind.MISUSE, f"index {int(chosen.max())} of a branch table of {len(targets)}")
        return [(targets[entry], active.mask & (index == entry)) for entry in np.unique(chosen).tolist()]

    return step


@control("ret", "exit")
def _return(one: Instruction, machine: Machine) -> ControlStep:
    def step(active: Active) -> Outcome:
        machine.flow.end(active.mask)
        return []

    return step


@control("trap")
def _trap(one: Instruction, machine: Machine) -> ControlStep:
    def step(active: Active) -> Outcome:
        raise Fault(FaultKind.MISUSE, f"{active.count} threads execute a trap")

    return step
