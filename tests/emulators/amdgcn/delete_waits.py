"""Deletes every synchronising instruction of compiled kernels, one at a time, and says how each deletion is found.

    python -m tests.emulators.amdgcn.delete_waits hip:gfx950 ring_attention:bfloat16:1 gated_mlp:bfloat16:1

names an architecture and kernels with a variant and the number of one of their examples. A signal and the wait of its
barrier are deleted together. What is not found is explained: never executed, nothing was outstanding, or (shown by the
execution itself, in which every use before the effect and every race is a fault) nothing used it before a later wait.
Exit code 1 where less than nine of ten of those that are executed are found, or have nothing to wait for.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from porting.emulation.capture import capture
from porting.emulators.amdgcn.machine import run
from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.amdgcn.registry import HANDLERS, Context, Step, register
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer, Launch, Schedule
from porting.kernel_compiler.offline import make_inputs
from porting.kernel_library import find_kernels

WAIT = re.compile(r"\s+(s_waitcnt|s_wait_(?:load|store|ds|km|async|tensor)cnt(?:_dscnt)?)\s+(.*)$")
BARRIER = re.compile(r"\s+(s_barrier|s_barrier_wait)\b")
SIGNAL = re.compile(r"\s+s_barrier_signal\b")
NOTHING = "\ts_nop 0"
NEVER = "\tv_never_executed"
"""No instruction: executing it is a fault."""
EXPECT = "s_expect_at_most"
"""No instruction of any processor: what `decode_expectation` executes."""
SCHEDULES = (Schedule(), Schedule(reverse=True))
NOT_EXECUTED, IDLE = "never executed", "nothing outstanding"
LATER, UNTOUCHED = "a later wait comes before the first use", "no wave touches what another touched"


@dataclass(frozen=True)
class Deletion:
    """One synchronising instruction that was taken out of a text."""

    line: int
    """From 0."""
    instruction: str
    text: str
    expectation: str
    """The text with the wait turned into a check that there was nothing to wait for; empty for a barrier."""
    probe: str
    """The text with what faults if it is executed."""


def decode_expectation(instruction: Instruction, context: Context) -> Step:
    """A fault if more operations are outstanding than the wait in its place would leave."""
    limits = [word.partition("=") for word in instruction.operands]
    if any(counter not in context.target.counter_limits for counter, _, _ in limits):
        raise UndecodedError(instruction.text)

    def expect(waves: Waves) -> None:
        for counter, _, limit in limits:
            outstanding = waves.queues.get(counter, [])
            everyone = np.ones(waves.count, np.bool_)
            active = everyone if waves.active is None else waves.active
            mine = [each for each in outstanding if ((everyone if each.waves is None else each.waves) & active).any()]
            if len(mine) > int(limit):
                raise Fault(FaultKind.MISUSE, f"{len(mine)} operations outstanding on {counter}")

    return expect


def counters_of(name: str, operand: str) -> dict[str, int]:
    """What a wait waits for: counter -> operations that may be left."""
    if name == "s_waitcnt":
        found = re.findall(r"(\w+)\((\w+)\)", operand)
        return {counter: int(value, 0) for counter, value in found if counter != "expcnt"}
    counters, value = name.removeprefix("s_wait_").split("_"), int(operand, 0)
    if len(counters) == 1:
        return {counters[0]: value}
    return {counters[0]: value >> 8 & 63, counters[1]: value & 63}


def find_deletions(text: str) -> list[Deletion]:
    """Every wait and every barrier of a text, each deleted alone."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        code = line.split(";")[0]
        wait, barrier = WAIT.match(code), BARRIER.match(code)
        if not wait and not barrier:
            continue
        mutant = [*lines]
        mutant[number] = NOTHING
        if code.strip().startswith("s_barrier_wait"):
            signal = max(place for place in range(number) if SIGNAL.match(lines[place]))
            mutant[signal] = NOTHING
        expected = ""
        if wait:
            limits = ", ".join(f"{name}={left}" for name, left in counters_of(wait[1], wait[2].strip()).items())
            expected = "\n".join([*lines[:number], f"\t{EXPECT} {limits}", *lines[number + 1 :]])
        probe = "\n".join([*lines[:number], NEVER, *lines[number + 1 :]])
        found.append(Deletion(number, " ".join(code.split()), "\n".join(mutant), expected, probe))
    return found


def execute(launch: Launch, text: str, schedule: Schedule) -> bytes:
    """Run a text in a copy of the launch's memory. -> that memory."""
    buffers = tuple(Buffer(each.name, each.address, each.content.copy()) for each in launch.buffers)
    run(replace(launch, text=text, buffers=buffers), schedule)
    return b"".join(each.content.tobytes() for each in buffers)


def judge(launch: Launch, deletion: Deletion, expected: bytes) -> str:
    """How a deletion is found, or why it is not."""
    for schedule in SCHEDULES:
        try:
            if execute(launch, deletion.text, schedule) != expected:
                return "wrong bits"
        except Fault as fault:
            return str(fault.kind.value)
    try:
        execute(launch, deletion.probe, SCHEDULES[0])
    except Fault:
        pass
    else:
        return NOT_EXECUTED
    if deletion.expectation:
        try:
            execute(launch, deletion.expectation, SCHEDULES[0])
        except Fault:
            return LATER
        return IDLE
    return UNTOUCHED


def delete_all(launch: Launch) -> list[tuple[Deletion, str]]:
    """Judge every deletion of a launch."""
    if EXPECT not in HANDLERS:
        register(EXPECT)(decode_expectation)
    expected = execute(launch, launch.text, SCHEDULES[0])
    return [(deletion, judge(launch, deletion, expected)) for deletion in find_deletions(launch.text)]


def main(arguments: list[str]) -> int:
    """Print a table a kernel, and the deletions that are not found. -> exit code."""
    architecture, *names = arguments
    kernels, total, good = find_kernels(), 0, 0
    for name in names:
        kernel_name, variant, example = name.split(":")
        kernel = kernels[kernel_name]
        inputs = make_inputs(kernel, variant, kernel.examples[int(example)])
        launch = capture(kernel, inputs, architecture, kernel.tuning_for(architecture, variant)).launch
        results = delete_all(launch)
        counts = Counter(result for _, result in results)
        executed = [(each, how) for each, how in results if how != NOT_EXECUTED]
        unexplained = [(each, how) for each, how in executed if how in (LATER, UNTOUCHED)]
        total += len(executed)
        good += len(executed) - len(unexplained)
        sys.stdout.write(f"{architecture} {name}: {len(results)} deleted: {dict(counts.most_common())}\n")
        for deletion, how in unexplained:
            sys.stdout.write(f"    line {deletion.line + 1}: {deletion.instruction}: {how}\n")
        sys.stdout.flush()
    sys.stdout.write(
        f"{architecture}: {good} of {total} that are executed are found or idle, {good / max(total, 1):.1%}\n"
    )
    return 0 if good >= 0.9 * total else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
