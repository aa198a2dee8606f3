"""Registers of wgmma: which hold results that nobody waited for, which are still read, which nothing fenced.

Compilers move accumulators on before they are there: a mov passes on that they are in flight, any other use of them is
a fault. Which instructions may meet such a register is worked out once, so that only those look.
PTX ISA 9, "wgmma.fence" and "wgmma.wait_group": accessing an accumulator, or a register that holds a part of A, without
waiting for the product is undefined, as is using a register that was accessed since the last wgmma.fence.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.assignment import Access, successors
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.table import Step

GROUP = 4
"""Warps of a warpgroup."""
Integers = npt.NDArray[np.int64]


@dataclass
class Product:
    """The registers of one wgmma.mma_async."""

    accumulators: tuple[str, ...]
    factors: tuple[str, ...]
    """Those that hold A."""
    index: int
    """Of the instruction."""
    rows: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """Where the accumulators stand in the tables, and where A's registers do."""
    factor_rows: Integers = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class _Registers:
    """What may be true of registers somewhere, a bit each."""

    flying: int = 0
    """In flight, or still read."""
    fresh: int = 0
    """So by a product that no group was committed with."""
    unfenced: int = 0
    """Written since the last wgmma.fence."""

    def joined(self, other: "_Registers") -> "_Registers":
        """What may be true where two ways meet."""
        return _Registers(self.flying | other.flying, self.fresh | other.fresh, self.unfenced | other.unfenced)


