"""Chooses a kernel's tuning for each architecture by static evidence: no device, no clock.

From the file's own tuning, one parameter of SEARCH after the other takes the value with the best score while the others
stay, until a round changes nothing. All architectures go through a round together, since starting the compiler takes
longer than most compiles. The score, best first:

1. The binary is sound: it is there, for this chip, keeps its values in registers, fits, and uses matrix units natively
   where the kernel claims them; of those that do not, the one that spills the least.
2. Enough warps fit to hide a wait: half of what a multiprocessor holds for a kernel that waits for memory, eight for
   one that feeds matrix units, or all that the launch has for it.
3. Fewest issue slots an element of the tile: instructions in loops (all, without loops) times warps over the product of
   the BLOCK_* parameters, over the share of the multiprocessors that the launch keeps busy to its end. A kernel that
   waits for memory does not care for less than a quarter.
4. A kernel that waits for memory: more warps. One that feeds matrix units: most shared memory, where a pipelined loop
   keeps the loads that are on their way, then more warps, then fewest instructions.

What is equal stays as it was. The score is a guess about time, made from what can be known here; a device may say
otherwise. Nothing here writes files.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from porting.kernel_compiler import DEFAULT_JOBS, compile_requests, make_request, name_variants, why_unsupported
from porting.kernel_compiler.occupancy import nvidia_occupancy
from porting.kernel_library import Kernel
from porting.record import KernelRecord

ROUNDS = 2
"""A round that changes nothing ends the search earlier."""
MULTIPROCESSORS = {
    "cuda:90": 132,
    "cuda:100": 148,
    "cuda:103": 160,
    "cuda:107": 224,
    "cuda:120": 188,
    "cuda:121": 48,
    "hip:gfx942": 304,
    "hip:gfx950": 256,
    "hip:gfx1201": 32,
    "hip:gfx1250": 256,
}
"""Of the largest product of each architecture, as profiles have them: of the B300 the whole die, of gfx1201 the 32
pairs of compute units of the RX 9070 XT."""
OTHERWISE = 132
WAITING_SHARE = 0.5
FEEDING_WARPS = 8
WAITING_STEP = 1.25
FEEDING_STEP = 1.05
STAND_INS = {"cuda:107": 100}
"""Whose limits are taken for a chip that publishes none. Only for choosing; evidence never says so."""
SIBLINGS = {"cuda:103": "cuda:100", "cuda:121": "cuda:120"}
"""Chips whose compilers make the same code but for its header; the one takes the other's tuning where it is sound."""
MAIN_VARIANTS = ("bfloat16", "nvfp4", "float16")
"""The first of these that a kernel claims is searched for; the others take its tuning where they are sound with it."""

Tuning = dict[str, int]
Cell = tuple[str, str]
"""Architecture and variant."""


@dataclass(frozen=True)
class Choice:
    """The best tuning that was found for one cell."""

    tuning: Tuning
    record: KernelRecord
    tried: int

    @property
    def problem(self) -> str | None:
        """What is still wrong with the binary; None when it is sound."""
        return find_problem(self.record)


def find_problem(record: KernelRecord) -> str | None:
    """What keeps a binary from being shipped; None when it is sound."""
    spilled = spilled_bytes(record)
    if record.error is not None:
        return record.error
    if record.architecture_found != record.architecture:
        return f"holds code for {record.architecture_found}"
    if spilled is None or spilled > 0:
        return "spills are unknown" if spilled is None else f"spills {spilled} bytes"
    if record.resident_programs == 0:
        return f"does not fit on a multiprocessor: {record.occupancy_limiter}"
    if record.tensor_cores_claimed and not record.native_tensor_instructions:
        said = ", ".join(record.tensor_instructions) or "none"
        return f"claims matrix units and has native instructions of them in none of: {said}"
    return None


def spilled_bytes(record: KernelRecord) -> int | None:
    """Stores, loads and local memory of a thread together."""
    sizes = (record.spill_store_bytes, record.spill_load_bytes, record.scratch_bytes)
    return None if None in sizes else sum(size for size in sizes if size is not None)


def score(record: KernelRecord) -> tuple[float, ...]:
    """The lower, the better; see the module."""
    if find_problem(record) is not None:
        unsound = 2.0 if record.error is not None else 1.0
        spilled = spilled_bytes(record)
        return (unsound, math.inf if spilled is None else float(spilled))
    warps, programs = record.warps or 1, record.programs or 0
    resident, share = _occupancy(record)
    feeds = record.tensor_cores_claimed
    enough = FEEDING_WARPS if feeds else WAITING_SHARE * resident * warps / max(share, 1e-9)
    multiprocessors = MULTIPROCESSORS.get(record.architecture, OTHERWISE)
    wanted = min(enough, warps * programs / multiprocessors)
    # In eighths: less is no reason to take more instructions.
    short = math.ceil(8 * max(1.0 - resident * warps / max(wanted, 1e-9), 0.0))
    busy = programs / max(math.ceil(programs / multiprocessors) * multiprocessors, 1)
    tile = math.prod(value for name, value in record.tuning.items() if name.startswith("BLOCK"))
    instructions = record.instructions or 0
    slots = (record.loop_instructions or instructions) * warps / tile / max(busy, 1e-9)
    steps = round(math.log(max(slots, 1e-9), FEEDING_STEP if feeds else WAITING_STEP))
    ranks = (0.0, float(short), float(steps))
    eighths = -float(round(8 * share))
    if not feeds:
        return (*ranks, eighths)
    return (*ranks, -float(record.shared_bytes or 0), eighths, float(instructions))


