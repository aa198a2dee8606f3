"""Run a launch: every program of the grid, one after the other, into the launch's buffers."""

from itertools import product

import numpy as np

from porting.emulators.launch import Counts, Launch, Schedule
from porting.emulators.ptx import instructions  # noqa: F401 - enters every instruction in the table
from porting.emulators.ptx.decode import decode, unknown
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.memory import GlobalMemory
from porting.emulators.ptx.parse import parse
from porting.emulators.ptx.scheduler import run_program


def run(launch: Launch, schedule: Schedule) -> Counts:
    """Execute every program of a launch; its buffers are written in place.

    Raises:
        Fault: at the first thing that a device would punish, or that is not known.
    """
    memory = GlobalMemory(launch.buffers)
    machine = Machine(parse(launch.text), launch, schedule, memory)
    places = list(product(*(range(size) for size in reversed(launch.grid))))
    with np.errstate(all="ignore"):
        code = decode(machine)
        for z, y, x in reversed(places) if schedule.reverse else places:
            machine.reset((x, y, z))
            run_program(machine, code)
    memory.write_back()
    return machine.counts


def undecoded(text: str, architecture: str) -> tuple[str, ...]:
    """The instructions of a text that the emulator does not know, each once.

    Raises:
        Fault: UNKNOWN, if the text itself cannot be read.
    """
    program = parse(text)
    arguments = tuple(bytes(parameter.size) for parameter in program.parameters)
    launch = Launch(text, architecture, (1, 1, 1), arguments, (), program.threads // 32, 1 << 16)
    return unknown(Machine(program, launch, Schedule(), GlobalMemory(())))
