"""Runs a launch: decodes its text once, lays out arguments, and schedules the waves of its workgroups.

All waves of some workgroups form one batch, or with a reversed schedule one batch for each wave of a workgroup, the
last one first. A batch runs from barrier to barrier; waves that branch differently stay in it, the ones furthest
behind execute until the others are reached.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.code import Code, decode_text
from porting.emulators.amdgcn.halves import keep_apart
from porting.emulators.amdgcn.hazards import Touched
from porting.emulators.amdgcn.launching import Layout, arrange, initialise
from porting.emulators.amdgcn.memory import FILL, OTHER_FILL, GlobalMemory, LocalMemory, ScratchMemory
from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.amdgcn.state import ENDED, OTHER_POISON, POISON, RUNNING, WAITING, Operation, Waves
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Counts, Launch, Schedule

LANES_TOGETHER = 4096
"""Of a batch: enough to hide what a numpy call costs, few enough to stay in the cache."""
FAIRNESS = 61
"""Blocks until another wave than the one furthest behind has a turn."""
LONGEST = 20_000_000
"""Blocks that a batch may execute: more is taken for a loop that never ends."""
Bools = npt.NDArray[np.bool_]


def run(launch: Launch, schedule: Schedule) -> Counts:
    """Execute a launch; its buffers' contents are written in place.

    Raises:
        Fault: the first fault that is found; the buffers then are as they were.
    """
    code = decode_text(launch.text, launch.architecture)
    layout = arrange(launch, code.program)
    memory = GlobalMemory((*launch.buffers, layout.arguments))
    counts = Counts()
    with np.errstate(all="ignore"):
        for groups in _batches(launch, code.context.target.lanes, schedule.reverse):
            machine = Machine(code, launch, schedule, memory, layout, groups)
            counts.add(machine.run())
    memory.give_back()
    return counts


def _batches(launch: Launch, lanes_of_wave: int, reverse: bool) -> list[list[tuple[int, int, int]]]:
    """The workgroups' ids, in the groups that are executed together."""
    x, y, z = launch.grid
    ids = [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]
    if reverse:
        ids.reverse()
    together = max(LANES_TOGETHER // (launch.warps * lanes_of_wave), 1)
    return [ids[start : start + together] for start in range(0, len(ids), together)]


class Machine:
    """The waves of some workgroups, and their local memory."""

    def __init__(
        self,
        code: Code,
        launch: Launch,
        schedule: Schedule,
        memory: GlobalMemory,
        layout: Layout,
        ids: list[tuple[int, int, int]],
    ) -> None:
        self.code, self.schedule, self.warps = code, schedule, launch.warps
        target, program = code.context.target, code.program
        size = max(launch.shared_bytes, program.descriptor.get("group_segment_fixed_size", 0))
        poison, fill = (OTHER_POISON, OTHER_FILL) if schedule.reverse else (POISON, FILL)
        self.local = LocalMemory(len(ids), size, launch.warps, schedule.check, fill)
        self.batches: list[Waves] = []
        self.counted: Counter[int] = Counter()
        self.blocks = 0
        for places in _places(launch.warps, schedule.reverse):
            groups = np.repeat(np.arange(len(ids)), len(places))
            scratch_bytes = program.descriptor.get("private_segment_fixed_size", 0)
            scratch = ScratchMemory(len(groups), target.lanes, scratch_bytes, fill)
            numbers = np.tile(np.array(places, np.int64), len(ids))
            waves = Waves(target, code.rows, groups, numbers, memory, self.local, scratch, schedule.lazy, poison)
            initialise(waves, program, layout, np.array(ids, np.int64)[groups])
            self.batches.append(waves)
        self.unseen = [set(range(len(code.steps))) for _ in self.batches]

    def run(self) -> Counts:
        """Execute all waves to their end.

        Raises:
            Fault: the first that is found.
        """
        while True:
            for number, waves in enumerate(self.batches):
                self._run_batch(waves, self.unseen[number])
            if all((waves.status == ENDED).all() for waves in self.batches):
                return self._count()
            self._release()

    def _count(self) -> Counts:
        """What was executed."""
        counts = Counts()
        for start, executed in self.counted.items():
            for index in range(start, self.code.ends[start]):
                counts.instructions[self.code.instructions[index].mnemonic] += executed
        for waves in self.batches:
            counts.bytes_read.update(waves.read_bytes)
            counts.bytes_written.update(waves.written_bytes)
            counts.bank_conflicts += waves.bank_conflicts
        return counts

    def _run_batch(self, waves: Waves, unseen: set[int]) -> None:
        """Execute until every wave of the batch waits or has ended."""
        while True:
            running = waves.status == RUNNING
            if not running.any():
                return
            turn = waves.pcs[running]
            # The ones furthest behind, that all meet again; now and then another, on which they may wait in a loop.
            start = int(turn.min() if self.blocks % FAIRNESS else turn.max())
            chosen = running & (waves.pcs == start)
            everyone = bool(chosen.all())
            if not everyone or waves.active is not None:
                waves.set_active(None if everyone else chosen)
            self._run_together(waves, start, unseen)

    def _run_together(self, waves: Waves, start: int, unseen: set[int]) -> None:
        """Execute blocks while the active waves stay together."""
        code = self.code
        count = len(code.steps)
        while True:
            if start >= count:
                raise Fault(FaultKind.MISUSE, "a wave runs past the last instruction")
            end = code.ends[start]
            self.counted[start] += waves.executing
            self.blocks += 1
            if self.blocks > LONGEST:
                raise code.instructions[start].fault(FaultKind.DEADLOCK, f"after {LONGEST} blocks no end is in sight")
            waves.branch = False
            if start in unseen:
                unseen.discard(start)
                self._check_block(waves, start, end)
            self._execute(waves, start, end)
            if waves.halt != RUNNING:
                self._stop(waves, end)
                return
            taken = count_taken(waves)
            if 0 < taken < waves.executing:
                target = np.where(waves.branch, code.targets[end - 1], end)
                np.copyto(waves.pcs, target, where=True if waves.active is None else waves.active)
                return
            start = code.targets[end - 1] if taken else end
            if waves.active is not None:
                # Another wave may be behind now, or at the same place.
                waves.pcs[waves.active] = start
                return

    def _stop(self, waves: Waves, end: int) -> None:
        """The active waves wait or end."""
        active = slice(None) if waves.active is None else waves.active
        waves.status[active] = waves.halt
        waves.pcs[active] = end
        waves.halt = RUNNING

    def _execute(self, waves: Waves, start: int, end: int) -> None:
        """Execute the instructions of one block, for the active waves."""
        steps, keys, pending = self.code.steps, self.code.keys, waves.pending_keys
        index = start
        try:
            for index in range(start, end):
                if pending and not pending.isdisjoint(keys[index]):
                    self._check_pending(waves, index)
                steps[index](waves)
        except Fault as fault:
            if fault.line:
                raise
            instruction = self.code.instructions[index]
            raise fault.at(instruction.text, instruction.line, instruction.source_line) from fault
        except UndecodedError as cause:
            raise self.code.instructions[index].fault(FaultKind.UNKNOWN, str(cause)) from cause

    def _check_pending(self, waves: Waves, index: int) -> None:
        """Refuse an instruction that uses a register which a memory operation will still write."""
        instruction, parts = self.code.instructions[index], self.code.touched[index]
        for key in parts.all & waves.pending_keys:
            for operation in waves.pending[key]:
                if not self._is_ordered(operation, parts, key, index) and _share_waves(waves, operation):
                    producer = operation.instruction
                    if keep_apart(producer, instruction, key, self.code.context):
                        continue
                    raise instruction.fault(
                        FaultKind.PENDING,
                        f"{name_key(key, self.code.context.accumulators_at)} is still to be written by line "
                        f"{producer.line}: {producer.text}; nothing waited for {operation.counter}",
                    )

    def _is_ordered(self, operation: Operation, parts: Touched, key: int, index: int) -> bool:
        """A later load into the same register comes after an earlier one of the same counter."""
        if key in parts.reads or not operation.ordered:
            return False
        later = self.code.instructions[index].mnemonic
        family = operation.instruction.mnemonic.split("_")[0]
        return later.startswith(f"{family}_") and family in ("global", "buffer", "ds", "scratch")

    def _check_block(self, waves: Waves, start: int, end: int) -> None:
        """Before a block is executed for the first time: are its registers written, and named as the mode says."""
        if waves.target.wide_registers:
            self._check_wide(waves, start, end)
        if not self.schedule.check:
            return
        undefined = waves.undefined
        for index in range(start, end):
            parts = self.code.touched[index]
            missing = parts.reads & undefined
            if missing:
                key = max(missing)
                raise self.code.instructions[index].fault(
                    FaultKind.UNINITIALISED,
                    f"{name_key(key, self.code.context.accumulators_at)} that no instruction wrote",
                )
            passed_on = {result for source, result in parts.moves if source in undefined}
            undefined -= parts.writes
            undefined |= passed_on

    def _check_wide(self, waves: Waves, start: int, end: int) -> None:
        """Compare the registers' upper bits in the text with what s_set_vgpr_msb set."""
        mode = int((waves.wide if waves.active is None else waves.wide[waves.active])[0])
        for index in range(start, end):
            instruction = self.code.instructions[index]
            if instruction.mnemonic == "s_set_vgpr_msb":
                mode = int(instruction.operands[0], 0) & 0xFF
            for slot, bits in self.code.slots(index):
                if (mode >> slot) & 3 != bits:
                    detail = f"a register of bank {bits} where s_set_vgpr_msb chose bank {(mode >> slot) & 3}"
                    raise instruction.fault(FaultKind.MISUSE, detail)

    def _release(self) -> None:
        """Let the waves go on whose whole workgroup waits.

        Raises:
            Fault: none does, or they wait at different barriers.
        """
        groups = max(int(waves.groups.max()) + 1 for waves in self.batches)
        released = 0
        for group in range(groups):
            members = [(waves, waves.groups == group) for waves in self.batches]
            if any((waves.status[chosen] == RUNNING).any() for waves, chosen in members):
                continue
            places = {int(pc) for waves, chosen in members for pc in waves.pcs[chosen & (waves.status == WAITING)]}
            if len(places) > 1:
                raise self._divergent(places)
            for waves, chosen in members:
                waves.status[chosen & (waves.status == WAITING)] = RUNNING
            released += len(places)
            self.local.barrier(group)
        if not released:
            raise Fault(FaultKind.DEADLOCK, "waves wait at a barrier that others cannot reach")

    def _divergent(self, places: set[int]) -> Fault:
        first, second = sorted(places)[:2]
        instructions = self.code.instructions
        other = instructions[second - 1]
        return instructions[first - 1].fault(
            FaultKind.DIVERGENT, f"other waves of the workgroup wait at line {other.line}: {other.text}"
        )


def count_taken(waves: Waves) -> int:
    """How many of the active waves take the branch that ended their block."""
    if isinstance(waves.branch, bool):
        return waves.executing if waves.branch else 0
    return int(np.count_nonzero(waves.branch if waves.active is None else waves.branch & waves.active))


def _places(warps: int, reverse: bool) -> list[list[int]]:
    """Which waves of a workgroup form a batch together."""
    if reverse:
        return [[place] for place in range(warps - 1, -1, -1)]
    return [list(range(warps))]


def _share_waves(waves: Waves, operation: Operation) -> bool:
    """Some active wave issued the operation."""
    if waves.active is None or operation.waves is None:
        return True
    return bool((waves.active & operation.waves).any())


def name_key(key: int, accumulators_at: int) -> str:
    """A register's name, from its key."""
    if key < 0:
        return {106: "vcc_lo", 107: "vcc_hi", 124: "m0", 126: "exec_lo", 127: "exec_hi"}.get(-1 - key, f"s{-1 - key}")
    return f"a{key - accumulators_at}" if key >= accumulators_at else f"v{key}"
