"""A record rearranged for a reader: one sentence, one matrix row and one ordered account for each target.

It judges nothing: outcomes are the verdict's, and where there is none the word is `not measured`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from porting.profile import ParityBudget
from porting.record import (
    LADDER,
    ArtifactRecord,
    Check,
    DriverTiming,
    FreeRunning,
    Outcome,
    OutputParity,
    ParityEvidence,
    PortRecord,
    Step,
    TargetRecord,
    TeacherForced,
)
from porting.report.numbers import NOT_MEASURED, number, plural, times

NOT_RUN_HERE = "not run here"
TORCH_COMPILE = "torch.compile"
MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✕", Outcome.NOT_MEASURED: "○"}
_WORST_FIRST = (Outcome.FAILED, Outcome.NOT_MEASURED, Outcome.PASSED)


@dataclass(frozen=True)
class Cell:
    """One step of one target: what it came to, and the check that decided it."""

    step: Step
    word: str
    mark: str
    figure: str
    reason: str

    @property
    def css(self) -> str:
        """The word as a class name."""
        return self.word.replace(" ", "-")


@dataclass(frozen=True)
class BackendRow:
    """What one backend came to for one component."""

    artifact: ArtifactRecord
    worst: OutputParity | None
    """The measured output that was furthest off; the first unmeasured one when there is one."""
    outputs: int
    speed: str
    """Its time over the chosen backend's: "1.84x"."""


@dataclass(frozen=True)
class ComponentChoice:
    """All backends of one component, the chosen one first."""

    name: str
    sentence: str
    rows: tuple[BackendRow, ...]


def outcome_of(target: TargetRecord) -> Outcome:
    """The verdict's outcome; a target without a verdict was not measured."""
    return target.verdict.outcome if target.verdict else Outcome.NOT_MEASURED


def order_checks(checks: Iterable[Check]) -> list[Check]:
    """Failed checks first, then those not measured; within each as they climb the ladder."""
    return sorted(checks, key=lambda check: (_WORST_FIRST.index(check.outcome), LADDER.index(check.step)))


def find_deciding(checks: Sequence[Check]) -> Check | None:
    """The check that made the outcome: the first of the worst kind, or the passed one closest to its limit."""
    ordered = order_checks(checks)
    if not ordered:
        return None
    if ordered[0].outcome is not Outcome.PASSED:
        return ordered[0]
    return min(ordered, key=_room)


def _room(check: Check) -> float:
    """How far the value is from its limit, as a share of the limit; infinite where there is no such share."""
    if check.value is None or not check.limit or not math.isfinite(check.value):
        return math.inf
    return abs(check.value - check.limit) / abs(check.limit)


def list_closest(checks: Iterable[Check], most: int) -> list[Check]:
    """The checks with the least room before their limits; those without such a figure are left out."""
    return sorted((check for check in checks if math.isfinite(_room(check))), key=_room)[:most]


def describe_value(check: Check) -> str:
    """Value and limit: "1.32 (limit 2)"; the reason is the check's own affair."""
    if check.value is None:
        return NOT_MEASURED if check.outcome is Outcome.NOT_MEASURED else ""
    value = number(check.value, check.unit)
    return value if check.limit is None else f"{value} (limit {number(check.limit)})"


def make_cells(target: TargetRecord) -> tuple[Cell, ...]:
    """One cell for each step of the ladder; a step without a check is `not measured`, never blank."""
    return tuple(_make_cell(target, step) for step in LADDER)


def _make_cell(target: TargetRecord, step: Step) -> Cell:
    verdict = target.verdict
    checks = [check for check in verdict.checks if check.step is step] if verdict else []
    deciding = find_deciding(checks)
    if deciding is None:
        if verdict and LADDER.index(step) > LADDER.index(verdict.highest_possible):
            reason = f"this host can reach {verdict.highest_possible} for this target"
            return Cell(step, NOT_RUN_HERE, "\N{EN DASH}", reason, reason)
        reason = "no check of this step was made" if verdict else "no verdict was recorded"
        return Cell(step, NOT_MEASURED, MARKS[Outcome.NOT_MEASURED], reason, reason)
    figure = describe_value(deciding)
    figure = f"{deciding.name}: {figure}" if figure else f"{deciding.name}; {plural(len(checks), 'check')}"
    return Cell(step, deciding.outcome.value, MARKS[deciding.outcome], figure, deciding.reason)


