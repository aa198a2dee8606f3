"""What a reader wants to know of a target that was compiled and perhaps not run: its fallback chain and its kernels."""

from collections.abc import Sequence
from dataclasses import dataclass

from porting.record import LADDER, KernelRecord, Step, TargetRecord
from porting.report.numbers import NOT_MEASURED, nbytes, percent


@dataclass(frozen=True)
class ChainRow:
    """One backend of the chain, and what came of it."""

    backend: str
    made: int
    """Components of which it made an artifact."""
    reason: str


def ran_nowhere(target: TargetRecord) -> bool:
    """True when the host that judged the target cannot run it, and no other host left evidence of having done so."""
    if target.parity is not None or target.throughput is not None or target.verdict is None:
        return False
    return LADDER.index(target.verdict.highest_possible) < LADDER.index(Step.PARITY)


def list_chain(target: TargetRecord) -> list[ChainRow]:
    """The chain in its order; the reason of one that was tried and failed is its first error."""
    rows = []
    for link in target.chain:
        own = [artifact for artifact in target.artifacts if artifact.backend == link.backend]
        errors = [f"{artifact.component}: {artifact.error}" for artifact in own if artifact.error]
        made = sum(artifact.path is not None and not artifact.error for artifact in own)
        rows.append(ChainRow(link.backend, made, errors[0] if errors else link.reason))
    return rows


def say_spilled(kernel: KernelRecord) -> str:
    """Bytes of a thread that went to memory and back."""
    moved = (kernel.spill_store_bytes, kernel.spill_load_bytes)
    known = [value for value in moved if value is not None]
    if len(known) < len(moved):
        return NOT_MEASURED
    return nbytes(sum(known)) if any(known) else "none"


def any_failed(kernels: Sequence[KernelRecord]) -> bool:
    """True when a kernel that this chip should take did not compile."""
    return any(kernel.error is not None and not kernel.unsupported for kernel in kernels)


def summarise_kernels(kernels: Sequence[KernelRecord]) -> list[tuple[str, str]]:
    """What the machine code comes to over all kernels: name and words. What could not be read is counted apart."""
    made = [kernel for kernel in kernels if kernel.error is None]
    unsupported = sum(kernel.unsupported for kernel in kernels)
    failed = len(kernels) - len(made) - unsupported
    spills = [(kernel.spill_store_bytes, kernel.spill_load_bytes) for kernel in made]
    claimed = [kernel for kernel in made if kernel.tensor_cores_claimed]
    held = sum(bool(kernel.tensor_instructions) for kernel in claimed)
    code = [kernel.code_bytes for kernel in made if kernel.code_bytes is not None]
    lowest = min((k for k in made if k.occupancy is not None), key=lambda k: k.occupancy or 0.0, default=None)
    return [
        ("compiled", f"{len(made)} of {len(kernels)}"),
        ("not for this chip", str(unsupported)),
        ("did not compile", f"✕ {failed}" if failed else "none"),
        ("spill registers", _say_spills(spills)),
        ("matrix instructions", f"{held} of the {len(claimed)} that claim them"),
        (
            "lowest occupancy",
            NOT_MEASURED if lowest is None else f"{percent(lowest.occupancy)} ({lowest.kernel}, {lowest.variant})",
        ),
        ("machine code", nbytes(sum(code)) if code and len(code) == len(made) else NOT_MEASURED),
    ]


def _say_spills(spills: Sequence[tuple[int | None, ...]]) -> str:
    unread = sum(None in pair for pair in spills)
    spilling = sum(None not in pair and any(pair) for pair in spills)
    words = f"{spilling} of {len(spills)}" if spilling else "none"
    if unread:
        words = f"{words} of those read; {unread} {NOT_MEASURED}" if unread < len(spills) else NOT_MEASURED
    return words
