"""Deletes every synchronising instruction of compiled kernels, one at a time, and says how each deletion is found.

    python -m tests.emulators.ptx.delete_synchronisation cuda:90 ring_attention:bfloat16:1 gated_mlp:bfloat16:1

names an architecture and kernels with a variant and the number of one of their examples; without kernels, one launch or
more of each of five. A deletion is found by a fault or by wrong bits. What is not found is redundant for a reason that
the race detection has no part in (see `REDUNDANT`), or stays unexplained. Exit code 1 where less than nine of ten are
found or redundant.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from porting.emulation.capture import capture
from porting.emulators import Buffer, Fault, Launch, Schedule
from porting.emulators.ptx import machine as machine_module
from porting.emulators.ptx import run, tensor_memory
from porting.emulators.ptx.active import Active
from porting.emulators.ptx.copies import Copies, Copy
from porting.emulators.ptx.parse import Instruction, Program, parse
from porting.kernel_compiler import why_unsupported
from porting.kernel_compiler.offline import make_inputs
from porting.kernel_library import find_kernels
from tests.emulators.ptx.touches import SharedTouches, TensorTouches, Touches

FIVE = (
    "ring_attention:bfloat16:0",
    "ring_attention:bfloat16:1",
    "causal_conv3d:bfloat16:1",
    "gated_mlp:bfloat16:1",
    "gated_mlp:bfloat16:2",
    "block_scaled_matmul:fp8:0",
    "block_scaled_matmul:mxfp8:1",
    "block_scaled_matmul:nvfp4:0",
    "group_norm_silu:bfloat16:1",
)
"""Kernel, variant and number of the example."""
SYNCHRONISES = re.compile(
    r"(bar|barrier|membar|fence)\.|wgmma\.(fence|commit_group|wait_group)\b|tcgen05\.(wait|commit|fence)\b"
    r"|mbarrier\.(try_wait|test_wait|arrive|expect_tx|complete_tx)\b"
    r"|cp\.async\.(commit_group|wait_group|wait_all|mbarrier|bulk\.commit_group|bulk\.wait_group)\b"
)
BARRIER = re.compile(r"bar\.(?!warp)|barrier\.")
ASKS = ("mbarrier.try_wait.", "mbarrier.test_wait.")
"""Their result is that the wait is over; without them it is taken to be."""
TOUCHES = re.compile(
    r"(ld|st|atom|red)\.(?!param|local|const)|ldmatrix|stmatrix|cp\.|wgmma\.mma|tcgen05\.(ld|st|mma|cp|shift)|mbarrier\."
)
"""What reads or writes memory that threads share, or starts what does."""
GOES_ELSEWHERE = ("bra", "bra.uni", "brx.idx", "brx.idx.uni", "ret", "exit", "call", "call.uni")
REGISTER = re.compile(r"%\w+")
NEVER = "never_executed"
"""No instruction: executing it is a fault."""
SCHEDULES = (Schedule(), Schedule(reverse=True), Schedule(lazy=False))
REDUNDANT = {
    "never executed": "an unknown instruction in its place is no fault",
    "another right beside it": "between it and the same instruction no memory is touched",
    "no two warps touch one byte": "between the barriers left no warp writes what another touches; what an engine "
    "touches counts until all warps know that it is over",
    "every wait brings the same copies": "the copies that take effect at each wait are those of the whole text",
    "nobody touches what it brings": "those copies take effect at the end, and a touch before would be a fault",
    "no register written since the last fence": "of those that the warpgroup's products behind it read or add to",
}
UNEXPLAINED = "ordered by something else"


@dataclass(frozen=True)
class Deletion:
    """One synchronising instruction that was taken out of a text."""

    instruction: Instruction
    text: str
    probe: str
    """The text with what faults if it is executed."""


def find_deletions(text: str) -> list[Deletion]:
    """Every synchronising instruction of a text, each deleted alone."""
    found = []
    for one in parse(text).instructions:
        if not SYNCHRONISES.match(one.mnemonic):
            continue
        nothing = f"setp.eq.b32 {one.text.split(' ', 1)[1].split(',')[0]}, 0, 0" if _asks(one) else ""
        guard = one.text.partition(one.mnemonic)[0]
        found.append(Deletion(one, replaced(text, one, guard + nothing if nothing else ""), replaced(text, one, NEVER)))
    return found


def _asks(one: Instruction) -> bool:
    return one.mnemonic.startswith(ASKS)


def replaced(text: str, one: Instruction, statement: str) -> str:
    """The text with another statement in the place of one instruction; an empty one deletes it.

    An unguarded NEVER keeps the guard of what it replaces.
    """
    lines = text.splitlines()
    pattern = re.compile(r"\s+".join(re.escape(word) for word in one.text.split()))
    if statement == NEVER:
        statement = one.text.partition(one.mnemonic)[0] + NEVER
    number = one.line - 1
    if pattern.search(lines[number]) is None:  # it runs over several lines
        whole = "\n".join(lines[number:])
        return "\n".join([*lines[:number], pattern.sub(lambda _: statement, whole, count=1)])
    before = sum(
        1 for other in parse(text).instructions[: one.index] if (other.line, other.text) == (one.line, one.text)
    )
    matches = list(pattern.finditer(lines[number]))
    start, end = matches[before].span()
    lines[number] = lines[number][:start] + statement + lines[number][end:]
    return "\n".join(lines)


def execute(launch: Launch, text: str, schedule: Schedule) -> bytes:
    """Run a text in a copy of the launch's memory. -> that memory.

    Raises:
        Fault: what the text does wrong.
    """
    buffers = tuple(Buffer(each.name, each.address, each.content.copy()) for each in launch.buffers)
    run(replace(launch, text=text, buffers=buffers), schedule)
    return b"".join(each.content.tobytes() for each in buffers)


def judge(launch: Launch, deletion: Deletion, expected: bytes) -> str:
    """How a deletion is found, or why it need not be, or UNEXPLAINED."""
    for schedule in SCHEDULES:
        try:
            if execute(launch, deletion.text, schedule) != expected:
                return "wrong bits"
        except Fault as fault:
            return str(fault.kind.value)
    if not _faults(launch, deletion.probe):
        return "never executed"
    program, one = parse(launch.text), deletion.instruction
    if is_beside_another(program, one):
        return "another right beside it"
    if BARRIER.match(one.mnemonic) and _keeps_apart(launch, deletion.text):
        return "no two warps touch one byte"
    if one.mnemonic.startswith("cp.async."):
        usual, changed = landings(launch, launch.text), landings(launch, deletion.text)
        if usual == changed:
            return "every wait brings the same copies"
        if delays_only(usual, changed):
            return "nobody touches what it brings"
    if one.mnemonic == "wgmma.fence.sync.aligned" and is_fenced_before(program, one):
        return "no register written since the last fence"
    return UNEXPLAINED


Landing = tuple[int, tuple[bytes, ...]]
"""Number of the wait at which copies take effect, AT_THE_END if at none; their addresses and threads."""
AT_THE_END = sys.maxsize


def landings(launch: Launch, text: str) -> list[Landing]:
    """Of a text's execution: the copies that take effect."""
    found: list[Landing] = []
    waits = [0]
    usual = {name: vars(Copies)[name] for name in ("wait", "_land", "finish")}

    def wait(self: Copies, active: Active, pending: int | None) -> None:
        waits[0] += 1
        usual["wait"](self, active, pending)

    def land(self: Copies, copy: Copy) -> None:
        found.append((waits[0], (copy.source.tobytes(), copy.target.tobytes(), copy.thread.tobytes())))
        usual["_land"](self, copy)

    def finish(self: Copies) -> None:
        before, waits[0] = waits[0], AT_THE_END
        usual["finish"](self)
        waits[0] = before

    with _instead(Copies, "wait", wait), _instead(Copies, "_land", land), _instead(Copies, "finish", finish):
        execute(launch, text, SCHEDULES[0])
    return sorted(found)


