"""What a reader wants to know of kernels that an emulator executed; what is trouble, the record says."""

from collections.abc import Sequence
from dataclasses import dataclass

from porting.record import EmulatedKernel
from porting.report.numbers import NOT_MEASURED, count, times


@dataclass(frozen=True)
class Row:
    """One kernel in one variant; figures are over all its launches, of one schedule."""

    kernel: str
    variant: str
    trouble: str | None
    unsupported: str | None
    ratio: float | None
    launches: int
    steps: int
    bytes_read: int
    """From global memory."""
    bytes_written: int
    bank_conflicts: int
    executed_as: str


def list_rows(records: Sequence[EmulatedKernel]) -> list[Row]:
    """One row a record, in their order."""
    return [
        Row(
            kernel=record.kernel,
            variant=record.variant,
            trouble=record.trouble if record.unsupported is None else None,
            unsupported=record.unsupported,
            ratio=record.ratio,
            launches=len(record.launches),
            steps=sum(sum(launch.instructions.values()) for launch in record.launches),
            bytes_read=sum(launch.bytes_read.get("global", 0) for launch in record.launches),
            bytes_written=sum(launch.bytes_written.get("global", 0) for launch in record.launches),
            bank_conflicts=sum(launch.bank_conflicts for launch in record.launches),
            executed_as=", ".join(dict.fromkeys(launch.executed_as for launch in record.launches)),
        )
        for record in records
    ]


def any_trouble(records: Sequence[EmulatedKernel]) -> bool:
    """True when one that this chip should take was not executed, or not to its end, or wrote what it should not."""
    return any(record.unsupported is None and record.trouble is not None for record in records)


def summarise(records: Sequence[EmulatedKernel]) -> list[tuple[str, str]]:
    """What the executions come to: name and words."""
    taken = [record for record in records if record.unsupported is None]
    wrong = sum(record.trouble is not None for record in taken)
    ratios = {record.ratio: record for record in taken if record.ratio is not None and not record.trouble}
    worst = max(ratios, default=None)
    steps = sum(row.steps for row in list_rows(taken))
    return [
        ("emulated", f"{len(taken) - wrong} of {len(taken)}"),
        ("not for this chip", str(len(records) - len(taken))),
        ("trouble", f"✕ {wrong}" if wrong else "none"),
        (
            "largest error budget ratio",
            NOT_MEASURED if worst is None else f"{times(worst)} ({ratios[worst].kernel}, {ratios[worst].variant})",
        ),
        ("warp-wide instructions", count(steps)),
    ]
