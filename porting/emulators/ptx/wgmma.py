"""wgmma: four warps together multiply matrices that lie in shared memory, A also in registers, into their registers.

It computes when it is issued, whatever the schedule, because compilers move accumulators on before they are there. That
nobody looks at them, or writes what is still being read, before the wait is checked instead: registers by `flight`,
shared memory by the shadow, to which each warp's quarter of a multiplication is an engine of the asynchronous proxy.
Semantics: PTX ISA 9, "Asynchronous Warpgroup Level Matrix Instructions".
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.flight import Flight
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.matrix_descriptors import CHUNK, tile_chunks, wgmma_matrix
from porting.emulators.ptx.memory import SHARED_BASE, Addresses
from porting.emulators.ptx.mma import accumulate, values_of
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.transfers import elements_of
from porting.emulators.ptx.types import Row

Numbers = npt.NDArray[np.float64]

GROUP = 4
"""Warps of a warpgroup."""
ROWS = 64
"""M."""
_BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "e5m2": 8, "s8": 8, "u8": 8}
_FLOATS = {"f16": ("f16", "f32"), "bf16": ("f32",), "tf32": ("f32",), "e4m3": ("f16", "f32"), "e5m2": ("f16", "f32")}
"""Type of the factors -> of the accumulator."""


@dataclass
class Progress:
    """How far one warpgroup's multiplications are, by the numbers of its commit groups."""

    open: bool = False
    """Whether any was issued since the last commit."""
    committed: int = 0
    completed: int = 0
    times: list[int] = field(default_factory=list)
    """Of each group that was committed: the shadow's time then."""


