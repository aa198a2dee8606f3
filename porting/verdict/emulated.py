"""Attested, where an emulator executed the kernels: the compiled code computes what its references do.

One check over all of them. It never stands in for parity on a device: the assembler behind the text, the hardware,
approximate functions' last bits and timing are not in it.
"""

import math

from porting.record import EMULATED, Check, EmulatedKernel, Step, TargetRecord
from porting.verdict.evidence import MOST_NAMED, failed, not_measured, passed, say_names

SUBJECT = "kernels"
LIMIT = 2.0
"""A kernel's error over the reference's own rounding, as in the kernels' own tests."""


def check_emulated(target: TargetRecord) -> tuple[Check, ...]:
    """One check where kernels were executed for the target, none elsewhere: this evidence is asked for or not."""
    step, records = Step.ATTESTED, target.emulated
    if not records:
        return ()
    stale = _find_stale(target)
    if stale:
        advice = "run worldport verify, after worldport compile if the kernels were changed"
        reason = f"{say_names(stale)}: not executed from the source that was compiled; {advice}."
        return (not_measured(step, EMULATED, SUBJECT, reason),)
    executed = [record for record in records if record.unsupported is None]
    wrong = [record for record in executed if record.error is None and find_trouble(record) is not None]
    if wrong:
        told = "; ".join(f"{_name(record)}: {find_trouble(record)}" for record in wrong[:MOST_NAMED])
        return (failed(step, EMULATED, SUBJECT, f"{len(wrong)} of {len(executed)} do not: {told}."),)
    lost = [record for record in executed if record.error is not None]
    if lost:
        told = "; ".join(f"{_name(record)}: {record.error}" for record in lost[:MOST_NAMED])
        return (not_measured(step, EMULATED, SUBJECT, f"{len(lost)} of {len(executed)} were not executed: {told}."),)
    if not executed:
        names = say_names([_name(record) for record in records])
        return (not_measured(step, EMULATED, SUBJECT, f"Nothing was executed; the chip takes none of {names}."),)
    worst = max(executed, key=lambda record: record.ratio or 0.0)
    launches = sum(len(record.launches) for record in executed)
    orders = min((launch.schedules for record in executed for launch in record.launches), key=len)
    reason = (
        f"{launches} launches of {len(executed)} kernels and variants, executed from their compiled text on a CPU, each"
        f" {len(orders)} times ({'; '.join(orders)}) with the same bits; the largest error is {worst.ratio:.3g} times"
        f" the reference's own rounding ({_name(worst)}). The assembler and the device were not run."
    )
    held = passed(step, EMULATED, SUBJECT, reason)
    return (held.model_copy(update={"value": worst.ratio, "limit": LIMIT, "unit": "x"}),)


def _find_stale(target: TargetRecord) -> list[str]:
    """Kernels and variants whose binary is of another source than what was executed, or of which nothing was."""
    executed = {(record.kernel, record.variant): record.source_digest for record in target.emulated}
    return [
        f"{record.kernel} {record.variant}"
        for record in target.kernels
        if not record.unsupported and executed.get((record.kernel, record.variant)) != record.source_digest
    ]


def find_trouble(record: EmulatedKernel) -> str | None:
    """What is wrong with one kernel: its own words, or an error that is too large or no number."""
    if record.trouble is not None or record.unsupported is not None:
        return record.trouble
    ratio = record.ratio
    if ratio is None or not math.isfinite(ratio) or ratio > LIMIT:
        return f"its error is {ratio} times the reference's own rounding, the limit {LIMIT:g}"
    return None


def _name(record: EmulatedKernel) -> str:
    return f"{record.kernel} {record.variant}"
