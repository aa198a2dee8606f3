"""The state of a batch of waves that execute together: registers, masks, outstanding memory operations.

Every register is a row of all waves of the batch, so that one numpy call executes an instruction for all of them. Waves
that branch differently stay in their batch; `active` then tells which of them execute. Knows no instruction.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.operands import EXEC, NULL, SCALARS
from porting.emulators.amdgcn.targets import Target
from porting.emulators.faults import Fault

if TYPE_CHECKING:
    from porting.emulators.amdgcn.memory import GlobalMemory, LocalMemory, ScratchMemory
    from porting.emulators.amdgcn.text import Instruction

POISON = 0x7FA5A5A5
OTHER_POISON = 0x3F5A5A5A
"""What vector registers hold before they are written: a NaN, or by a reversed schedule a number. Code that uses one
computes other bits then."""
SCALAR_POISON = 0xBADBAD00
RUNNING, WAITING, ENDED = 0, 1, 2
"""What a wave does: WAITING at a barrier."""

Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint32]
Selection = Bools | None
"""Which waves (waves,); None: all that issued the operation."""
Action = Callable[[Selection], None]


@dataclass(slots=True)
class Operation:
    """A memory operation whose effect is still to come."""

    action: Action
    instruction: "Instruction"
    keys: tuple[int, ...]
    """Registers that it will write, as Operand.keys names them."""
    waves: Selection
    """That wait for it; None: all of the batch."""
    counter: str
    order: int
    """Of issue in this batch."""
    ordered: bool
    """Operations of its counter complete in order; else any may be the last (scalar memory)."""


class Waves:
    """A batch of waves.

    Args:
        target: the processor.
        rows: of the vector register file.
        groups: workgroup of each wave, as an index into the batch's local memory (waves,).
        places: number of each wave in its workgroup (waves,).
        memory: global memory.
        local: LDS of the batch's workgroups.
        scratch: private memory of the batch's lanes.
        lazy: operations take effect when they are waited for, else at once.
        poison: what vector registers hold before they are written.
    """

    def __init__(
        self,
        target: Target,
        rows: int,
        groups: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        memory: "GlobalMemory",
        local: "LocalMemory",
        scratch: "ScratchMemory",
        lazy: bool,
        poison: int = POISON,
    ) -> None:
        self.target, self.lazy = target, lazy
        self.count, self.lanes = len(groups), target.lanes
        self.groups, self.places = groups, places
        self.memory, self.local, self.scratch = memory, local, scratch
        self._make_vectors(rows, poison)
        self._make_scalars()
        self.pcs = np.zeros(self.count, np.int64)
        """Index of the next instruction of each wave."""
        self.status = np.full(self.count, RUNNING, np.int8)
        self.branch: bool | Bools = False
        """Set by a branch: whether it is taken, by all or by which waves."""
        self.halt = RUNNING
        """Set by an instruction that stops its waves: WAITING or ENDED."""
        self.active: Bools | None = None
        """Waves that execute (waves,); None: all of the batch."""
        self.signalled = np.zeros(self.count, np.int64)
        """Barrier arrivals that no wait has taken yet."""
        self.wide = np.zeros(self.count, np.int64)
        """What s_set_vgpr_msb set."""
        self.saturates = False
        """MODE.FP16_OVFL: conversions to 16 and 8 bits give the largest number instead of infinity or NaN."""
        self.undefined: set[int] = set()
        """Keys of registers that nothing has written."""
        self._make_queues()
        self.exec_changed()

    def _make_queues(self) -> None:
        """What is outstanding, and what has been counted."""
        self.queues: dict[str, list[Operation]] = {}
        self.pending: dict[int, list[Operation]] = {}
        """Register -> operations that will write it."""
        self.pending_keys: set[int] = set()
        self.issued = 0
        self.read_bytes: dict[str, int] = {}
        self.written_bytes: dict[str, int] = {}
        self.bank_conflicts = 0

    def _make_vectors(self, rows: int, poison: int) -> None:
        """The vector register file and its views by type: lists of rows (waves, lanes)."""
        self.registers: Words = np.full((rows, self.count, self.lanes), poison, np.uint32)
        halves = self.registers.view(np.uint16).reshape(rows, self.count, self.lanes, 2)
        self.u32 = list(self.registers)
        self.i32 = list(self.registers.view(np.int32))
        self.f32 = list(self.registers.view(np.float32))
        self.low16, self.high16 = list(halves[..., 0]), list(halves[..., 1])

    def _make_scalars(self) -> None:
        """The scalar register file and its views: of one register (waves,), as a column (waves, 1), of pairs."""
        self.scalars: Words = np.empty((self.count, SCALARS), np.uint32)
        self.scalars[:] = SCALAR_POISON + np.arange(SCALARS, dtype=np.uint32)
        self.scalars[:, NULL:] = 0
        self.s32 = [self.scalars[:, place] for place in range(SCALARS)]
        self.column = [self.scalars[:, place : place + 1] for place in range(SCALARS)]
        pairs = self.scalars.view(np.uint64)
        self.s64 = [pairs[:, place // 2] for place in range(SCALARS)]
        """A pair begins at an even register: s64[4] and s64[5] are s[4:5]."""
        self.column64 = [pairs[:, place // 2, None] for place in range(SCALARS)]
        self.scc: Bools = np.zeros(self.count, np.bool_)
        self.s64[EXEC][...] = (1 << self.lanes) - 1

    def bits(self, index: int) -> Bools:
        """A scalar register, or pair, as one bit a lane (waves, lanes); for reading only."""
        if self.lanes == 64:
            raw = np.ascontiguousarray(self.s64[index]).view(np.uint8).reshape(self.count, 8)
        else:
            raw = np.ascontiguousarray(self.s32[index]).view(np.uint8).reshape(self.count, 4)
        return np.unpackbits(raw, axis=1, bitorder="little").view(np.bool_)

    def pack(self, lanes: Bools) -> npt.NDArray[Any]:
        """One bit a lane (waves, lanes) -> the value of a scalar register or pair (waves,)."""
        packed = np.packbits(lanes, axis=1, bitorder="little")
        return packed.view(np.uint64 if self.lanes == 64 else np.uint32).reshape(self.count)

    def put_bits(self, index: int, lanes: Bools) -> None:
        """Write one bit a lane into a scalar register or pair of the active waves."""
        column = self.s64[index] if self.lanes == 64 else self.s32[index]
        if self.active is None:
            column[...] = self.pack(lanes)
        else:
            np.copyto(column, self.pack(lanes), where=self.active)
        if index >= EXEC:
            self.exec_changed()

    def exec_changed(self) -> None:
        """Take the lane mask over from EXEC and from the active waves; null stays zero."""
        self.scalars[:, NULL:] = 0
        if self.lanes == 32:
            self.scalars[:, EXEC + 1] = 0
        mask = self.bits(EXEC)
        if self.active is not None:
            mask = mask & self.active[:, None]
        self.mask: Bools = mask
        """Lanes that execute (waves, lanes): never written in place, so an operation may keep it."""
        self.full = bool(mask.all())
        """All of them do."""

    def set_active(self, active: Bools | None) -> None:
        """Choose the waves that execute from here on."""
        self.active = active
        self.exec_changed()

    @property
    def executing(self) -> int:
        """Number of active waves."""
        return self.count if self.active is None else int(np.count_nonzero(self.active))

    def put(self, row: int, words: npt.NDArray[Any]) -> None:
        """Write 32-bit values (waves, lanes), of any type of that width, into the active lanes of a register."""
        if self.full:
            self.u32[row][...] = words.view(np.uint32)
        else:
            np.copyto(self.u32[row], words.view(np.uint32), where=self.mask)

    def block(self, row: int, count: int) -> Words:
        """Registers row ... row + count - 1 of all lanes (count, waves, lanes): a view."""
        return self.registers[row : row + count]

    def put_block(self, row: int, words: npt.NDArray[Any]) -> None:
        """Write (count, waves, lanes) into all lanes of the active waves, whatever EXEC says: matrix results."""
        if self.active is None:
            self.registers[row : row + len(words)] = words.view(np.uint32)
        else:
            where = self.active[None, :, None]
            np.copyto(self.registers[row : row + len(words)], words.view(np.uint32), where=where)

    def put32(self, index: int, values: Any) -> None:
        """Write a scalar register (waves,) of the active waves."""
        if self.active is None:
            self.s32[index][...] = values
        else:
            np.copyto(self.s32[index], values, where=self.active)
        if index >= EXEC:
            self.exec_changed()

    def put64(self, index: int, values: Any) -> None:
        """Write a pair of scalar registers (waves,) of the active waves."""
        if self.active is None:
            self.s64[index][...] = values
        else:
            np.copyto(self.s64[index], values, where=self.active)
        if index >= EXEC:
            self.exec_changed()

    def put_scc(self, values: Any) -> None:
        """Set SCC of the active waves (waves,)."""
        self.scc = values if self.active is None else np.where(self.active, values, self.scc)

    def defer(
        self,
        counter: str,
        action: Action,
        instruction: "Instruction",
        keys: Iterable[int] = (),
        ordered: bool = True,
    ) -> None:
        """Let a memory operation take effect: at once, or when the counter is waited for.

        Args:
            counter: that counts it.
            action: carries it out for the selected waves of those that issued it; what it needs of registers and of
                the lane mask was taken when it was issued.
            instruction: that issued it.
            keys: of the registers that it writes (Operand.keys): using one before is a fault.
            ordered: it completes after the older ordered ones of its counter.
        """
        if not self.lazy:
            action(None)
            return
        self.issued += 1
        operation = Operation(action, instruction, tuple(keys), self.active, counter, self.issued, ordered)
        for key in operation.keys:
            self.pending.setdefault(key, []).append(operation)
            self.pending_keys.add(key)
        queue = self.queues.setdefault(counter, [])
        queue.append(operation)
        limit = self.target.counter_limits[counter]
        if len(queue) > limit:
            self.wait(counter, limit)

    def wait(self, counter: str, outstanding: int) -> None:
        """Carry out operations, oldest first, until the active waves have at most that many outstanding.

        An unordered one may be the last of all: only a wait for none carries it out.
        """
        queue = self.queues.get(counter)
        if not queue:
            return
        if outstanding:
            queue = [operation for operation in queue if operation.ordered]
        if self.active is None and all(operation.waves is None for operation in queue):
            for operation in queue[: max(len(queue) - outstanding, 0)]:
                self._finish(operation, None)
            return
        owed = np.zeros(self.count, np.int64)
        chosen: list[tuple[Operation, Bools]] = []
        everyone = np.ones(self.count, np.bool_)
        active = everyone if self.active is None else self.active
        for operation in reversed(queue):
            waves = everyone if operation.waves is None else operation.waves
            due = waves & active & (owed >= outstanding)
            owed += waves
            if due.any():
                chosen.append((operation, due))
        for operation, due in reversed(chosen):
            self._finish(operation, due)

    def _finish(self, operation: Operation, waves: Selection) -> None:
        """Carry one operation out for some of its waves, older vector memory operations of another counter first."""
        load, store = self.target.load_counter, self.target.store_counter
        if load != store and operation.counter in (load, store):
            # The vector memory operations of one wave reach memory in order, though two counters count them.
            other = self.queues.get(store if operation.counter == load else load, [])
            for older in [each for each in other if each.order < operation.order]:
                self._complete(older, waves)
        self._complete(operation, waves)

    def _complete(self, operation: Operation, waves: Selection) -> None:
        try:
            operation.action(waves)
        except Fault as fault:
            instruction = operation.instruction
            raise fault.at(instruction.text, instruction.line, instruction.source_line) from fault
        if waves is not None:
            issued = np.ones(self.count, np.bool_) if operation.waves is None else operation.waves
            remaining = issued & ~waves
            if remaining.any():
                operation.waves = remaining
                return
        self.queues[operation.counter].remove(operation)
        for key in operation.keys:
            waiting = self.pending[key]
            waiting.remove(operation)
            if not waiting:
                del self.pending[key]
                self.pending_keys.discard(key)

    def drain(self) -> None:
        """Carry everything out: the active waves end."""
        for counter in list(self.queues):
            self.wait(counter, 0)

    def count_bytes(self, space: str, size: int, mask: Bools | None, written: bool) -> None:
        """Count what active lanes read or wrote, `size` bytes each; mask None: all lanes."""
        lanes = self.count * self.lanes if mask is None else int(np.count_nonzero(mask))
        table = self.written_bytes if written else self.read_bytes
        table[space] = table.get(space, 0) + lanes * size
