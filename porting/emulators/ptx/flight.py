"""Registers of wgmma: which hold results that nobody waited for, and which were written since the last wgmma.fence.

Compilers move accumulators on before they are there: a mov passes on that they are in flight, any other look at them
is a fault. PTX ISA 9, "Async proxy" of wgmma.mma_async and "wgmma.fence".
"""

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.assignment import Access
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.table import Step


class Flight:
    """Of every warpgroup of a program."""

    def __init__(self, machine: Machine, groups: int) -> None:
        self.machine, self.groups = machine, groups
        self.done: npt.NDArray[np.int64] = np.zeros(groups, np.int64)
        """Groups of products that each warpgroup has waited for."""
        self.due: dict[str, npt.NDArray[np.int64]] = {}
        """Register -> of each warpgroup, the group whose result it will hold."""
        self.unfenced: dict[str, npt.NDArray[np.bool_]] = {}
        """Register of a wgmma -> of each warpgroup, whether it was written since the last wgmma.fence."""
        machine.guards.append(self._guard)

    def reset(self) -> None:
        """Nothing is in flight."""
        self.done[:] = 0
        for row in (*self.due.values(), *self.unfenced.values()):
            row[:] = 0

    def use(self, accumulators: tuple[str, ...], others: tuple[str, ...]) -> None:
        """Name registers of a wgmma, while decoding."""
        for name in accumulators:
            self.due.setdefault(name, np.zeros(self.groups, np.int64))
        for name in (*accumulators, *others):
            self.unfenced.setdefault(name, np.zeros(self.groups, bool))

    def start(self, group: int, accumulators: tuple[str, ...], others: tuple[str, ...], due: int) -> None:
        """A product begins whose result is due with that group of products.

        Raises:
            Fault: RACE, if a register was written since the last fence.
        """
        for name in (*accumulators, *others):
            if self.unfenced[name][group]:
                raise Fault(FaultKind.RACE, f"register {name} was written since the last wgmma.fence")
        for name in accumulators:
            self.due[name][group] = due

    def fence(self, group: int) -> None:
        """What was written to registers comes before the products that follow."""
        for row in self.unfenced.values():
            row[group] = False

    def _guard(self, accesses: list[Access], steps: list[Step | None]) -> None:
        """Wrap what reads registers that may be in flight, and what writes registers of a wgmma."""
        texts = self.machine.program.instructions
        suspects = set(self.due)
        before = -1
        while before != len(suspects):
            before = len(suspects)
            for access, one in zip(accesses, texts, strict=True):
                if one.mnemonic.startswith("mov.") and access.read & suspects:
                    suspects |= access.written
        for name in suspects:
            self.due.setdefault(name, np.zeros(self.groups, np.int64))
        for index, (access, one) in enumerate(zip(accesses, texts, strict=True)):
            step = steps[index]
            read = tuple(sorted(access.read & suspects))
            written = tuple(sorted(name for name in access.written if name in suspects or name in self.unfenced))
            if step is not None and not one.mnemonic.startswith("wgmma.") and (read or written):
                steps[index] = self._watched(step, read, written, one.mnemonic.startswith("mov."))

    def _watched(self, step: Step, read: tuple[str, ...], written: tuple[str, ...], moved: bool) -> Step:
        sources = [(name, self.due[name]) for name in read]
        targets = [self.due[name] for name in written if name in self.due]
        late = [self.unfenced[name] for name in written if name in self.unfenced]

        def execute(active: Active) -> None:
            for group in {warp // 4 for warp in active.warps.tolist()}:
                newest = 0
                for name, due in sources:
                    if due[group] > self.done[group]:
                        if not moved:
                            raise Fault(
                                FaultKind.PENDING, f"register {name} is in flight: its wgmma was not waited for"
                            )
                        newest = max(newest, int(due[group]))
                for row in targets:
                    row[group] = newest
                for fenced in late:
                    fenced[group] = True
            step(active)

        return execute