def delays_only(usual: Sequence[Landing], changed: Sequence[Landing]) -> bool:
    """Whether all copies take effect with the same others as usual, but for those that do at the end only."""
    last = {copy for wait, copy in changed if wait == AT_THE_END}
    return _together(usual, last) == _together(changed, last)


def _together(landings: Sequence[Landing], beside: set[tuple[bytes, ...]]) -> list[list[tuple[bytes, ...]]]:
    by_wait: dict[int, list[tuple[bytes, ...]]] = {}
    for wait, copy in landings:
        if copy not in beside:
            by_wait.setdefault(wait, []).append(copy)
    return list(by_wait.values())


def is_fenced_before(program: Program, fence: Instruction) -> bool:
    """Whether the products behind a wgmma.fence need none: since the one before, straight on, nothing else wrote what
    they read or add to."""
    behind = program.instructions[fence.index + 1 :]
    ends = (place for place, one in enumerate(behind) if SYNCHRONISES.match(one.mnemonic))
    products = [one for one in behind[: next(ends, None)] if _is_product(one)]
    # In braces are registers of the accumulator and of A; a descriptor is read at once.
    groups = [operand for one in products for operand in one.operands[:2] if operand.startswith("{")]
    used = set(REGISTER.findall(" ".join(groups)))
    targets = set(program.labels.values())
    for place in range(fence.index - 1, -1, -1):
        one = program.instructions[place]
        if one.mnemonic == fence.mnemonic:
            return True
        written = set(REGISTER.findall(one.operands[0])) if one.operands else set()
        if one.mnemonic in GOES_ELSEWHERE or place + 1 in targets or (not _is_product(one) and written & used):
            return False
    return False