def _occupancy(record: KernelRecord) -> tuple[int, float]:
    """Resident programs and share of warps; a stand-in's where the chip's own limits are unknown."""
    if record.resident_programs is None and record.architecture in STAND_INS:
        stand_in = nvidia_occupancy(
            STAND_INS[record.architecture],
            record.warps or 1,
            record.registers or 0,
            record.shared_bytes or 0,
            record.tensor_memory_columns or 0,
        )
        return stand_in.programs or 0, stand_in.share or 0.0
    return record.resident_programs or 0, record.occupancy or 0.0


def search_tunings(
    kernel: Kernel, architectures: Iterable[str], cache_dir: Path | None = None, jobs: int = DEFAULT_JOBS
) -> dict[Cell, Choice]:
    """The best tuning of every architecture and variant that the kernel does not exclude.

    Each architecture's main variant is searched for, once for siblings; the other cells take the same tuning, and are
    searched for themselves only when they are not sound with it.
    """
    wanted = tuple(dict.fromkeys(architectures))
    variants = name_variants(kernel)
    cells = [(a, v) for a in wanted for v in variants if not why_unsupported(kernel, a, v)]
    leaders = {cell: _find_leader(cell, cells) for cell in cells}
    leading = [cell for cell in cells if leaders[cell] == cell]
    chosen = _descend(kernel, {cell: kernel.tuning_for(*cell) for cell in leading}, cache_dir, jobs)
    following = {cell: chosen[leader].tuning for cell, leader in leaders.items() if leader != cell}
    tried = _try(kernel, {cell: [tuning] for cell, tuning in following.items()}, cache_dir, jobs)
    unsound = [cell for cell, (choice,) in tried.items() if choice.problem is not None]
    chosen |= {cell: choice for cell, (choice,) in tried.items() if cell not in unsound}
    chosen |= _descend(kernel, {cell: following[cell] for cell in unsound}, cache_dir, jobs)
    return {cell: chosen[cell] for cell in cells}


def _find_leader(cell: Cell, cells: list[Cell]) -> Cell:
    """The cell whose tuning this one takes: the sibling's where that is among them, and there the main variant."""
    sibling = SIBLINGS.get(cell[0])
    architecture = sibling if sibling is not None and any(a == sibling for a, _ in cells) else cell[0]
    variants = [variant for other, variant in cells if other == architecture]
    return architecture, next((variant for variant in MAIN_VARIANTS if variant in variants), variants[0])


def _descend(kernel: Kernel, starts: Mapping[Cell, Tuning], cache_dir: Path | None, jobs: int) -> dict[Cell, Choice]:
    """Every cell's own best, one parameter at a time."""
    if not starts:
        return {}
    best = {cell: choices[0] for cell, choices in _try(kernel, _alone(starts), cache_dir, jobs).items()}
    moving = set(starts)
    for _ in range(ROUNDS):
        before = {cell: best[cell].tuning for cell in moving}
        for name, values in kernel.search.items():
            asked = {cell: [{**best[cell].tuning, name: value} for value in values] for cell in sorted(moving)}
            for cell, choices in _try(kernel, asked, cache_dir, jobs).items():
                # The one at hand comes first and stays unless another is better.
                best[cell] = min((best[cell], *choices), key=lambda choice: score(choice.record))
        moving = {cell for cell in moving if best[cell].tuning != before[cell]}
        if not moving:
            break
    return best


def _alone(starts: Mapping[Cell, Tuning]) -> dict[Cell, list[Tuning]]:
    return {cell: [tuning] for cell, tuning in starts.items()}


def _try(
    kernel: Kernel, asked: Mapping[Cell, list[Tuning]], cache_dir: Path | None, jobs: int
) -> dict[Cell, list[Choice]]:
    """Compile every tuning of every cell, in one batch."""
    places = [(cell, tuning) for cell, tunings in asked.items() for tuning in tunings]
    # One variant after the other, since a variant's compiles share their inputs.
    places.sort(key=lambda place: place[0][1])
    requests = [make_request(kernel, variant, architecture, tuning) for (architecture, variant), tuning in places]
    found: dict[Cell, list[Choice]] = {cell: [] for cell in asked}
    for (cell, tuning), record in zip(places, compile_requests(requests, cache_dir, jobs), strict=True):
        found[cell].append(Choice(tuning, record, len(asked[cell])))
    return found
