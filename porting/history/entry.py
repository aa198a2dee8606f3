"""What a history keeps of a port record: one point a target, every figure finite or absent with its reason.

Reads the record alone. A figure that is no number is absent; it never becomes 0.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from porting.errors import RecordError
from porting.history.commit import Commit
from porting.record import DeviceUsed, Host, Outcome, PortRecord, TargetRecord, ThroughputEvidence
from porting.record.history import METRICS, HistoryPoint

PORT, EAGER = "port", "eager"
REPORT_STAGE = "report"
Found = float | str
"""A figure, or why there is none."""


def digest_json(value: object) -> str:
    """sha256 of the canonical JSON of plain data."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def digest_record(record: PortRecord) -> str:
    """Digest of what was made and measured: pages rendered from the record, and fields left at their default, are out.

    So neither a report written anew nor a later version's new field makes another record of it.
    """
    pages = {file for stage in record.stages if stage.name == REPORT_STAGE for file in stage.files}
    kept = record.model_copy(
        update={
            "stages": tuple(stage for stage in record.stages if stage.name != REPORT_STAGE),
            "files": tuple(file for file in record.files if file.path not in pages),
        }
    )
    return digest_json(kept.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def fingerprint(host: Host, device: DeviceUsed | None) -> str:
    """Digest of a machine and its versions, worldport's own left out: that is what changes from commit to commit.

    Memory and a device's clock under load are left out as well: they differ a little from one start to the next.
    """
    told = host.model_dump(mode="json", exclude={"memory_bytes"})
    told["packages"] = {name: version for name, version in host.packages.items() if name != "worldport"}
    told["device"] = device.model_dump(mode="json", exclude={"clock_mhz"}) if device is not None else None
    return digest_json(told)


def describe_machine(host: Host, device: DeviceUsed | None) -> str:
    """A machine in a few words, for people."""
    processor = f"{host.cpu}, {host.threads} of {host.cores} cores, {host.system}"
    if device is None:
        return processor
    return f"{device.name}, {f'driver {device.driver}' if device.driver else 'driver not told'}; {processor}"


def make_points(record: PortRecord, commit: Commit) -> tuple[HistoryPoint, ...]:
    """One point for each target.

    Raises:
        RecordError: the record has no target, or does not say when it was made.
    """
    if not record.targets:
        raise RecordError("port.json: has no target, so there is nothing to keep; run worldport port")
    digest, when = digest_record(record), commit.when or _read_time(record.created)
    program = digest_json(record.program.model_dump(mode="json"))
    return tuple(_make_point(record, name, commit, digest, program, when) for name in sorted(record.targets))


def _make_point(
    record: PortRecord, name: str, commit: Commit, digest: str, program: str, when: datetime
) -> HistoryPoint:
    target = record.targets[name]
    timed, verdict = target.throughput, target.verdict
    host, device = (timed.host, timed.device) if timed is not None else (record.host, None)
    values, absent = split_figures(find_figures(target))
    return HistoryPoint(
        commit=commit.sha, branch=commit.branch, when=when, record=digest, model=record.checkpoint.name,
        checkpoint=record.checkpoint.digest, program=program, target=name, precision=target.precision,
        fingerprint=fingerprint(host, device), machine=describe_machine(host, device),
        outcome=verdict.outcome if verdict else Outcome.NOT_MEASURED, reached=verdict.reached if verdict else None,
        disturbances=_find_disturbances(timed), values=values, absent=absent,
    )  # fmt: skip


def _read_time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as cause:
        raise RecordError(f"port.json: created is {text!r}, which is no ISO 8601 time; port anew") from cause
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _find_disturbances(timed: ThroughputEvidence | None) -> tuple[str, ...]:
    if timed is None or timed.valid:
        return ()
    return timed.disturbances or ("the machine was in no state to measure on",)


def split_figures(found: Mapping[str, Found]) -> tuple[dict[str, float], dict[str, str]]:
    """Figures that are numbers, and why the others are absent; every metric is in one of the two."""
    values: dict[str, float] = {}
    absent: dict[str, str] = {}
    for metric in METRICS:
        figure = found.get(metric.name, "the record does not hold it")
        if isinstance(figure, str):
            absent[metric.name] = figure
        elif not math.isfinite(figure):
            absent[metric.name] = f"what was measured is {figure}, which is no figure"
        else:
            values[metric.name] = float(figure)
    return values, absent


def find_figures(target: TargetRecord) -> dict[str, Found]:
    """Every metric that a target's evidence tells, or why it does not."""
    return {
        **_timed_figures(target.throughput),
        "budget_ratio": _find_worst_ratio(target),
        "psnr_end": _find_last_psnr(target),
        "achieved": _find_achieved(target),
    }


def _timed_figures(timed: ThroughputEvidence | None) -> dict[str, Found]:
    names = ("fps", "p50", "p99", "missed", "eager_ratio", "joules_per_frame", "memory")
    if timed is None:
        return dict.fromkeys(names, "no frame was timed")
    if timed.frame_ms.frames <= 0:
        return dict.fromkeys(names, "no frame was timed after warm-up")
    drivers = {driver.name: driver for driver in timed.drivers}
    compared = PORT in drivers and EAGER in drivers and drivers[PORT].rounds > 0
    energy = timed.energy
    joules = energy.joules_per_frame if energy is not None else None
    return {
        "fps": timed.frames_per_second,
        "p50": timed.frame_ms.p50,
        "p99": timed.frame_ms.p99,
        "missed": timed.paced.missed / timed.paced.frames if timed.paced.frames > 0 else "no frame was paced",
        "eager_ratio": drivers[PORT].ratio_to_eager if compared else "not driven in turn with PyTorch eager",
        "joules_per_frame": joules if joules is not None else (energy and energy.reason) or "no energy was read",
        "memory": timed.memory_high_water_bytes / 2**20 if timed.memory_high_water_bytes > 0 else "memory was not read",
    }


def _find_worst_ratio(target: TargetRecord) -> Found:
    """The greatest ratio of a chosen artifact's output, on any input, and of any frame from the reference's state."""
    parity = target.parity
    if parity is None:
        return "no parity was measured"
    chosen = {(artifact.component, artifact.backend) for artifact in target.artifacts if artifact.chosen}
    outputs = [output for output in parity.outputs if (output.component, output.backend) in chosen]
    if not outputs:
        return "no output of a chosen artifact was compared"
    if unmeasured := [output for output in outputs if not output.measured]:
        return f"{len(unmeasured)} of {len(outputs)} outputs of chosen artifacts have no ratio"
    return _greatest([*(output.ratio for output in outputs), *_forced_ratios(target)])


def _forced_ratios(target: TargetRecord) -> Iterator[float]:
    for output in target.parity.teacher_forced if target.parity else ():
        yield from output.ratio


def _greatest(values: list[float]) -> float:
    """The greatest; one that is no number is worse than any."""
    return math.nan if any(map(math.isnan, values)) else max(values)


def _find_last_psnr(target: TargetRecord) -> Found:
    """Above the profile's cap it counts as the cap, as it does in the verdict: bits that agree have no PSNR."""
    free = target.parity.free_running if target.parity else None
    if free is None or not free.psnr_db:
        return "no free rollout was run"
    last, cap = free.psnr_db[-1], target.profile.parity.psnr_cap_db
    return cap if last > cap else last


def _find_achieved(target: TargetRecord) -> Found:
    if target.limit is None:
        return "the record holds no floor of a frame"
    achieved = target.limit.achieved if target.limit.measured_ms else None
    return achieved if achieved is not None else "no frame was timed beside its floor"
