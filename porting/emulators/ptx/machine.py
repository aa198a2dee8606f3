"""The state of one program (CTA) while it is executed, and what instructions are decoded against.

A machine is made once a launch and reset for each program, so that the closures that instructions were decoded to
hold on to its arrays. It does not know any instruction.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Counts, Launch, Schedule
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.assignment import Access
from porting.emulators.ptx.banks import Banks
from porting.emulators.ptx.clocks import Clocks
from porting.emulators.ptx.flow import Flow
from porting.emulators.ptx.memory import SHARED_BASE, Addresses, GlobalMemory, LocalMemory, SharedMemory
from porting.emulators.ptx.parse import Program
from porting.emulators.ptx.proxies import Proxies
from porting.emulators.ptx.shadow import Shadow
from porting.emulators.ptx.table import Step
from porting.emulators.ptx.types import BYTES, DTYPES, ELEMENT, UNSIGNED, Row, immediate, view, widened


class Unit(Protocol):
    """State that one module keeps of a program: of barriers, of tensor memory, of copies under way."""

    def reset(self) -> None:
        """A program begins."""

    def finish(self) -> None:
        """A program's threads have all ended and every asynchronous operation has taken effect.

        Raises:
            Fault: if what is left is misuse, as tensor memory that was not given back.
        """


ENGINES = ("wgmma.mma_async.", "tcgen05.mma.", "cp.async.bulk.")
"""How the instructions begin that read or write shared memory by the asynchronous proxy."""
UnitKind = TypeVar("UnitKind", bound=Unit)
AddressOf = Callable[[Active], Addresses]


class Machine:
    """One program at a time.

    Args:
        program: what is executed.
        launch: with what.
        schedule: which of the permitted executions.
        memory: the launch's buffers.
    """

    def __init__(self, program: Program, launch: Launch, schedule: Schedule, memory: GlobalMemory) -> None:
        self.program, self.launch, self.schedule, self.memory = program, launch, schedule, memory
        self.architecture = int("".join(filter(str.isdigit, launch.architecture.rpartition(":")[2])) or 0)
        """As a number: 90, 100, 107."""
        self.threads = program.threads
        self.warps = self.threads // WARP
        if self.threads % WARP:
            raise Fault(FaultKind.MISUSE, f"{self.threads} threads are no whole warps")
        self.thread = np.arange(self.threads)
        self.lane, self.warp = self.thread % WARP, self.thread // WARP
        self.counts = Counts()
        self.banks = Banks(self.counts)
        self.symbols, shared, local = _place_variables(program, launch.shared_bytes)
        self.shared = SharedMemory(shared)
        self.local = LocalMemory(self.threads, local)
        self.parameters = _parameter_bank(program, launch)
        self.flow = Flow(self._groups())
        self.clocks = Clocks(self.warps)
        self.shadow = self._make_shadow() if schedule.check else None
        self.queue: deque[Callable[[], None]] = deque()
        """Asynchronous operations that have not taken effect, in their order."""
        self.read_registers: set[str] = set()
        """By the instruction that is being decoded: `source` notes them, `destination` those written."""
        self.written_registers: set[str] = set()
        self.register_marks: list[npt.NDArray[np.bool_]] = []
        """Of the registers whose writing is noted: which threads have written them."""
        self.guards: list[Callable[[list[Access], list[Step | None]], None]] = []
        """What modules wrap instructions in once all are decoded, if races are looked for."""
        self._units: dict[type[Unit], Unit] = {}
        self._registers: dict[str, Row] = {}
        self._constants: dict[tuple[str, str], Row] = {}
        self._special = _special_registers(self.thread, launch, self.warps)

    # What a program begins and ends with.

    def reset(self, place: tuple[int, int, int]) -> None:
        """Begin the program at that place of the grid."""
        for axis, value in zip("xyz", place, strict=True):
            self._special[f"%ctaid.{axis}"][:] = value
        self.shared.reset()
        self.queue.clear()
        self.flow.start()
        for mark in self.register_marks:
            mark[:] = False
        self.clocks.reset()
        if self.shadow is not None:
            self.shadow.reset()
        for unit in self._units.values():
            unit.reset()

    def finish(self) -> None:
        """End a program: every asynchronous operation takes effect, and every unit looks at what is left."""
        while self.queue:
            self.advance()
        for unit in self._units.values():
            unit.finish()

    def unit(self, kind: Callable[["Machine"], UnitKind]) -> UnitKind:
        """The one unit of that class, made when first asked for (while decoding)."""
        made = self._units.get(kind)  # type: ignore[call-overload]
        if made is None:
            made = kind(self)
            made.reset()
            self._units[kind] = made  # type: ignore[index]
        return made  # type: ignore[no-any-return]

    def waiting_at_barriers(self) -> list[dict[int, int]]:
        """Of each barrier: instruction -> threads that wait there."""
        return [one for unit in self._units.values() for one in getattr(unit, "waiting", list)()]

    # Asynchronous operations.

    def submit(self, operation: Callable[[], None]) -> None:
        """Have an operation take effect: at once if eager; if lazy, in order, when no thread can run."""
        if self.schedule.lazy:
            self.queue.append(operation)
        else:
            operation()
            self.flow.wake()

    def advance(self) -> None:
        """Let the oldest operation take effect, and every waiting thread look again."""
        self.queue.popleft()()
        self.flow.wake()

    # Operands, while decoding.

    def source(self, operand: str, kind: str) -> Row:
        """What an instruction reads: a register's, literal's or symbol's bits as that type, one element a thread.

        The row is the register itself, its content that of whenever it is looked at. Packed types: (threads, 2).

        Raises:
            Fault: UNKNOWN.
        """
        row = self._registers.get(operand)
        if row is not None or operand in self.program.registers:
            self.read_registers.add(operand)
            return self._view(operand, kind)
        if operand in self._special:
            return view(self._special[operand], kind)
        constant = self._constants.get((operand, kind))
        if constant is None:
            constant = self._constants[operand, kind] = self._constant(operand, kind)
        return constant

    def destination(self, operand: str, kind: str) -> Row:
        """Where an instruction writes: a register as that type, or as the wider one that fills it; "_" is no one's.

        Raises:
            Fault: UNKNOWN.
        """
        if operand == "_":
            return view(np.zeros(self.threads * BYTES[kind], np.uint8).view(UNSIGNED[BYTES[kind]]), kind)
        if operand not in self.program.registers:
            raise Fault(FaultKind.UNKNOWN, f"{operand} is no register")
        self.written_registers.add(operand)
        self._row(operand)
        return widened(self._registers[operand], kind)

    def address(self, operand: str) -> AddressOf:
        """What makes the active threads' addresses from "[%rd1+16]": (active threads,).

        Raises:
            Fault: UNKNOWN.
        """
        base, _, offset = operand.strip("[] ").replace("+-", "-").partition("+")
        base, minus, negative = base.partition("-")
        move = int(offset or (minus + negative) or "0", 0) if not minus else -int(negative, 0)
        name = base.strip()
        wide = self.program.registers.get(name, "b64") != "b32"
        row = self.source(name, "b64" if wide else "b32")
        if not move:
            return lambda active: (row if active.full else row[active.index]).astype(np.int64)
        size = 8 if wide else 4
        step = UNSIGNED[size].type(move & ((1 << (8 * size)) - 1))
        return lambda active: ((row if active.full else row[active.index]) + step).astype(np.int64)

    def poison(self, names: set[str]) -> None:
        """Give registers that nothing writes bits that differ from schedule to schedule."""
        octet = 0xFD if self.schedule.reverse else 0xFF if self.schedule.lazy else 0x7F
        for name in names:
            row = self._row(name)
            if row.dtype != bool:
                row.view(np.uint8)[:] = octet

    def _view(self, operand: str, kind: str) -> Row:
        row = self._row(operand)
        if BYTES[kind] > row.dtype.itemsize:
            raise Fault(FaultKind.UNKNOWN, f"{operand} is narrower than {kind}")
        return view(row, kind)

    def _row(self, operand: str) -> Row:
        row = self._registers.get(operand)
        if row is None:
            kind = self.program.registers[operand]
            dtype = DTYPES["pred"] if kind == "pred" else UNSIGNED[BYTES[kind]]
            row = self._registers[operand] = np.zeros(self.threads, dtype)
        return row

    def _constant(self, operand: str, kind: str) -> Row:
        if operand in self.symbols:
            value: Row | None = np.array([self.symbols[operand]]).astype(DTYPES[kind])
        else:
            value = immediate(operand, kind)
        if value is None:
            raise Fault(FaultKind.UNKNOWN, f"operand {operand}")
        shape = (self.threads, 2) if kind in ELEMENT else (self.threads,)
        if kind in ELEMENT:
            raw = immediate(operand, f"b{8 * BYTES[kind]}")
            return view(np.repeat(raw, self.threads), kind)  # type: ignore[arg-type]
        return np.broadcast_to(value, shape).copy()

    def _make_shadow(self) -> Shadow:
        engines = any(one.mnemonic.startswith(ENGINES) for one in self.program.instructions)
        content = self.shared.content.content
        proxies = Proxies(self.clocks, len(content)) if engines else None
        return Shadow(self.clocks, content, SHARED_BASE, proxies=proxies)

    def _groups(self) -> list[npt.NDArray[np.bool_]]:
        """All warps together; in reversed order each warp alone, or each four where instructions join four."""
        if not self.schedule.reverse:
            return [np.ones(self.threads, bool)]
        joined = any(one.mnemonic.startswith("wgmma.") for one in self.program.instructions)
        size = WARP * (4 if joined else 1)
        return [self.thread // size == group for group in reversed(range(-(-self.threads // size)))]


def _place_variables(program: Program, dynamic: int) -> tuple[dict[str, int], int, int]:
    """Address of each variable; bytes of shared and of local memory."""
    symbols: dict[str, int] = {}
    ends = {"shared": SHARED_BASE, "local": 0}
    for variable in sorted(program.variables, key=lambda one: one.size == 0):
        start = -(-ends[variable.space] // variable.alignment) * variable.alignment
        symbols[variable.name] = start
        ends[variable.space] = start + variable.size
    return symbols, ends["shared"] - SHARED_BASE + dynamic, ends["local"]


def _parameter_bank(program: Program, launch: Launch) -> dict[str, npt.NDArray[np.uint8]]:
    """Parameter -> its bytes."""
    if len(launch.arguments) != len(program.parameters):
        raise Fault(
            FaultKind.MISUSE, f"the text has {len(program.parameters)} parameters, the launch {len(launch.arguments)}"
        )
    bank = {}
    for parameter, argument in zip(program.parameters, launch.arguments, strict=True):
        if len(argument) != parameter.size:
            raise Fault(FaultKind.MISUSE, f"{parameter.name} has {parameter.size} bytes, not {len(argument)}")
        bank[parameter.name] = np.frombuffer(argument, np.uint8)
    return bank


def _special_registers(thread: npt.NDArray[np.int64], launch: Launch, warps: int) -> dict[str, Row]:
    """Name -> what each thread reads there."""
    nothing, one = np.zeros_like(thread), np.ones_like(thread)
    lane = thread % WARP
    rows = {
        "%tid.x": thread,
        **dict.fromkeys(("%tid.y", "%tid.z", "%ctaid.x", "%ctaid.y", "%ctaid.z"), nothing),
        "%ntid.x": one * len(thread),
        **dict.fromkeys(("%ntid.y", "%ntid.z", "%cluster_nctarank", "%cluster_nctaid.x"), one),
        **dict.fromkeys(("%cluster_ctarank", "%cluster_ctaid.x"), nothing),
        **{f"%nctaid.{axis}": one * size for axis, size in zip("xyz", launch.grid, strict=True)},
        "%laneid": lane,
        "%warpid": thread // WARP,
        "%nwarpid": one * warps,
        "%lanemask_eq": 1 << lane,
        "%lanemask_lt": (1 << lane) - 1,
        "%lanemask_le": (2 << lane) - 1,
        "%lanemask_gt": 0xFFFFFFFF ^ ((2 << lane) - 1),
        "%lanemask_ge": 0xFFFFFFFF ^ ((1 << lane) - 1),
    }
    return {name: row.astype(np.uint32) for name, row in rows.items()}