class Flight:
    """Of every warpgroup of a program, if that is looked at."""

    def __init__(self, machine: Machine, groups: int) -> None:
        self.machine, self.groups = machine, groups
        self.done = np.zeros(groups, np.int64)
        """Groups of products that each warpgroup has waited for."""
        self._products: list[Product] = []
        self._row: dict[str, int] = {}
        """Register -> its row in the tables."""
        self._due = self._held = self._width = np.zeros((0, groups), np.int64)
        """Of each register and warpgroup: the group of products whose result it will hold; that may still read it; the
        length of its accumulator."""
        self._unfenced = np.zeros((0, groups), bool)
        """Whether it was written since the last wgmma.fence."""
        machine.guards.append(self._guard)

    def reset(self) -> None:
        """Nothing is in flight."""
        for table in (self.done, self._due, self._held, self._unfenced):
            table[:] = 0

    def use(self, accumulators: tuple[str, ...], factors: tuple[str, ...], index: int) -> Product:
        """Name the registers of a product, while decoding."""
        self._products.append(Product(accumulators, factors, index))
        return self._products[-1]

    def start(self, group: int, product: Product, due: int) -> None:
        """A product begins whose result is due with that group of products.

        Raises:
            Fault: RACE, if a register was written since the last fence; PENDING, if one is in flight.
        """
        if not self._row:
            return
        rows, factors = product.rows, product.factor_rows
        for names, place in ((product.accumulators, rows), (product.factors, factors)):
            late = self._unfenced[place, group]
            if late.any():
                raise Fault(
                    FaultKind.RACE, f"register {names[int(late.argmax())]} was written since the last wgmma.fence"
                )
        done = self.done[group]
        if (self._due[factors, group] > done).any():
            raise Fault(FaultKind.PENDING, "A's registers are in flight: their wgmma was not waited for")
        flying = self._due[rows, group] > done
        if (flying & (self._width[rows, group] != len(rows))).any():
            raise Fault(FaultKind.PENDING, "accumulators of a wgmma of another shape are in flight")
        self._due[rows, group] = due
        self._width[rows, group] = len(rows)
        self._held[factors, group] = due

    def fence(self, group: int) -> None:
        """What was written to registers comes before the products that follow."""
        self._unfenced[:, group] = False

    # What is worked out once all is decoded.

    def _guard(self, accesses: list[Access], steps: list[Step | None]) -> None:
        """Wrap what may use registers in flight, and what writes registers that may then lack a fence."""
        self._number(accesses)
        flying, late = self._reach(accesses)
        for index, (access, step) in enumerate(zip(accesses, steps, strict=True)):
            if step is None or self._operation(index) == "wgmma":
                continue
            read = [
                name for name in sorted(access.read) if flying[index] >> self._row.get(name, 0) & (name in self._row)
            ]
            written = [
                name for name in sorted(access.written)
                if name in self._row and (read or flying[index] >> self._row[name] & 1 or late >> self._row[name] & 1)
            ]  # fmt: skip
            if read or written:
                steps[index] = self._watched(step, read, written, self._operation(index) == "mov")

    def _operation(self, index: int) -> str:
        return self.machine.program.instructions[index].mnemonic.partition(".")[0]

    def _number(self, accesses: list[Access]) -> None:
        """A row for each register of a product, and for those that movs may pass its result on to."""
        moved: dict[str, set[str]] = {}
        for index, access in enumerate(accesses):
            if self._operation(index) == "mov":
                for name in access.read:
                    moved.setdefault(name, set()).update(access.written)
        waiting = deque(name for product in self._products for name in (*product.accumulators, *product.factors))
        while waiting:
            name = waiting.popleft()
            if name not in self._row:
                self._row[name] = len(self._row)
                waiting.extend(moved.get(name, ()))
        shape = len(self._row), self.groups
        self._due, self._held, self._width = (np.zeros(shape, np.int64) for _ in range(3))
        self._unfenced = np.zeros(shape, bool)
        for product in self._products:
            product.rows = np.array([self._row[name] for name in product.accumulators], np.int64)
            product.factor_rows = np.array([self._row[name] for name in product.factors], np.int64)

    def _bits(self, names: frozenset[str] | tuple[str, ...]) -> int:
        return sum(1 << self._row[name] for name in names if name in self._row)

    def _reach(self, accesses: list[Access]) -> tuple[list[int], int]:
        """Before each instruction, the registers that may be in flight or read; those that may lack a fence."""
        program = self.machine.program
        products = {one.index: self._bits((*one.accumulators, *one.factors)) for one in self._products}
        before = [_Registers() for _ in accesses]
        late = 0
        waiting, seen = deque([0]), {0}
        while waiting:
            index = waiting.popleft()
            late |= before[index].unfenced & products.get(index, 0)
            after = self._after(before[index], index, accesses[index], products.get(index, 0))
            for following in successors(program, index):
                joined = before[following].joined(after)
                if joined != before[following] or following not in seen:
                    before[following] = joined
                    seen.add(following)
                    waiting.append(following)
        return [one.flying for one in before], late

    def _after(self, before: _Registers, index: int, access: Access, used: int) -> _Registers:
        flying, fresh, unfenced = before.flying, before.fresh, before.unfenced
        one = self.machine.program.instructions[index]
        if used:
            return _Registers(flying | used, fresh | used, unfenced)
        if one.mnemonic == "wgmma.fence.sync.aligned":
            return _Registers(flying, fresh, 0)
        if one.mnemonic == "wgmma.commit_group.sync.aligned":
            return _Registers(flying, 0, unfenced)
        if one.mnemonic == "wgmma.wait_group.sync.aligned":
            return _Registers(flying if int(one.operands[0], 0) else fresh, fresh, unfenced)
        read, written = self._bits(access.read), self._bits(access.written)
        if self._operation(index) == "mov":
            flying |= written if flying & read else 0
            fresh |= written if fresh & read else 0
        return _Registers(flying, fresh, unfenced | written)

    def _watched(self, step: Step, read: list[str], written: list[str], moves: bool) -> Step:
        sources = np.array([self._row[name] for name in read], np.int64)
        targets = np.array([self._row[name] for name in written], np.int64)

        def execute(active: Active) -> None:
            for group in sorted({warp // GROUP for warp in active.warps.tolist()}):
                done = self.done[group]
                flying = self._due[sources, group]
                newest = int(flying.max(initial=0))
                if newest > done and not moves:
                    name = read[int(flying.argmax())]
                    raise Fault(FaultKind.PENDING, f"register {name} is in flight: its wgmma was not waited for")
                wrong = self._held[targets, group] > done
                if newest <= done:
                    wrong |= self._due[targets, group] > done
                if wrong.any():
                    name = written[int(wrong.argmax())]
                    raise Fault(FaultKind.PENDING, f"register {name} is written while a wgmma in flight uses it")
                self._due[targets, group] = newest
                self._unfenced[targets, group] = True
            step(active)

        return execute