def say_verdict(target: TargetRecord) -> str:
    """One sentence: the outcome's reason, from the check that decided it."""
    verdict = target.verdict
    if verdict is None:
        return "No verdict was recorded; `worldport verify` makes one."
    deciding = find_deciding(verdict.checks)
    if deciding is None:
        return "No check was made, and nothing passes by absence."
    alike = sum(check.outcome is deciding.outcome for check in verdict.checks)
    if verdict.outcome is Outcome.PASSED:
        where = "the last step" if verdict.highest_possible is LADDER[-1] else "the highest that this host can reach"
        room = describe_value(deciding)
        closest = ""
        if math.isfinite(_room(deciding)):
            closest = f" Closest to its limit: {deciding.name} of {deciding.subject}, {room}."
        return f"All {plural(alike, 'check')} held, up to {verdict.reached}, {where}.{closest}"
    reached = f"It reached {verdict.reached}." if verdict.reached else "It reached no step."
    more = f" {plural(alike - 1, 'more check')} {deciding.outcome.value}." if alike > 1 else ""
    reason = deciding.reason.rstrip(".")
    came_to = "failed" if deciding.outcome is Outcome.FAILED else "was not measured"
    return f"At {deciding.step}, {deciding.name} of {deciding.subject} {came_to}: {reason}.{more} {reached}"


def compare_backends(record: PortRecord, target: TargetRecord) -> tuple[ComponentChoice, ...]:
    """For every component: which backend was chosen, and what the others came to."""
    names = [component.name for component in record.program.components]
    names += [a.component for a in target.artifacts if a.component not in names]
    return tuple(_compare(name, target) for name in dict.fromkeys(names))


def _compare(name: str, target: TargetRecord) -> ComponentChoice:
    artifacts = [artifact for artifact in target.artifacts if artifact.component == name]
    artifacts.sort(key=lambda a: (not a.chosen, math.inf if a.median_ms is None else a.median_ms, a.backend))
    chosen = next((artifact for artifact in artifacts if artifact.chosen), None)
    base = chosen.median_ms if chosen else None
    rows = []
    for artifact in artifacts:
        own = [o for o in _outputs(target.parity) if (o.component, o.backend) == (name, artifact.backend)]
        speed = NOT_MEASURED
        if base and artifact.median_ms is not None:
            speed = "chosen" if artifact is chosen else times(artifact.median_ms / base)
        rows.append(BackendRow(artifact, find_worst(own), len(own), speed))
    return ComponentChoice(name, _say_choice(chosen, artifacts), tuple(rows))


def _say_choice(chosen: ArtifactRecord | None, artifacts: Sequence[ArtifactRecord]) -> str:
    if not artifacts:
        return "No backend was tried."
    if chosen is None:
        return f"None of {plural(len(artifacts), 'artifact')} was chosen."
    if chosen.median_ms is None:
        return f"{chosen.backend} was chosen; its calls were not timed."
    timed = [a for a in artifacts if a is not chosen and a.median_ms is not None]
    if not timed:
        return f"{chosen.backend}, {number(chosen.median_ms, 'ms')} a call; no other backend was timed."
    # `artifacts` is ordered by time, so the first is the closest rival, which may be faster and not proved.
    rival = timed[0]
    ratio = (rival.median_ms or 0.0) / chosen.median_ms if chosen.median_ms else math.nan
    beside = (
        f"{times(ratio)} faster than {rival.backend}" if ratio >= 1 else f"{rival.backend} took {times(ratio)} of it"
    )
    return f"{chosen.backend}, {number(chosen.median_ms, 'ms')} a call; {beside} ({number(rival.median_ms, 'ms')})."


