"""mbarriers: objects in shared memory that count arrivals and bytes of copies, phase after phase.

A phase is complete when no arrival is pending and no byte is outstanding. Arriving releases what the thread did
before; a wait that succeeds acquires what was released in the phases that are complete. A wait that does not succeed
waits, be it try_wait (which may suspend the thread) or test_wait (which a loop repeats).
Semantics: PTX ISA 9, "Parallel Synchronization: mbarrier". Clusters of several programs are not covered.
"""

from dataclasses import dataclass, field

import numpy as np

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.asynchronous import tell
from porting.emulators.ptx.clocks import Integers
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.memory import SHARED_BASE
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import ControlStep, Outcome, Step, control, instruction

MOST_ARRIVALS = (1 << 20) - 1
MOST_BYTES = (1 << 20) - 1


@dataclass
class Barrier:
    """One object, between its init and its inval."""

    count: int
    """Arrivals that each phase expects."""
    pending: int
    """Arrivals that the current phase still expects."""
    transactions: int = 0
    """Bytes that the current phase still expects; negative while more came than were announced."""
    phase: int = 0
    """Phases that are complete."""
    arriving: list[Integers] = field(default_factory=list)
    """What the arrivals of the current phase released."""
    complete: Integers | None = None
    """What those of the complete phases released."""


