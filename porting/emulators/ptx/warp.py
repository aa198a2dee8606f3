"""What the threads of a warp do together: shfl, vote, activemask, match, redux, elect; and what only orders.

Semantics: PTX ISA 9, "Data Movement: shfl.sync", "Parallel Synchronization: vote.sync, match.sync, redux.sync,
elect.sync". Instructions that order memory accesses of threads, or ask for time or registers, change no value here.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.barriers import expect_members
from porting.emulators.ptx.floats import extreme
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction
from porting.emulators.ptx.types import DTYPES, Row


def shuffle_source(
    lane: npt.NDArray[np.int64], mode: str, offset: Row, control: Row
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The lane that each reads, and whether that lies within its segment (else it reads itself)."""
    by = (offset & 31).astype(np.int64)
    clamp, segment = (control & 31).astype(np.int64), (control >> 8 & 31).astype(np.int64)
    last = (lane & segment) | (clamp & ~segment)
    first = lane & segment
    if mode == "up":
        wanted = lane - by
        inside = wanted >= last
    else:
        wanted = {"down": lane + by, "bfly": lane ^ by, "idx": first | (by & ~segment)}[mode]
        inside = wanted <= last
    return np.where(inside, wanted, lane), inside


@instruction(*(f"shfl.sync.{mode}.b32" for mode in ("bfly", "idx", "up", "down")))
def _shuffle(one: Instruction, machine: Machine) -> Step:
    destination, source, by, control, members = one.operands
    name, _, predicate = destination.partition("|")
    mode = one.mnemonic.split(".")[2]
    out = machine.destination(name, "b32")
    holds = machine.destination(predicate, "pred") if predicate else None
    value = machine.source(source, "b32")
    offset, limits = machine.source(by, "u32"), machine.source(control, "u32")
    present = machine.source(members, "b32")
    everyone = members not in machine.program.registers and bool((present == 0xFFFFFFFF).all())
    fixed = by not in machine.program.registers and control not in machine.program.registers
    base = machine.thread - machine.lane

    def lanes() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        lane, inside = shuffle_source(machine.lane, mode, offset, limits)
        return base + lane, inside

    known = lanes() if fixed else None

    def step(active: Active) -> None:
        if not (everyone and active.full):
            expect_members(active, machine, present)
        read, inside = known if known is not None else lanes()
        if not active.full and not active.mask[read[active.index]].all():
            raise Fault(FaultKind.DIVERGENT, "a thread reads the register of one that is not here")
        np.copyto(out, value.take(read), where=active.where)
        if holds is not None:
            np.copyto(holds, inside, where=active.where)

    return step


def _ballots(active: Active, holds: Row) -> npt.NDArray[np.uint32]:
    """(warps,): which active threads of each warp vote yes."""
    votes = (holds & active.mask).reshape(-1, WARP)
    return np.packbits(votes, axis=1, bitorder="little").view(np.uint32).ravel()


@instruction(*(f"vote.sync.{mode}" for mode in ("all.pred", "any.pred", "uni.pred", "ballot.b32")))
def _vote(one: Instruction, machine: Machine) -> Step:
    mode = one.mnemonic.split(".")[2]
    destination, predicate, members = one.operands
    out = machine.destination(destination, "b32" if mode == "ballot" else "pred")
    source = machine.source(predicate.removeprefix("!"), "pred")
    present = machine.source(members, "b32")
    negated = predicate.startswith("!")

    def step(active: Active) -> None:
        expect_members(active, machine, present)
        yes = _ballots(active, ~source if negated else source)[machine.warp] & present
        here = present & _ballots(active, np.ones_like(source))[machine.warp]
        if mode == "ballot":
            result: Row = yes
        elif mode == "all":
            result = yes == here
        else:
            result = yes != 0 if mode == "any" else (yes == 0) | (yes == here)
        np.copyto(out, result, where=active.where)

    return step


@instruction("activemask.b32")
def _active_mask(one: Instruction, machine: Machine) -> Step:
    out = machine.destination(one.operands[0], "b32")

    def step(active: Active) -> None:
        np.copyto(out, _ballots(active, active.mask)[machine.warp], where=active.where)

    return step


@instruction(*(f"match.{mode}.sync.b{bits}" for mode in ("any", "all") for bits in (32, 64)))
def _match(one: Instruction, machine: Machine) -> Step:
    _, mode, _, kind = one.mnemonic.split(".")
    name, _, predicate = one.operands[0].partition("|")
    out = machine.destination(name, "b32")
    holds = machine.destination(predicate, "pred") if predicate else None
    value, present = machine.source(one.operands[1], kind), machine.source(one.operands[2], "b32")

    def step(active: Active) -> None:
        expect_members(active, machine, present)
        rows = value.reshape(-1, WARP)
        same = (rows[:, :, None] == rows[:, None, :]) & active.mask.reshape(-1, 1, WARP)
        equal = np.packbits(same, axis=2, bitorder="little").view(np.uint32).ravel() & present
        alike = equal == present
        np.copyto(out, equal if mode == "any" else np.where(alike, present, 0), where=active.where)
        if holds is not None:
            np.copyto(holds, alike, where=active.where)

    return step


