"""What a reader wants to know of a target that was compiled and perhaps not run: its fallback chain and its kernels."""

from dataclasses import dataclass

from porting.record import LADDER, KernelRecord, Step, TargetRecord
from porting.report.numbers import NOT_MEASURED, nbytes


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
