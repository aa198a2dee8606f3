"""Two port records held against each other: what they are of, what each target came to, which figures moved.

`before` and `now` are the two. It counts and subtracts, and judges nothing: whether a difference of two measurements is
more than noise is for `worldport compare` to say. What stands in machine code needs no such care.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from porting.record import LADDER, Check, KernelRecord, Outcome, PortRecord, TargetRecord
from porting.report import view
from porting.report.numbers import NOT_MEASURED, count, nbytes, number, percent

ABSENT = "not in this bundle"
_KERNEL_FIGURES = ("registers", "spill_store_bytes", "spill_load_bytes", "shared_bytes", "tensor_memory_columns",
                   "occupancy", "instructions", "native_tensor_instructions", "code_bytes")  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One thing before and now, as text."""

    name: str
    before: str
    now: str
    word: str = ""
    """How it moved: "+3.1 %, worse", "same"."""
    direction: int = 0
    """1 better, -1 worse, 0 neither or not known."""

    @property
    def mark(self) -> str:
        """The direction without a colour."""
        return {1: "▲", -1: "▼", 0: ""}[self.direction]


@dataclass(frozen=True)
class TargetChange:
    """One target of either record."""

    name: str
    before: TargetRecord | None
    now: TargetRecord | None
    steps: tuple[Change, ...]
    checks: tuple[tuple[Check | None, Check | None], ...]
    """Before and now of those whose outcome is not the same; None where there was no such check."""
    figures: tuple[Change, ...]
    kernels: tuple[Change, ...]
    profile: tuple[Change, ...]

    @property
    def worse(self) -> int:
        """Steps that came to less than before."""
        return sum(step.direction < 0 for step in self.steps)

    @property
    def better(self) -> int:
        """Steps that came to more than before."""
        return sum(step.direction > 0 for step in self.steps)


def compare_targets(before: PortRecord, now: PortRecord) -> list[TargetChange]:
    """Every target of either record, those of `now` first."""
    return [
        _compare_target(name, before.targets.get(name), now.targets.get(name))
        for name in dict.fromkeys((*now.targets, *before.targets))
    ]


def _compare_target(name: str, before: TargetRecord | None, now: TargetRecord | None) -> TargetChange:
    both = before is not None and now is not None
    return TargetChange(
        name,
        before,
        now,
        tuple(_compare_steps(before, now)),
        tuple(_compare_checks(before, now)) if before and now else (),
        tuple(_compare_figures(before, now)) if before and now else (),
        tuple(_compare_kernels(before, now)) if before and now else (),
        tuple(compare_fields(_fields(before), _fields(now))) if both else (),
    )


def _compare_steps(before: TargetRecord | None, now: TargetRecord | None) -> Iterator[Change]:
    cells = [
        [cell.word for cell in view.make_cells(target)] if target else [ABSENT] * len(LADDER)
        for target in (before, now)
    ]
    for step, old, new in zip(LADDER, *cells, strict=True):
        # What was not measured is no better than anything, a failure included.
        direction = (new == "passed") - (old == "passed" or new == "failed") if old != new else 0
        word = "same" if old == new else {1: "better", -1: "worse", 0: "other"}[direction]
        yield Change(step.value, old, new, word, direction)


def _words(target: TargetRecord | None) -> list[str]:
    return [cell.word for cell in view.make_cells(target)] if target else [ABSENT] * len(LADDER)


def _compare_checks(before: TargetRecord, now: TargetRecord) -> Iterator[tuple[Check | None, Check | None]]:
    old, new = (
        {(c.step, c.name, c.subject): c for c in target.verdict.checks} if target.verdict else {}
        for target in (before, now)
    )
    pairs = [(old.get(key), new.get(key)) for key in dict.fromkeys((*new, *old))]
    changed = [(a, b) for a, b in pairs if a is None or b is None or a.outcome is not b.outcome]
    order = (Outcome.FAILED, Outcome.NOT_MEASURED, None, Outcome.PASSED)
    yield from sorted(changed, key=lambda pair: order.index(pair[1].outcome if pair[1] else None))


@dataclass(frozen=True)
class _Figure:
    """One measured figure of a target; None was not measured."""

    name: str
    unit: str
    value: float | None
    better: int
    """1 when more is better, -1 when less is."""


def _compare_figures(before: TargetRecord, now: TargetRecord) -> Iterator[Change]:
    old = {figure.name: figure for figure in _list_figures(before)}
    new = {figure.name: figure for figure in _list_figures(now)}
    for name in dict.fromkeys((*new, *old)):
        a, b = old.get(name), new.get(name)
        figure = b or a
        if figure is not None:
            yield _move(figure, a.value if a else None, b.value if b else None)


def _move(figure: _Figure, before: float | None, now: float | None) -> Change:
    texts = _show(before, figure.unit), _show(now, figure.unit)
    if before is None or now is None:
        return Change(figure.name, *texts, word=NOT_MEASURED if before is now else "not on both sides")
    if before == now or (math.isnan(before) and math.isnan(now)):
        return Change(figure.name, *texts, word="same")
    delta = now - before
    if not math.isfinite(delta):
        return Change(figure.name, *texts, word="not a number on one side" if math.isnan(delta) else "other")
    direction = figure.better * (1 if delta > 0 else -1)
    relative = figure.unit != "dB" and before != 0
    amount = percent(delta / abs(before)) if relative else _show(delta, figure.unit)
    sign = "+" if delta > 0 else ""
    return Change(figure.name, *texts, word=f"{sign}{amount}", direction=direction)