class MBarriers:
    """All of a program's mbarriers, by address."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.live: dict[int, Barrier] = {}

    def reset(self) -> None:
        """There are none."""
        self.live.clear()

    def finish(self) -> None:
        """Nothing is asked of barriers at the end."""

    def init(self, address: int, count: int, warp: int) -> None:
        """Make a barrier; its bytes are nobody's to read.

        Raises:
            Fault: MISUSE, MISALIGNED, OUT_OF_BOUNDS or RACE.
        """
        self.machine.shared.content.places(np.array([address]), 8, 1)
        if address in self.live:
            raise Fault(FaultKind.MISUSE, f"there is an mbarrier at {address:#x} already")
        if not 1 <= count <= MOST_ARRIVALS:
            raise Fault(FaultKind.MISUSE, f"an mbarrier of {count} arrivals")
        self._write(address, warp)
        self.live[address] = Barrier(count, count)

    def invalidate(self, address: int, warp: int) -> None:
        """End a barrier: its bytes may be used again.

        Raises:
            Fault: MISUSE or RACE.
        """
        self.at(address)
        self._write(address, warp)
        del self.live[address]

    def at(self, address: int) -> Barrier:
        """The barrier there.

        Raises:
            Fault: MISUSE.
        """
        barrier = self.live.get(address)
        if barrier is None:
            raise Fault(FaultKind.MISUSE, f"there is no mbarrier at {address:#x}: not initialised, or ended")
        return barrier

    def use(self, address: int, agent: int) -> Barrier:
        """The barrier there, which that agent looks at or changes from now on.

        Raises:
            Fault: MISUSE, or RACE if its init is unordered.
        """
        barrier = self.at(address)
        if self.machine.shadow is not None:
            self.machine.shadow.shared_read(np.array([address]), 8, np.array([agent]))
        return barrier

    def arrive(self, address: int, arrivals: int, told: Integers | None, drop: bool = False) -> int:
        """Arrive; the phase in which that was.

        Args:
            address: of the barrier.
            arrivals: how many at once.
            told: what is released by it.
            drop: whether later phases expect as many fewer.

        Raises:
            Fault: MISUSE.
        """
        barrier = self.at(address)
        if arrivals < 1 or arrivals > barrier.pending:
            raise Fault(
                FaultKind.MISUSE,
                f"{arrivals} arrivals at the mbarrier at {address:#x}, which expects {barrier.pending} in this phase",
            )
        phase = barrier.phase
        barrier.pending -= arrivals
        if drop:
            barrier.count -= arrivals
        self._join(barrier, told)
        self._complete(barrier)
        return phase

    def expect(self, address: int, size: int) -> None:
        """Bytes are announced.

        Raises:
            Fault: MISUSE.
        """
        barrier = self.at(address)
        barrier.transactions += size
        if barrier.transactions > MOST_BYTES:
            raise Fault(FaultKind.MISUSE, f"{barrier.transactions} bytes outstanding at the mbarrier at {address:#x}")

    def transferred(self, address: int, size: int, told: Integers | None) -> None:
        """Bytes have come.

        Raises:
            Fault: MISUSE.
        """
        barrier = self.at(address)
        barrier.transactions -= size
        self._join(barrier, told)
        self._complete(barrier)

    def acquire(self, barrier: Barrier, warps: list[int]) -> None:
        """Those who waited know what was released in complete phases."""
        if self.machine.shadow is not None and barrier.complete is not None:
            self.machine.clocks.learn(warps, barrier.complete)

    def _join(self, barrier: Barrier, told: Integers | None) -> None:
        if told is not None:
            barrier.arriving.append(told)

    def _complete(self, barrier: Barrier) -> None:
        if barrier.pending or barrier.transactions:
            return
        barrier.phase += 1
        barrier.pending = barrier.count
        if barrier.arriving:
            known = [barrier.complete] if barrier.complete is not None else []
            barrier.complete = np.maximum.reduce([*known, *barrier.arriving])
            barrier.arriving.clear()
        self.machine.flow.wake()

    def _write(self, address: int, warp: int) -> None:
        shared = self.machine.shared
        if self.machine.schedule.check and shared.arrivals:
            shared.expect_settled(np.array([address]), 8)
        if self.machine.shadow is not None:
            self.machine.shadow.shared_write(np.array([address]), 8, np.array([warp]))
        shared.written.content[address - SHARED_BASE : address - SHARED_BASE + 8] = 0


_SPACES = ("shared", "shared::cta")
_CLUSTER = (*_SPACES, "shared::cluster")
_RELEASES = ("", ".release.cta", ".release.cluster")
_ACQUIRES = ("", ".acquire.cta", ".acquire.cluster")
_RELAXED = (".relaxed.cta", ".relaxed.cluster")


@instruction(*(f"mbarrier.init.{space}.b64" for space in _SPACES))
def _init(one: Instruction, machine: Machine) -> Step:
    barriers = machine.unit(MBarriers)
    address, count = machine.address(one.operands[0]), machine.source(one.operands[1], "u32")

    def step(active: Active) -> None:
        for thread, place in zip(active.index.tolist(), address(active).tolist(), strict=True):
            barriers.init(place, int(count[thread]), thread // WARP)

    return step


@instruction(*(f"mbarrier.inval.{space}.b64" for space in _SPACES))
def _invalidate(one: Instruction, machine: Machine) -> Step:
    barriers = machine.unit(MBarriers)
    address = machine.address(one.operands[0])

    def step(active: Active) -> None:
        for thread, place in zip(active.index.tolist(), address(active).tolist(), strict=True):
            barriers.invalidate(place, thread // WARP)

    return step


def _arrivals(name: str) -> tuple[str, ...]:
    return tuple(f"mbarrier.{name}{order}.{space}.b64" for order in (*_RELEASES, *_RELAXED) for space in _CLUSTER)


@instruction(
    *_arrivals("arrive"), *_arrivals("arrive.expect_tx"), *_arrivals("arrive_drop"), *_arrivals("arrive_drop.expect_tx")
)
def _arrive(one: Instruction, machine: Machine) -> Step:
    barriers = machine.unit(MBarriers)
    parts = one.mnemonic.split(".")
    announces, drop, relaxed = "expect_tx" in parts, parts[1] == "arrive_drop", "relaxed" in parts
    operands = list(one.operands)
    state = None if operands[0].startswith("[") else machine.destination(operands.pop(0), "u64")
    address = machine.address(operands[0])
    if len(operands) > 2 or (announces and len(operands) != 2):
        raise Fault(FaultKind.UNKNOWN, f"operands of {one.text}")
    number = machine.source(operands[1], "u32") if len(operands) == 2 else None

    def step(active: Active) -> None:
        told = {warp: None if relaxed else tell(machine, warp) for warp in active.warps.tolist()}
        for thread, place in zip(active.index.tolist(), address(active).tolist(), strict=True):
            barriers.use(place, thread // WARP)
            given = 1 if number is None else int(number[thread])
            if announces:
                barriers.expect(place, given)
            phase = barriers.arrive(place, 1 if announces else given, told[thread // WARP], drop)
            if state is not None:
                state[thread] = phase

    return step


@instruction(
    *(f"mbarrier.{name}{order}.{space}.b64"
      for name in ("expect_tx", "complete_tx") for order in ("", *_RELAXED) for space in _CLUSTER),
)  # fmt: skip
def _transactions(one: Instruction, machine: Machine) -> Step:
    barriers = machine.unit(MBarriers)
    expects = one.mnemonic.startswith("mbarrier.expect_tx")
    address, size = machine.address(one.operands[0]), machine.source(one.operands[1], "u32")

    def step(active: Active) -> None:
        for thread, place in zip(active.index.tolist(), address(active).tolist(), strict=True):
            barriers.use(place, thread // WARP)
            if expects:
                barriers.expect(place, int(size[thread]))
            else:
                barriers.transferred(place, int(size[thread]), None)

    return step


@control(
    *(f"mbarrier.{name}{parity}{order}.{space}.b64"
      for name in ("test_wait", "try_wait") for parity in ("", ".parity") for order in (*_ACQUIRES, *_RELAXED)
      for space in _SPACES),
)  # fmt: skip
def _wait(one: Instruction, machine: Machine) -> ControlStep:
    barriers = machine.unit(MBarriers)
    by_parity, relaxed = ".parity" in one.mnemonic, ".relaxed" in one.mnemonic
    done = machine.destination(one.operands[0], "pred")
    address = machine.address(one.operands[1])
    wanted = machine.source(one.operands[2], "u32" if by_parity else "u64")
    if len(one.operands) > 4:
        raise Fault(FaultKind.UNKNOWN, f"operands of {one.text}")

    def step(active: Active) -> Outcome:
        places, phases = address(active), wanted[active.index]
        waiting = np.zeros(machine.threads, bool)
        for place, phase in sorted(set(zip(places.tolist(), phases.tolist(), strict=True))):
            threads = active.index[(places == place) & (phases == phase)]
            barrier = barriers.at(place)
            # Of a parity the lowest bit counts: compilers also pass a true as -1.
            if barrier.phase % 2 == phase % 2 if by_parity else barrier.phase <= phase:
                waiting[threads] = True
                continue
            warps = np.unique(threads // WARP).tolist()
            for warp in warps:
                barriers.use(place, warp)
            if not relaxed:
                barriers.acquire(barrier, warps)
            done[threads] = True
        if not waiting.any():
            return None
        machine.flow.park(one.index, waiting)
        through = active.mask & ~waiting
        return [(one.index + 1, through)] if through.any() else []

    return step
