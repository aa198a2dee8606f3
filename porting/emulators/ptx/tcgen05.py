"""tcgen05.mma, cp and commit: what the tensor cores do in tensor memory, behind the threads' backs.

Operations take effect in order, as late as the schedule says. Semantics: PTX ISA 9, "TensorCore 5th Generation:
tcgen05.mma, tcgen05.cp, tcgen05.commit", "Block Scaling". Collector buffers keep what they were filled with and change
nothing here. Not covered: pairs of CTAs, sparse matrices, .ws, scaled inputs of D.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.asynchronous import read_chunks, submit
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.matrix_descriptors import Multiplication, multiplication, tcgen05_matrix, tile_chunks
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.tensor_memory import LANES, Area
from porting.emulators.ptx.tensor_operands import Numbers, Operand, Scales
from porting.emulators.ptx.tensor_pipe import ALL_LANES, Pipe, rows_of
from porting.emulators.ptx.transfers import elements_of
from porting.emulators.ptx.types import Row


class Product:
    """One multiplication, from its issue to its effect."""

    def __init__(self, pipe: Pipe, asked: Multiplication, operands: list[Operand], scales: list[Scales]) -> None:
        self.pipe, self.asked, self.operands, self.scales = pipe, asked, operands, scales
        self.adds = False
        self.target = 0
        self.kept: npt.NDArray[np.bool_] | None = None
        """Lanes that are not written."""

    def start(self, engine: int) -> None:
        """Look at everything that it is going to touch.

        Raises:
            Fault: of many kinds.
        """
        for operand in self.operands:
            operand.start(self.pipe, engine)
        self.pipe.touch(engine, [one.area for one in self.scales], writes=False)
        _, lanes = rows_of(self.target, self.asked.rows)
        first = self.target & 0xFFFF
        self.pipe.touch(engine, [Area(lanes, slice(first, first + self.asked.columns))], writes=True)

    def execute(self) -> None:
        """Multiply, and add what is there."""
        memory, asked = self.pipe.memory, self.asked
        first, second = (operand.read(memory) for operand in self.operands)
        if self.scales:
            first, second = first * self.scales[0].read(memory), second * self.scales[1].read(memory)
        total = first @ second.T
        lanes, _ = rows_of(self.target, asked.rows)
        columns = slice(self.target & 0xFFFF, (self.target & 0xFFFF) + asked.columns)
        memory.expect_owned(columns)
        cells = lanes[:, None] * memory.columns + np.arange(columns.start, columns.stop)
        if self.adds:
            total += _accumulator(memory.read(cells), asked.type_d)
        words = _rounded(total, asked)
        if self.kept is not None:
            written = ~self.kept[lanes]
            cells, words = cells[written], words[written]
        memory.write(cells, words)
        counts = self.pipe.machine.counts
        counts.bytes_written["tensor"] += 4 * words.size


def _accumulator(words: npt.NDArray[np.uint32], kind: str) -> Numbers:
    if kind == "f16":
        return (words & np.uint32(0xFFFF)).astype(np.uint16).view(np.float16).astype(np.float64)
    return words.view(np.float32 if kind == "f32" else np.int32).astype(np.float64)


def _rounded(total: Numbers, asked: Multiplication) -> npt.NDArray[np.uint32]:
    if asked.type_d == "s32":
        held = np.clip(total, -(2.0**31), 2.0**31 - 1) if asked.saturated else total
        return held.astype(np.int64).astype(np.uint32)
    if asked.type_d == "f16":
        return total.astype(np.float16).view(np.uint16).astype(np.uint32)
    return total.astype(np.float32).view(np.uint32)


def _number(machine: Machine, operand: str) -> Callable[[int], int]:
    """A register's, or a place in tensor memory as "[ %r1 + 8 ]": of one thread."""
    if not operand.startswith("["):
        row = machine.source(operand, "u64" if machine.program.registers.get(operand) == "b64" else "u32")
        return lambda thread: int(row[thread])
    address = machine.address(operand)
    masks = np.eye(machine.threads, dtype=bool)
    return lambda thread: int(address(Active(masks[thread]))[0])