def _is_product(one: Instruction) -> bool:
    return one.mnemonic.startswith("wgmma.mma_async.")


def is_beside_another(program: Program, one: Instruction) -> bool:
    """Whether the same instruction is always executed before or after it, with no access to memory between."""
    targets = set(program.labels.values())
    for step in (-1, 1):
        place = one.index
        while 0 <= place + step < len(program.instructions):
            # Whoever jumps in between meets one of the two only.
            if (place if step < 0 else place + 1) in targets:
                break
            place += step
            other = program.instructions[place]
            if (other.mnemonic, other.operands, other.predicate) == (one.mnemonic, one.operands, one.predicate):
                return True
            if TOUCHES.match(other.mnemonic) or other.mnemonic in GOES_ELSEWHERE:
                break
    return False


def _faults(launch: Launch, text: str) -> bool:
    try:
        execute(launch, text, SCHEDULES[0])
    except Fault:
        return True
    return False


def _keeps_apart(launch: Launch, text: str) -> bool:
    Touches.conflict = False
    with _instead(machine_module, "Shadow", SharedTouches), _instead(tensor_memory, "TensorOrder", TensorTouches):
        execute(launch, text, SCHEDULES[0])
    return not Touches.conflict


@contextmanager
def _instead(place: object, name: str, other: object) -> Iterator[None]:
    usual = vars(place)[name]
    setattr(place, name, other)
    try:
        yield
    finally:
        setattr(place, name, usual)


def delete_all(launch: Launch) -> list[tuple[Deletion, str]]:
    """Judge every deletion of a launch."""
    expected = execute(launch, launch.text, SCHEDULES[0])
    return [(deletion, judge(launch, deletion, expected)) for deletion in find_deletions(launch.text)]


def report(title: str, results: Sequence[tuple[Deletion, str]]) -> list[str]:
    """Lines: how many were found how, by instruction, and each that is unexplained."""
    by_kind = {each.instruction.mnemonic: Counter[str]() for each, _ in results}
    for each, how in results:
        by_kind[each.instruction.mnemonic][how] += 1
    lines = [f"{title}: {len(results)} deleted: {dict(Counter(how for _, how in results).most_common())}"]
    lines += [
        f"    {mnemonic}: {', '.join(f'{how} {count}' for how, count in counts.most_common())}"
        for mnemonic, counts in sorted(by_kind.items())
    ]
    return lines + [
        f"    line {each.instruction.line}: {each.instruction.text}: {how}"
        for each, how in results
        if how == UNEXPLAINED
    ]


def main(arguments: list[str]) -> int:
    """Print a table a kernel, and the deletions that are unexplained. -> exit code."""
    architecture, *names = arguments
    kernels = find_kernels()
    total: Counter[str] = Counter()
    faulty = 0
    for name in names or FIVE:
        kernel_name, variant, example = name.split(":")
        kernel = kernels[kernel_name]
        reason = why_unsupported(kernel, architecture, variant)
        if reason is not None:
            sys.stdout.write(f"{architecture} {name}: {reason}\n")
            continue
        inputs = make_inputs(kernel, variant, kernel.examples[int(example)])
        captured = capture(kernel, inputs, architecture, kernel.tuning_for(architecture, variant))
        try:
            results = delete_all(captured.launch)
        except Fault as fault:
            sys.stdout.write(f"{architecture} {name}: nothing deleted, and yet: {fault}\n")
            faulty += 1
            continue
        total.update(how for _, how in results)
        sys.stdout.write("\n".join(report(f"{architecture} {name}", results)) + "\n")
        sys.stdout.flush()
    count, good = sum(total.values()), sum(total.values()) - total[UNEXPLAINED]
    sys.stdout.write(f"{architecture}: {good} of {count} found or redundant, {good / max(count, 1):.1%}: {total}\n")
    return 0 if good >= 0.9 * count and not faulty else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