class WarpGroups:
    """The multiplications of a program that are in flight."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.progress = [Progress() for _ in range(-(-machine.warps // GROUP))]
        self.flight = Flight(machine, len(self.progress))
        self.engines = np.array([machine.clocks.engine(f"wgmma of warp {warp}") for warp in range(machine.warps)])

    def reset(self) -> None:
        """Nothing is in flight."""
        self.flight.reset()
        for one in self.progress:
            one.open, one.committed, one.completed = False, 0, 0
            one.times.clear()

    def finish(self) -> None:
        """What is in flight ends with the program."""

    def groups(self, active: Active) -> list[int]:
        """The warpgroups that are here.

        Raises:
            Fault: DIVERGENT, if not with all their threads.
        """
        here = active.mask.reshape(-1, GROUP * WARP) if self.machine.warps % GROUP == 0 else active.mask[None]
        if here.shape[1] != GROUP * WARP or not (here.all(1) == here.any(1)).all():
            raise Fault(FaultKind.DIVERGENT, f"warps {active.warps.tolist()} are no whole warpgroups")
        return [int(group) for group in np.flatnonzero(here.any(1))]

    def issue(self, group: int, first: Addresses | None, second: Addresses) -> None:
        """A warpgroup starts to read chunks of shared memory: each warp its 16 rows of A, and all of B.

        Args:
            group: which.
            first: A's chunks of each warp, (4, n).
            second: B's.
        """
        machine = self.machine
        self.progress[group].open = True
        size = CHUNK * (second.size + (first.size if first is not None else 0))
        machine.counts.bytes_read["shared"] += size
        if machine.shadow is None:
            return
        engines = self.engines[GROUP * group : GROUP * group + GROUP]
        for warp, engine in enumerate(engines.tolist(), GROUP * group):
            machine.clocks.learn([engine], machine.clocks.tell([warp]))
        read = [np.tile(second.ravel(), GROUP)] + ([first.ravel()] if first is not None else [])
        agents = np.concatenate([np.repeat(engines, one.size // GROUP) for one in read])
        address = np.concatenate(read)
        if machine.shadow.proxies is not None:
            machine.shadow.proxies.expect_fenced(address - SHARED_BASE, CHUNK, agents)
        machine.shadow.shared_read(address, CHUNK, agents)

    def commit(self, active: Active) -> None:
        """What each warpgroup issued since its last commit becomes a group."""
        clocks = self.machine.clocks
        for group in self.groups(active):
            one = self.progress[group]
            one.committed += 1
            one.open = False
            one.times.append(clocks.time)
        clocks.time += 1

    def wait(self, active: Active, pending: int) -> None:
        """Each warpgroup waits until at most so many of its newest groups are in flight."""
        clocks = self.machine.clocks
        for group in self.groups(active):
            one = self.progress[group]
            done = one.committed - pending
            if done <= one.completed:
                continue
            one.completed = int(done)
            self.flight.done[group] = done
            for warp in range(GROUP * group, GROUP * group + GROUP):
                # Each of its own quarter: another's may be done later.
                told = np.zeros(2 * clocks.room, np.int64)
                told[self.engines[warp]] = one.times[done - 1]
                clocks.learn([warp], told)


def _accumulators(rows: list[Row], active: Active, kind: str) -> Numbers:
    """(warpgroups, 64, N)."""
    bits = np.stack([row if active.full else row[active.index] for row in rows])
    halves = 2 if kind == "f16" else 1
    numbers = values_of(bits, kind)
    count = active.count // (GROUP * WARP)
    if halves == 2:  # register: (column group, row half), then the pair of columns
        parts = numbers.reshape(-1, 2, count, GROUP, 8, 4, 2).transpose(2, 3, 1, 4, 0, 5, 6)
    else:
        parts = numbers.reshape(-1, 2, 2, count, GROUP, 8, 4).transpose(3, 4, 1, 5, 0, 6, 2)
    return parts.reshape(count, ROWS, -1)


def _store(outs: list[Row], active: Active, values: Row) -> None:
    """Spread (warpgroups, 64, N) over the registers."""
    count, columns = len(values), values.shape[2]
    parts = values.reshape(count, GROUP, 2, 8, columns // 8, 4, 2)
    if values.dtype.itemsize == 2:
        bits = np.ascontiguousarray(parts.transpose(4, 2, 0, 1, 3, 5, 6)).view(np.uint32)
    else:
        bits = np.ascontiguousarray(parts.transpose(4, 2, 6, 0, 1, 3, 5)).view(np.uint32)
    bits = bits.reshape(len(outs), -1)
    for place, out in enumerate(outs):
        if active.full:
            out[:] = bits[place]
        else:
            out[active.index] = bits[place]


def _registers_of_a(rows: list[Row], active: Active, kind: str) -> Numbers:
    """(warpgroups, 64, K): register j holds rows 8 * (j % 2) on, and the second half of K from j = 2 on."""
    numbers = values_of(np.stack([row if active.full else row[active.index] for row in rows]), kind)
    count = active.count // (GROUP * WARP)
    parts = numbers.reshape(2, 2, count, GROUP, 8, 4, -1).transpose(2, 3, 1, 4, 0, 5, 6)
    return parts.reshape(count, ROWS, -1)


@dataclass(frozen=True)
class _Form:
    """What a mnemonic and its literals say."""

    columns: int
    depth: int
    kinds: tuple[str, str, str]
    """Of D, A and B."""
    saturated: bool
    signs: int
    transposed_a: bool
    transposed_b: bool


def _form(one: Instruction) -> _Form:
    parts = one.mnemonic.split(".")
    columns, depth = (int(number) for number in parts[4][len("m64n") :].split("k"))
    kinds = parts[-3], parts[-2], parts[-1]
    registers = one.operands[1].startswith("{")
    integers = kinds[0] == "s32"
    turned = _BITS[kinds[1]] == 16
    wanted = 4 + (0 if integers else 2) + ((1 if registers else 2) if turned else 0)
    if len(one.operands) != wanted:
        raise Fault(FaultKind.UNKNOWN, f"{len(one.operands)} operands, not {wanted}")
    literals = [int(operand, 0) for operand in one.operands[4:]]
    signs, turns = ([1, 1], literals) if integers else (literals[:2], literals[2:])
    if any(sign not in (1, -1) for sign in signs) or any(turn not in (0, 1) for turn in turns):
        raise Fault(FaultKind.MISUSE, f"literals {literals}")
    return _Form(
        columns,
        depth,
        kinds,
        "satfinite" in parts,
        signs[0] * signs[1],
        transposed_a=turned and not registers and bool(turns[0]),
        transposed_b=turned and bool(turns[-1]),
    )


class _Tile:
    """A matrix that a descriptor gives, one a warpgroup.

    Args:
        rows: M of A, N of B.
    """

    def __init__(self, machine: Machine, operand: str, kind: str, rows: int, depth: int, transposed: bool) -> None:
        self.machine, self.kind, self.rows, self.depth, self.transposed = machine, kind, rows, depth, transposed
        self.bits = _BITS[kind]
        self.descriptor = machine.source(operand, "b64")

    def chunks(self, group: int) -> Addresses:
        """Where it lies for that warpgroup: `tile_chunks`.

        Raises:
            Fault: MISUSE, or UNKNOWN.
        """
        given = self.descriptor[GROUP * WARP * group : GROUP * WARP * (group + 1)]
        if (given != given[0]).any():
            raise Fault(FaultKind.MISUSE, "the threads of a warpgroup give different matrix descriptors")
        return tile_chunks(wgmma_matrix(int(given[0])), self.rows, self.depth, self.bits, self.transposed)

    def read(self, chunks: Addresses) -> Numbers:
        """(rows, depth).

        Raises:
            Fault: OUT_OF_BOUNDS; if looked at, UNINITIALISED or PENDING.
        """
        content = self.machine.shared.read(chunks.ravel(), 8, 2, self.machine.schedule.check)
        numbers = values_of(content.reshape(len(chunks), -1).view(np.uint32), self.kind).reshape(len(chunks), -1)
        return numbers.T if self.transposed else numbers

    def of_warps(self, chunks: Addresses) -> Addresses:
        """A's chunks of each warp's 16 rows: (4, n)."""
        if self.transposed:  # (depth, chunks along the rows)
            return chunks.reshape(self.depth, GROUP, -1).transpose(1, 0, 2).reshape(GROUP, -1)
        return chunks.reshape(GROUP, -1)


def _multiply(one: Instruction, machine: Machine) -> Step:
    units, form = machine.unit(WarpGroups), _form(one)
    kind = form.kinds[0]
    names = elements_of(one.operands[0])
    if len(names) != form.columns // (4 if kind == "f16" else 2):
        raise Fault(FaultKind.UNKNOWN, f"{len(names)} registers for {form.columns} columns")
    outs = [machine.destination(name, "b32") for name in names]
    keeps = _keeps(one.operands[3], machine)
    before = [machine.source(name, "b32") for name in names] if keeps is not None else []
    first, registers = _first_factor(one, machine, form)
    names_a = elements_of(one.operands[1]) if first is None else ()
    product_registers = units.flight.use(names, names_a, one.index)
    second = _Tile(machine, one.operands[2], form.kinds[2], form.columns, form.depth, form.transposed_b)

    def step(active: Active) -> None:
        groups = units.groups(active)
        given = _registers_of_a(registers, active, form.kinds[1]) if first is None else None
        product = np.empty((len(groups), ROWS, form.columns))
        for place, group in enumerate(groups):
            chunks_b = second.chunks(group)
            chunks_a = first.chunks(group) if first is not None else None
            matrix_b = second.read(chunks_b)
            matrix_a = first.read(chunks_a) if first is not None and chunks_a is not None else given[place]  # type: ignore[index]
            units.flight.start(group, product_registers, units.progress[group].committed + 1)
            units.issue(group, first.of_warps(chunks_a) if first and chunks_a is not None else None, chunks_b)
            np.matmul(matrix_a, matrix_b.T, out=product[place])
        if form.signs < 0:
            np.negative(product, out=product)
        if keeps is not None:
            there = keeps(active)
            if there.any():
                product += np.where(there[:, None, None], _accumulators(before, active, kind), 0.0)
        _store(outs, active, accumulate(product, kind, form.saturated))

    return step


def _first_factor(one: Instruction, machine: Machine, form: _Form) -> tuple[_Tile | None, list[Row]]:
    operand, kind = one.operands[1], form.kinds[1]
    if not operand.startswith("{"):
        return _Tile(machine, operand, kind, ROWS, form.depth, form.transposed_a), []
    names = elements_of(operand)
    if len(names) != 4:
        raise Fault(FaultKind.UNKNOWN, f"{len(names)} registers for A")
    return None, [machine.source(name, "b32") for name in names]


def _keeps(operand: str, machine: Machine) -> Callable[[Active], npt.NDArray[np.bool_]] | None:
    """Of each active warpgroup, whether it adds to what is there (scale-d); None if it never does."""
    if not operand.startswith("%"):
        if int(operand, 0) == 0:
            return None
        return lambda active: np.ones(active.count // (GROUP * WARP), bool)
    row = machine.source(operand, "pred")

    def keeps(active: Active) -> npt.NDArray[np.bool_]:
        given = (row if active.full else row[active.index]).reshape(-1, GROUP * WARP)
        if (given.any(1) != given.all(1)).any():
            raise Fault(FaultKind.MISUSE, "the threads of a warpgroup give different scale-d")
        return given[:, 0]

    return keeps


def _mnemonics() -> list[str]:
    names = []
    for columns in range(8, 257, 8):
        for kind, accumulators in _FLOATS.items():
            others = ("e4m3", "e5m2") if _BITS[kind] == 8 else (kind,)
            shape = f"m64n{columns}k{256 // _BITS[kind]}"
            names += [f"{shape}.{accumulator}.{kind}.{other}" for accumulator in accumulators for other in others]
        if columns <= 32 or columns % 16 == 0:
            shape = f"m64n{columns}k32"
            names += [
                f"{shape}{saturate}.s32.{a}.{b}"
                for saturate in ("", ".satfinite")
                for a in ("s8", "u8")
                for b in ("s8", "u8")
            ]
    return [f"wgmma.mma_async.sync.aligned.{name}" for name in names]


instruction(*_mnemonics())(_multiply)


@instruction("wgmma.fence.sync.aligned")
def _fence(one: Instruction, machine: Machine) -> Step:
    units = machine.unit(WarpGroups)

    def step(active: Active) -> None:
        for group in units.groups(active):
            units.flight.fence(group)

    return step


@instruction("wgmma.commit_group.sync.aligned")
def _commit(one: Instruction, machine: Machine) -> Step:
    units = machine.unit(WarpGroups)
    return units.commit


@instruction("wgmma.wait_group.sync.aligned")
def _wait(one: Instruction, machine: Machine) -> Step:
    units = machine.unit(WarpGroups)
    pending = int(one.operands[0], 0)
    return lambda active: units.wait(active, pending)