def _outputs(parity: ParityEvidence | None) -> tuple[OutputParity, ...]:
    return parity.outputs if parity else ()


def find_worst(outputs: Sequence[OutputParity]) -> OutputParity | None:
    """The output with the greatest ratio; one that is not measured is worse than any."""
    return max(outputs, key=lambda o: o.ratio if o.measured else math.inf, default=None)


def split_outputs(target: TargetRecord) -> tuple[list[OutputParity], list[OutputParity]]:
    """Parity rows of the chosen artifacts, and those of the others; the worst first."""
    chosen = {(artifact.component, artifact.backend) for artifact in target.artifacts if artifact.chosen}
    rows = sorted(_outputs(target.parity), key=lambda o: -o.ratio if o.measured else -math.inf)
    own = [row for row in rows if (row.component, row.backend) in chosen]
    return own, [row for row in rows if (row.component, row.backend) not in chosen]


@dataclass(frozen=True)
class WorstFrame:
    """The frame at which one output was furthest off, teacher-forced."""

    output: str
    frames: int
    frame: int | str
    ratio: float
    error_port: float | None
    error_eager: float | None


def list_worst_frames(outputs: Sequence[TeacherForced]) -> list[WorstFrame]:
    """One row an output, the worst first; a ratio that is no number is worse than any."""
    rows = []
    for output in outputs:
        ranks = [ratio if math.isfinite(ratio) else math.inf for ratio in output.ratio]
        if not ranks:
            rows.append(WorstFrame(output.output, 0, NOT_MEASURED, math.nan, None, None))
            continue
        at = ranks.index(max(ranks))
        errors = output.error_port[at : at + 1], output.error_eager[at : at + 1]
        port, eager = (values[0] if values else None for values in errors)
        rows.append(WorstFrame(output.output, len(ranks), at, output.ratio[at], port, eager))
    return sorted(rows, key=lambda row: -row.ratio if math.isfinite(row.ratio) else -math.inf)


def against_compile(driver: DriverTiming, drivers: Sequence[DriverTiming]) -> str:
    """The driver's speed over torch.compile's, from their ratios to eager."""
    base = next((other for other in drivers if other.name == TORCH_COMPILE), None)
    if base is None or not base.ratio_to_eager:
        return NOT_MEASURED
    return times(driver.ratio_to_eager / base.ratio_to_eager)


def say_proved(driver: DriverTiming) -> str:
    """Whether what was driven is a port at all: a fast driver that is wrong wins nothing."""
    return {None: "reference", True: "✓ yes", False: "✕ no"}[driver.proved]


def find_lowest(values: Sequence[float]) -> float | None:
    """The least value; NaN is worse than any."""
    return math.nan if any(map(math.isnan, values)) else min(values, default=None)


def envelope_at_worst(free: FreeRunning) -> float | None:
    """The envelope's PSNR at the frame where the port's is lowest."""
    ranks = [-math.inf if math.isnan(value) else value for value in free.psnr_db]
    at = ranks.index(min(ranks))
    return free.envelope_psnr_db[at] if at < len(free.envelope_psnr_db) else None


def say_gain(free: FreeRunning) -> str:
    """How much the difference pictures are amplified."""
    return f"amplified {times(free.difference_gain)}"


def say_counts(counts: Mapping[str, int]) -> str:
    """The greatest first: "212 fp32, 3 int64"."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{amount:,} {name}" for name, amount in ordered) or NOT_MEASURED


def find_psnr_limits(free: FreeRunning, budget: ParityBudget) -> tuple[float, ...]:
    """The lowest PSNR that passes at each frame, dB."""
    return tuple(map(budget.lowest_psnr_db, free.envelope_psnr_db))


def find_ssim_limits(free: FreeRunning, budget: ParityBudget) -> tuple[float, ...]:
    """The lowest SSIM that passes at each frame."""
    return tuple(map(budget.lowest_ssim, free.envelope_ssim))