_INTEGER_REDUCTIONS: dict[str, Callable[[Row], Row]] = {
    "add": lambda rows: np.add.reduce(rows, axis=1, dtype=rows.dtype),
    "min": lambda rows: rows.min(axis=1),
    "max": lambda rows: rows.max(axis=1),
    "and": lambda rows: np.bitwise_and.reduce(rows, axis=1),
    "or": lambda rows: np.bitwise_or.reduce(rows, axis=1),
    "xor": lambda rows: np.bitwise_xor.reduce(rows, axis=1),
}


def _float_reduction(name: str, keep_nan: bool, magnitude: bool) -> Callable[[Row], Row]:
    def reduce(rows: Row) -> Row:
        rows = np.abs(rows) if magnitude else rows
        result = np.ascontiguousarray(rows[:, 0])
        for lane in range(1, rows.shape[1]):
            result = extreme(result, np.ascontiguousarray(rows[:, lane]), "f32", name == "max", keep_nan)
        return result

    return reduce


def _reduction(one: Instruction, machine: Machine, kind: str, reduce: Callable[[Row], Row]) -> Step:
    out, value = machine.destination(one.operands[0], kind), machine.source(one.operands[1], kind)
    present = machine.source(one.operands[2], "b32")

    def step(active: Active) -> None:
        expect_members(active, machine, present)
        members = present >> machine.lane.astype(np.uint32) & 1 == 1
        for warp in active.warps.tolist():
            threads = slice(warp * WARP, (warp + 1) * WARP)
            who = members[threads] & active.mask[threads]
            if not (present[threads][who] == present[threads][who][0]).all():
                raise Fault(FaultKind.DIVERGENT, f"the threads of warp {warp} name different members")
            out[threads][who] = reduce(value[threads][who][None])[0]

    return step


def _enter_reductions() -> None:
    for kind in ("u32", "s32", "b32"):
        for name, reduce in _INTEGER_REDUCTIONS.items():
            if (kind == "b32") == (name in ("and", "or", "xor")):
                instruction(f"redux.sync.{name}.{kind}")(partial(_reduction, kind=kind, reduce=reduce))
    for name in ("min", "max"):
        for magnitude in ("", ".abs"):
            for keep in ("", ".NaN"):
                reduce = _float_reduction(name, bool(keep), bool(magnitude))
                mnemonic = f"redux.sync.{name}{magnitude}{keep}.f32"
                instruction(mnemonic)(partial(_reduction, kind="f32", reduce=reduce))


@instruction("elect.sync")
def _elect(one: Instruction, machine: Machine) -> Step:
    name, _, predicate = one.operands[0].partition("|")
    out, holds = machine.destination(name, "b32"), machine.destination(predicate, "pred")
    present = machine.source(one.operands[1], "b32")

    def step(active: Active) -> None:
        expect_members(active, machine, present)
        # The lowest member leads: which one does is not specified, only that it is always the same.
        leader = np.bitwise_count((present & -present.view(np.int32).view(np.uint32)) - np.uint32(1))
        np.copyto(out, leader.astype(np.uint32), where=active.where)
        np.copyto(holds, machine.lane == leader, where=active.where)

    return step


_FENCES = ("sc", "acq_rel", "acquire", "release")
_SCOPES = ("cta", "cluster", "gpu", "sys")
_PRIORITIES = ("evict_last", "evict_normal", "evict_first", "evict_unchanged")


@instruction(
    *(f"membar.{level}" for level in ("cta", "gl", "sys")),
    *(f"fence.{order}.{scope}" for order in _FENCES for scope in _SCOPES),
    *(f"setmaxnreg.{way}.sync.aligned.u32" for way in ("inc", "dec")),
    *(f"prefetch.global.{cache}" for cache in ("L1", "L2")),
    "griddepcontrol.launch_dependents",
    "griddepcontrol.wait",
    "nanosleep.u32",
    "prefetchu.L1",
)
def _only_orders(one: Instruction, machine: Machine) -> Step:
    return lambda active: None


@instruction(
    *(
        f"createpolicy.fractional.L2::{first}{second}.b64"
        for first in _PRIORITIES
        for second in ("", ".L2::evict_first", ".L2::evict_unchanged")
    )
)
def _policy(one: Instruction, machine: Machine) -> Step:
    out = machine.destination(one.operands[0], "b64")

    def step(active: Active) -> None:
        np.copyto(out, DTYPES["b64"].type(0), where=active.where)

    return step


_enter_reductions()