def _decode_mma(one: Instruction, machine: Machine, kind: str, block: int) -> Step:
    pipe = machine.unit(Pipe)
    operands = list(one.operands)
    tensor = operands[1].startswith("[")
    target, first, second, descriptor = (_number(machine, operand) for operand in operands[:4])
    scales = [_number(machine, operand) for operand in operands[4:6]] if block else []
    del operands[: 6 if block else 4]
    off = [machine.source(name, "b32") for name in elements_of(operands.pop(0))] if operands[0][0] == "{" else []
    if len(operands) != 1 or len(off) not in (0, 4):
        raise Fault(FaultKind.UNKNOWN, f"operands of {one.text}")
    negated = operands[0].startswith("!")
    adds: Row = machine.source(operands[0].removeprefix("!"), "pred")

    def issue(thread: int) -> None:
        asked = multiplication(descriptor(thread), kind, machine.architecture)
        matrices = [
            Operand(machine, asked, False, first(thread), tensor),
            Operand(machine, asked, True, second(thread), False),
        ]
        factors = [
            Scales(asked, rows, identity, place(thread), block)
            for rows, identity, place in zip(
                (asked.rows, asked.columns), (asked.scale_id_a, asked.scale_id_b), scales, strict=False
            )
        ]
        product = Product(pipe, asked, matrices, factors)
        product.target, product.adds = target(thread), bool(adds[thread]) != negated
        if off:
            words = np.array([row[thread] for row in off], np.uint32)
            product.kept = np.unpackbits(words.view(np.uint8), bitorder="little").astype(bool)
        engine = pipe.enter(thread // WARP)
        product.start(engine)
        pipe.leave(thread // WARP, engine)
        submit(machine, one, product.execute)

    def step(active: Active) -> None:
        for thread in active.index.tolist():
            issue(thread)

    return step


_COLLECTORS = (
    "",
    *(f".collector::{matrix}::{use}" for matrix in "ab" for use in ("fill", "use", "lastuse", "discard")),
)


def _enter(kind: str, suffix: str, block: int) -> None:
    for collector in _COLLECTORS:
        instruction(f"tcgen05.mma.cta_group::1.kind::{kind}{suffix}{collector}")(
            lambda one, machine: _decode_mma(one, machine, kind, block)
        )


for _kind in ("f16", "tf32", "f8f6f4", "i8"):
    _enter(_kind, "", 0)
for _kind, _suffixes in {
    "mxf8f6f4": {".block_scale": 32, ".block_scale.block32": 32, ".block_scale.scale_vec::1X": 32},
    "mxf4": {".block_scale": 32, ".block_scale.block32": 32, ".block_scale.scale_vec::2X": 32},
    "mxf4nvf4": {
        ".block_scale.block32": 32, ".block_scale.scale_vec::2X": 32,
        ".block_scale.block16": 16, ".block_scale.scale_vec::4X": 16,
    },
}.items():  # fmt: skip
    for _suffix, _block in _suffixes.items():
        _enter(_kind, _suffix, _block)


@instruction(*(f"tcgen05.commit.cta_group::1.mbarrier::arrive::one{space}.b64" for space in ("", ".shared::cluster")))
def _commit(one: Instruction, machine: Machine) -> Step:
    pipe = machine.unit(Pipe)
    address = machine.address(one.operands[0])
    if len(one.operands) != 1:
        raise Fault(FaultKind.UNKNOWN, f"operands of {one.text}")

    def commit(place: int, warp: int) -> None:
        engine = pipe.enter(warp)
        pipe.barriers.use(place, engine)
        told = pipe.leave(warp, engine)

        def arrive() -> None:
            pipe.barriers.arrive(place, 1, told)

        submit(machine, one, arrive)

    def step(active: Active) -> None:
        for thread, place in zip(active.index.tolist(), address(active).tolist(), strict=True):
            commit(place, thread // WARP)

    return step


_COPIES = {"128x256b": (128, 256, 1), "128x128b": (128, 128, 1), "32x128b.warpx4": (32, 128, 4)}
"""Shape -> rows, bits of each, times that they are written."""


@instruction(*(f"tcgen05.cp.cta_group::1.{shape}" for shape in _COPIES))
def _copy(one: Instruction, machine: Machine) -> Step:
    pipe = machine.unit(Pipe)
    rows, bits, times = _COPIES[one.mnemonic.removeprefix("tcgen05.cp.cta_group::1.")]
    target, source = _number(machine, one.operands[0]), _number(machine, one.operands[1])
    columns = bits // 32

    def issue(thread: int) -> None:
        matrix, place = tcgen05_matrix(source(thread), machine.architecture), target(thread)
        chunks = tile_chunks(matrix, rows, bits // 8, 8, False)
        if place >> 16:
            raise Fault(FaultKind.MISUSE, f"a copy to lane {place >> 16} of tensor memory")
        engine = pipe.enter(thread // WARP)
        read_chunks(machine, chunks, engine)
        pipe.touch(engine, [Area(ALL_LANES, slice(place, place + columns))], writes=True)
        pipe.leave(thread // WARP, engine)

        def execute() -> None:
            raw = machine.shared.read(chunks.ravel(), 8, 2, machine.schedule.check)
            words = np.ascontiguousarray(raw).view(np.uint32).reshape(rows, columns)
            cells = np.arange(LANES)[:, None] * pipe.memory.columns + place + np.arange(columns)
            pipe.memory.expect_owned(slice(place, place + columns))
            pipe.memory.write(cells, np.tile(words, (times, 1)))
            machine.counts.bytes_written["tensor"] += 4 * cells.size

        submit(machine, one, execute)

    def step(active: Active) -> None:
        for thread in active.index.tolist():
            issue(thread)

    return step


@instruction("tcgen05.fence::before_thread_sync", "tcgen05.fence::after_thread_sync")
def _fence(one: Instruction, machine: Machine) -> Step:
    # Barriers order the pipe's operations here as those of threads, so that there is nothing left to do: code without
    # these fences, as compilers emit it, is not found wrong.
    return lambda active: None