def _show(value: float | None, unit: str) -> str:
    if unit == "B":
        return nbytes(value)
    return number(value, unit)


def _list_figures(target: TargetRecord) -> Iterator[_Figure]:
    timed, parity = target.throughput, target.parity
    if timed is not None:
        yield _Figure("frames per second", "", timed.frames_per_second, 1)
        for name in ("p50", "p99", "max"):
            yield _Figure(f"frame time, {name}", "ms", getattr(timed.frame_ms, name), -1)
        yield _Figure("missed, closed-loop", "frames", timed.closed_loop.missed, -1)
        yield _Figure("missed, paced", "frames", timed.paced.missed, -1)
        yield _Figure("longest stall, paced", "ms", timed.paced.longest_stall_ms, -1)
        yield _Figure("time to first frame", "ms", timed.time_to_first_frame_ms, -1)
        yield _Figure("memory high-water", "B", timed.memory_high_water_bytes, -1)
        yield _Figure("memory slope a frame", "B", timed.memory_slope_bytes_per_frame, -1)
        yield _Figure("host overhead", "%", 100 * timed.host_overhead_share, -1)
        yield _Figure("energy a frame", "J", timed.energy.joules_per_frame if timed.energy else None, -1)
    if parity is not None:
        worst = view.find_worst(view.split_outputs(target)[0])
        yield _Figure("worst error over PyTorch's", "x", worst.ratio if worst and worst.measured else None, -1)
        free = parity.free_running
        yield _Figure("lowest PSNR", "dB", view.find_lowest(free.psnr_db) if free else None, 1)
        yield _Figure("lowest SSIM", "", view.find_lowest(free.ssim) if free else None, 1)
    for artifact in target.artifacts:
        if artifact.chosen:
            yield _Figure(f"a call of {artifact.component}", "ms", artifact.median_ms, -1)


def _compare_kernels(before: TargetRecord, now: TargetRecord) -> Iterator[Change]:
    old, new = ({(k.kernel, k.variant): k for k in target.kernels} for target in (before, now))
    for key in dict.fromkeys((*new, *old)):
        a, b = old.get(key), new.get(key)
        name = ", ".join(key)
        if a is None or b is None:
            yield Change(name, ABSENT if a is None else "compiled", ABSENT if b is None else "compiled", "other")
        elif (a.error is None) != (b.error is None):
            old_word, new_word = ("did not compile" if kernel.error else "compiled" for kernel in (a, b))
            yield Change(
                name, old_word, new_word, word="better" if a.error else "worse", direction=1 if a.error else -1
            )
        else:
            yield from _compare_code(name, a, b)


def _compare_code(name: str, before: KernelRecord, now: KernelRecord) -> Iterator[Change]:
    for field in _KERNEL_FIGURES:
        a, b = getattr(before, field), getattr(now, field)
        if a != b:
            show = percent if field == "occupancy" else count
            yield Change(f"{name}: {field.replace('_', ' ')}", show(a), show(b), "other")


def compare_origins(before: PortRecord, now: PortRecord) -> list[Change]:
    """What the two records are of and were made with, where it is not the same."""
    return list(compare_fields(_origin(before), _origin(now)))


def compare_hosts(before: TargetRecord, now: TargetRecord) -> list[Change]:
    """What two throughputs were timed on, where it is not the same; empty where either was not measured."""
    if before.throughput is None or now.throughput is None:
        return []
    sides = [{"host": t.host.model_dump(), "device": t.device and t.device.model_dump()} for t in
             (before.throughput, now.throughput)]  # fmt: skip
    return list(compare_fields(*map(_flatten, sides)))


def _origin(record: PortRecord) -> dict[str, str]:
    trace = record.trace.model_dump(exclude={"path"}) if record.trace else NOT_MEASURED
    parts = {
        "checkpoint": record.checkpoint.model_dump(),
        "worldport": record.worldport,
        "host": record.host.model_dump(),
        "trace": trace,
        "state contract": {c.name: {"opset": c.opset, "nodes": c.nodes} for c in record.components},
    }
    return _flatten(parts)


def _fields(target: TargetRecord | None) -> dict[str, str]:
    if target is None:
        return {}
    chosen = {a.component: f"{a.backend}, {a.precision}" for a in target.artifacts if a.chosen}
    return _flatten({"precision": target.precision, "chosen": chosen, "profile": target.profile.model_dump()})


def _flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings as one of names with spaces: {"host": {"cpu": "x"}} -> {"host cpu": "x"}."""
    if not isinstance(value, Mapping):
        return {prefix: "none" if value is None else str(value)}
    flat: dict[str, str] = {}
    for name, part in value.items():
        flat |= _flatten(part, f"{prefix} {name}".strip())
    return flat


def compare_fields(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    """Fields that differ; one that only one side has says so."""
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name, ABSENT), now.get(name, ABSENT)
        if old != new:
            yield Change(name, old, new)


def same_trace(before: PortRecord, now: PortRecord) -> bool:
    """True when both were held against the same recorded rollout, told by the digests of its files."""
    return bool(_trace_digests(now)) and _trace_digests(before) == _trace_digests(now)


def _trace_digests(record: PortRecord) -> dict[str, str]:
    if record.trace is None:
        return {}
    folder = record.trace.path.rstrip("/") + "/"
    return {file.path: file.sha256 for file in record.files if file.path.startswith(folder)}
