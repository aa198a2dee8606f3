"""A baseline: what a port of one model once came to, small enough to be reviewed as a file of the repository.

It is read and written here; how it is made of a record, and what is held against it, is said elsewhere.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from porting.errors import RecordError
from porting.gate.noise import Tolerance
from porting.profile import ParityBudget, ThroughputBudget
from porting.record import Sha256, Step
from porting.tensor_spec import Model, Precision

SCHEMA_VERSION = 1
LARGEST_BYTES = 4 << 20
"""A file beyond this is no baseline; parsing one would take all memory first."""
CLOCK_TOLERANCE = 0.05
"""Clocks of one device differ by this much between runs: bins of a boost."""
LINE_WIDTH = 130
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(gt=0)]


class Fingerprint(Model):
    """Everything that absolute figures hang on beside the port itself."""

    device: str
    """The accelerator as its driver calls it; empty on a CPU."""
    driver: str
    clock_mhz: Positive | None
    """Median clock of the accelerator under load; None on a CPU, or where the driver does not tell."""
    machine: str
    cpu: str
    cores: AtLeastOne
    threads: AtLeastOne
    system: str
    python: str
    packages: dict[str, str]
    """Without worldport itself: what is gated changes with every commit."""
    settings: dict[str, str] = {}
    """Environment variables that change how the runtimes' threads work."""

    def differences(self, other: "Fingerprint") -> tuple[str, ...]:
        """Fields in which `other` is another machine or has other versions: "torch 2.13.0 (baseline 2.12.1)"."""
        mine, others = self._flatten(), other._flatten()
        found = []
        for name in dict.fromkeys((*mine, *others)):
            here, there = others.get(name), mine.get(name)
            if name == "clock_mhz" and isinstance(here, float) and isinstance(there, float):
                if math.isclose(here, there, rel_tol=CLOCK_TOLERANCE):
                    continue
            elif here == there:
                continue
            found.append(f"{name} {here or 'not there'} (baseline {there or 'not there'})")
        return tuple(found)

    def _flatten(self) -> dict[str, str | int | float | None]:
        tables = {"packages", "settings"}
        own = {name: getattr(self, name) for name in type(self).model_fields if name not in tables}
        return {**own, **self.packages, **self.settings}


class ArtifactBaseline(Model):
    """What one backend's artifact of a component was read back as."""

    backend: str
    precisions: tuple[str, ...]
    """Names of the precisions that its layers compute in, sorted."""
    placements: tuple[str, ...]
    """Where its layers run: execution providers, libraries, kernels; sorted."""
    chosen: bool


class KernelsBaseline(Model):
    """The kernels that were compiled for a target."""

    architectures: dict[str, AtLeastOne]
    """What stands in the binaries' headers, with how many hold it."""
    compiled: tuple[str, ...]
    """Kernel and variant: "adaln.bfloat16"."""
    spilled: dict[str, AtLeastOne]
    """Those that spill registers, with bytes a thread."""
    matrix_units: tuple[str, ...]
    """Those that have matrix instructions."""


class ParityBaseline(Model):
    """How close to PyTorch the port was."""

    ratios: dict[str, Finite]
    """Component -> worst error budget ratio of its chosen artifact."""
    backends: dict[str, str]
    """Component -> the backend that this was measured of."""
    teacher_forced_ratio: Finite
    teacher_forced_frames: AtLeastOne
    free_running_frames: AtLeastOne
    first_failing_frame: Count | None
    lowest_psnr_db: Finite
    """Of the port's own rollout against the reference's, as far as a display shows it."""


class Tolerances(Model):
    """How much worse each figure may be."""

    frames_per_second: Tolerance
    frame_p99: Tolerance
    memory: Tolerance
    ratio_to_eager: Tolerance | None
    """None where PyTorch eager did not run."""


class ThroughputBaseline(Model):
    """How fast the port was, and on what."""

    measured_on: Fingerprint
    frames_per_second: Positive
    frame_p50_ms: Positive
    frame_p99_ms: Positive
    timed_frames: AtLeastOne
    missed: Count
    paced_frames: AtLeastOne
    memory_high_water_bytes: AtLeastOne
    ratio_to_eager: Positive | None
    ratio_low: Positive | None
    ratio_high: Positive | None
    rounds: AtLeastOne
    ratios_of_others: dict[str, Positive]
    """What else was driven in the same rounds, over eager: to compare with, not judged."""
    disturbances: tuple[str, ...]
    """What the machine did meanwhile; a baseline with an entry here is worth making anew."""
    tolerances: Tolerances


class TargetBaseline(Model):
    """One target of a baseline."""

    precision: Precision
    reached: Step
    parity_budget: ParityBudget
    """What the profile promised when the baseline was made; a profile that asks for less does not pass."""
    throughput_budget: ThroughputBudget
    artifacts: dict[str, tuple[ArtifactBaseline, ...]]
    """Component -> every artifact that compiled, by backend."""
    kernels: KernelsBaseline
    parity: ParityBaseline | None
    throughput: ThroughputBaseline | None


class ModelBaseline(Model):
    """What was ported."""

    name: str
    family: str
    digest: Sha256
    """Of config and weights."""


class Baseline(Model):
    """What a gate judges by."""

    schema_version: Literal[1] = 1
    worldport: str
    created: str
    """When the port was made, UTC."""
    runs: AtLeastOne
    """Ports that it was made from; from several, tolerances hold what differed between them."""
    model: ModelBaseline
    targets: Annotated[dict[str, TargetBaseline], Field(min_length=1)]


def read_baseline(path: Path) -> Baseline:
    """Parse a baseline.

    Raises:
        RecordError: it is missing, no JSON, of another schema, or a figure in it is none.
    """
    advice = "make one with worldport baseline"
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise RecordError(f"{path}: has {path.stat().st_size} bytes, which no baseline has; {advice}")
        text = path.read_text(encoding="utf-8")
        version = json.loads(text)["schema_version"]
    except FileNotFoundError as cause:
        raise RecordError(f"{path}: there is no such baseline; {advice}") from cause
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as cause:
        raise RecordError(f"{path}: is no baseline ({type(cause).__name__}: {cause}); {advice}") from cause
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise RecordError(
            f"{path}: schema_version is {version!r}, this worldport reads {SCHEMA_VERSION};"
            f" use the worldport that wrote it, or {advice}"
        )
    try:
        return Baseline.model_validate_json(text)
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(f"{path}: {where}: {first['msg']}; correct it, or {advice}") from cause


def format_baseline(baseline: Baseline) -> str:
    """JSON for reviewers: what fits stands on one line, so that a change of a figure is a change of a line."""
    return _format(json.loads(baseline.model_dump_json()), 0) + "\n"


def _format(value: object, depth: int) -> str:
    short = json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    nested = any(isinstance(one, dict | list) and one for one in inner if isinstance(value, dict))
    if not inner or (len(short) + 2 * depth <= LINE_WIDTH and not (nested and depth < 4)):
        return short
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(key, ensure_ascii=False)}: {_format(v, depth + 1)}" for key, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{end}}}"
    rows = [_format(one, depth + 1) for one in inner]
    if not any(isinstance(one, dict | list) for one in inner):
        rows = _fill(rows, LINE_WIDTH - len(pad))
    return "[\n" + ",\n".join(pad + row for row in rows) + f"\n{end}]"


def _fill(words: list[str], width: int) -> list[str]:
    """Several to a line, with commas between."""
    lines = words[:1]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines
