"""Operations that take effect later: told where they were started, and what their engines touch and know.

An engine is an agent of the clocks' beside the warps. What it touches is noted when a warp starts the operation, as
everything that may happen to it does so from then on; who waits for it learns of it when it has taken effect.
"""

from collections.abc import Callable

import numpy as np

from porting.emulators.faults import Fault
from porting.emulators.ptx.clocks import Integers
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.memory import SHARED_BASE, Addresses
from porting.emulators.ptx.parse import Instruction

CHUNK = 16
"""Bytes of shared memory that engines touch together."""


def submit(machine: Machine, one: Instruction, operation: Callable[[], None]) -> None:
    """Have an instruction's operation take effect when the schedule says; its faults are that instruction's."""

    def execute() -> None:
        try:
            operation()
        except Fault as fault:
            raise (fault if fault.line else one.fault(fault.kind, fault.detail)) from fault

    machine.submit(execute)


def tell(machine: Machine, agent: int) -> Integers | None:
    """What an agent did and knows up to now, where that is looked at."""
    return None if machine.shadow is None else machine.clocks.tell([agent])


def learn(machine: Machine, agent: int, told: Integers | None) -> None:
    """That agent knows it from now on."""
    if told is not None:
        machine.clocks.learn([agent], told)


def read_chunks(machine: Machine, chunks: Addresses, engine: int) -> None:
    """An engine is going to read chunks of shared memory; looked at and counted.

    Raises:
        Fault: OUT_OF_BOUNDS, MISALIGNED or RACE.
    """
    flat = chunks.ravel()
    machine.shared.content.places(flat, 8, 2)
    machine.counts.bytes_read["shared"] += CHUNK * len(flat)
    if machine.shadow is None:
        return
    agents = np.full(len(flat), engine)
    if machine.shadow.proxies is not None:
        machine.shadow.proxies.expect_fenced(flat - SHARED_BASE, CHUNK, agents)
    machine.shadow.shared_read(flat, CHUNK, agents)


def write_chunks(machine: Machine, chunks: Addresses, engine: int) -> None:
    """An engine is going to write chunks of shared memory; looked at and counted.

    Raises:
        Fault: OUT_OF_BOUNDS, MISALIGNED or RACE.
    """
    flat = chunks.ravel()
    machine.shared.content.places(flat, 8, 2)
    machine.counts.bytes_written["shared"] += CHUNK * len(flat)
    if machine.shadow is not None:
        machine.shadow.shared_write(flat, CHUNK, np.full(len(flat), engine))
