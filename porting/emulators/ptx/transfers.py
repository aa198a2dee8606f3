"""Loads and stores of whole registers: ld, st, in every space, of one element or of a vector.

Semantics: PTX ISA 9, "Data Movement and Conversion Instructions: ld, st". Cache hints change nothing here.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.memory import Addresses
from porting.emulators.ptx.parse import Instruction, operands_of
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.types import BYTES, UNSIGNED, Row, view

_KINDS = ("b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64")
_VECTORS = ("", ".v2", ".v4", ".v8")
_CACHES = (
    "", ".L1::evict_first", ".L1::evict_last", ".L1::no_allocate", ".L1::evict_normal", ".L1::evict_unchanged",
)  # fmt: skip
_POLICIES = ("", ".L2::cache_hint")
Read = Callable[[Active], Row]
Write = Callable[[Active, Row], None]


def elements_of(operand: str) -> tuple[str, ...]:
    """The registers of "{%r1, %r2}", or the one."""
    return operands_of(operand[1:-1]) if operand.startswith("{") else (operand,)


def _vector_of(mnemonic: str) -> int:
    return next((int(part[1:]) for part in mnemonic.split(".") if part in ("v2", "v4", "v8")), 1)


def _mnemonics(operation: str, spaces: tuple[str, ...], modifiers: tuple[str, ...]) -> list[str]:
    return [
        f"{operation}{space}{modifier}{policy if modifier in _CACHES else ''}{vector}.{kind}"
        for space in spaces
        for modifier in modifiers
        for policy in (_POLICIES if modifier in _CACHES else ("",))
        for vector in _VECTORS
        for kind in _KINDS
    ]


_GLOBAL_LOADS = (
    *_mnemonics("ld", (".global",), (*_CACHES, ".ca", ".cg", ".cs", ".lu", ".cv", ".nc")),
    *_mnemonics("ld.volatile", (".global",), ("",)),
    *_mnemonics("ld.relaxed", (".gpu.global", ".sys.global"), ("",)),
    *_mnemonics("ld.acquire", (".gpu.global", ".sys.global"), ("",)),
)
_GLOBAL_STORES = (
    *_mnemonics("st", (".global",), (*_CACHES, ".wb", ".cg", ".cs", ".wt")),
    *_mnemonics("st.volatile", (".global",), ("",)),
    *_mnemonics("st.relaxed", (".gpu.global", ".sys.global"), ("",)),
    *_mnemonics("st.release", (".gpu.global", ".sys.global"), ("",)),
)


def _load(one: Instruction, machine: Machine, read: Callable[[Active, Addresses, int, int], Row]) -> Step:
    kind, count = one.mnemonic.rpartition(".")[2], _vector_of(one.mnemonic)
    names = elements_of(one.operands[0])
    if len(names) != count:
        raise Fault(FaultKind.UNKNOWN, f"{len(names)} registers for {count} elements")
    size = BYTES[kind]
    address = machine.address(one.operands[1])
    outs = [machine.destination(name, kind) for name in names]

    def step(active: Active) -> None:
        values = view(read(active, address(active), size, count), kind) if count == 1 else None
        if values is not None:
            _put(outs[0], active, values)
            return
        several = read(active, address(active), size, count)
        for place, out in enumerate(outs):
            _put(out, active, view(np.ascontiguousarray(several[:, place]), kind))

    return step


def _put(out: Row, active: Active, values: Row) -> None:
    if active.full:
        out[:] = values
    else:
        out[active.index] = values


def _store(one: Instruction, machine: Machine, write: Callable[[Active, Addresses, int, Row], None]) -> Step:
    kind, count = one.mnemonic.rpartition(".")[2], _vector_of(one.mnemonic)
    names = elements_of(one.operands[1])
    if len(names) != count:
        raise Fault(FaultKind.UNKNOWN, f"{len(names)} registers for {count} elements")
    size = BYTES[kind]
    address = machine.address(one.operands[0])
    sources = [machine.source(name, f"b{8 * size}") for name in names]

    def step(active: Active) -> None:
        if count == 1:
            values = sources[0] if active.full else sources[0][active.index]
        else:
            values = np.empty((active.count, count), UNSIGNED[size])
            for place, source in enumerate(sources):
                values[:, place] = source if active.full else source[active.index]
        write(active, address(active), size, values)

    return step


@instruction(*_GLOBAL_LOADS)
def _load_global(one: Instruction, machine: Machine) -> Step:
    read_bytes = machine.counts.bytes_read

    def read(active: Active, address: Addresses, size: int, count: int) -> Row:
        read_bytes["global"] += active.count * size * count
        return machine.memory.read(address, size, count)

    return _load(one, machine, read)


@instruction(*_GLOBAL_STORES)
def _store_global(one: Instruction, machine: Machine) -> Step:
    written = machine.counts.bytes_written

    def write(active: Active, address: Addresses, size: int, values: Row) -> None:
        written["global"] += values.nbytes
        machine.memory.write(address, size, values)

    return _store(one, machine, write)


@instruction(*_mnemonics("ld", (".shared", ".shared::cta"), ("",)), *_mnemonics("ld.volatile", (".shared",), ("",)))
def _load_shared(one: Instruction, machine: Machine) -> Step:
    return _load(one, machine, lambda active, address, size, count: read_shared(machine, active, address, size, count))


@instruction(*_mnemonics("st", (".shared", ".shared::cta"), ("",)), *_mnemonics("st.volatile", (".shared",), ("",)))
def _store_shared(one: Instruction, machine: Machine) -> Step:
    return _store(
        one, machine, lambda active, address, size, values: write_shared(machine, active, address, size, values)
    )


@instruction(*_mnemonics("ld", (".local",), ("",)))
def _load_local(one: Instruction, machine: Machine) -> Step:
    return _load(
        one, machine, lambda active, address, size, count: machine.local.read(active.index, address, size, count)
    )


@instruction(*_mnemonics("st", (".local",), ("",)))
def _store_local(one: Instruction, machine: Machine) -> Step:
    return _store(
        one, machine, lambda active, address, size, values: machine.local.write(active.index, address, size, values)
    )


@instruction(*_mnemonics("ld", (".param",), ("",)))
def _load_parameter(one: Instruction, machine: Machine) -> Step:
    kind, count = one.mnemonic.rpartition(".")[2], _vector_of(one.mnemonic)
    name, _, offset = one.operands[1].strip("[] ").partition("+")
    content = machine.parameters.get(name.strip())
    start, size = int(offset or "0", 0), BYTES[kind]
    if content is None or start + size * count > len(content):
        raise Fault(FaultKind.OUT_OF_BOUNDS, f"{size * count} bytes of parameter {one.operands[1]}")
    values = view(content[start : start + size * count].copy().view(UNSIGNED[size]), kind)
    outs = [machine.destination(each, kind) for each in elements_of(one.operands[0])]

    def step(active: Active) -> None:
        for out, value in zip(outs, values, strict=True):
            np.copyto(out, value, where=active.where, casting="same_kind")

    return step


def read_shared(machine: Machine, active: Active, address: Addresses, size: int, count: int = 1) -> Row:
    """What the active threads read at their addresses, checked, ordered and counted."""
    warp = machine.warp if active.full else machine.warp[active.index]
    values = machine.shared.read(address, size, count, machine.schedule.check)
    if machine.shadow is not None:
        machine.shadow.shared_read(address, size * count, warp)
    machine.counts.bytes_read["shared"] += len(address) * size * count
    machine.banks.access(address, warp, size * count)
    return values


def write_shared(machine: Machine, active: Active, address: Addresses, size: int, values: Row) -> None:
    """Store what the active threads hold at their addresses, checked, ordered and counted."""
    warp = machine.warp if active.full else machine.warp[active.index]
    extent = size * (values.shape[1] if values.ndim > 1 else 1)
    shadow = machine.shadow
    doubts = shadow.shared_write(address, extent, warp, tolerant=True) if shadow is not None else []
    machine.shared.write(address, size, values, machine.schedule.check)
    if shadow is not None:
        expect_one_value(machine, address, size, values, warp)
        shadow.settle(doubts)
    machine.counts.bytes_written["shared"] += len(address) * extent
    machine.banks.access(address, warp, extent)


def expect_one_value(machine: Machine, address: Addresses, size: int, values: Row, warp: npt.NDArray[np.int64]) -> None:
    """See that warps that stored to one address in one instruction stored the same.

    Of one warp's threads, one wins, and which is not specified: sums that a warp has reduced may differ in their last
    bit from thread to thread, so that this is no race.

    Raises:
        Fault: RACE.
    """
    count = values.shape[1] if values.ndim > 1 else 1
    lost = machine.shared.read(address, size, count, check=False) != values
    if not lost.any():
        return
    # Each warp's winner, then whether the winners of one address agree.
    winners = {(int(place), int(who)): thread for thread, (place, who) in enumerate(zip(address, warp, strict=True))}
    stored: dict[int, int] = {}
    for (place, who), thread in winners.items():
        other = stored.setdefault(place, thread)
        if (values[other] != values[thread]).any():
            detail = f"warps {warp[other]} and {who} store different values at {place:#x} in one instruction"
            raise Fault(FaultKind.RACE, detail)
