"""A target: one TOML file that says what the hardware is, how to compile for it, and what a port must reach.

It knows nothing of how any of that is measured. Unknown keys are refused, unknown facts are left out.
"""

import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from porting.errors import ProfileError
from porting.tensor_spec import Model, Precision

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class Device(Model):
    """What the target is, and how a host is recognised as one."""

    kind: Literal["cpu", "cuda", "hip"]
    architecture: str | None = None
    """What the compiler is told, for example sm_100 or gfx950."""
    source: str = ""


class CompileChoice(Model):
    """Backends to try, all of them, the fastest proved one kept; and what they are given."""

    backends: tuple[str, ...] = Field(min_length=1)
    precisions: tuple[Precision, ...] = Field(min_length=1)
    opset: Annotated[int, Field(ge=18)]


class ParityBudget(Model):
    """How wrong a port may be, measured against PyTorch's own error at the same precision."""

    error_budget_ratio: Positive
    """error(port) / error(PyTorch eager), both against gold; per output and per frame."""
    envelope_margin_db: Annotated[float, Field(ge=0)]
    """How far a free rollout may fall below the envelope of PyTorch's own noise."""
    envelope_margin_ssim: Annotated[float, Field(ge=0)] = 0.005
    """The same for SSIM, which is at most 1."""
    psnr_cap_db: Positive
    """PSNR above this counts as this much: differences that no display shows."""
    component_samples: Count
    teacher_forced_frames: Count
    free_running_frames: Count

    def lowest_psnr_db(self, envelope_psnr_db: float) -> float:
        """The PSNR that a frame needs where the envelope stands at this; nan stays nan, which nothing reaches."""
        if math.isnan(envelope_psnr_db):
            return envelope_psnr_db
        return min(envelope_psnr_db, self.psnr_cap_db) - self.envelope_margin_db

    def lowest_ssim(self, envelope_ssim: float) -> float:
        """The SSIM that a frame needs where the envelope stands at this."""
        return envelope_ssim - self.envelope_margin_ssim

    def holds_frame(self, psnr_db: float, ssim: float, envelope_psnr_db: float, envelope_ssim: float) -> bool:
        """Whether one free-running frame is within the reference's own noise; False for anything that is no number."""
        enough_psnr = psnr_db >= self.lowest_psnr_db(envelope_psnr_db)
        return enough_psnr and ssim >= self.lowest_ssim(envelope_ssim)


class ThroughputBudget(Model):
    """The frame rate that was promised, and for how long it is measured."""

    frames_per_second: Positive
    max_missed_share: Annotated[float, Field(ge=0, le=1)]
    """Share of paced frames that may come later than their deadline."""
    max_memory_slope_bytes_per_frame: Annotated[float, Field(ge=0)]
    timed_frames: Count
    paced_frames: Count

    @property
    def deadline_ms(self) -> float:
        """Time between two frames."""
        return 1000.0 / self.frames_per_second


class Profile(Model):
    """One target."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    device: Device
    compile: CompileChoice
    parity: ParityBudget
    throughput: ThroughputBudget


def read_profile(path: Path) -> Profile:
    """Read one profile.

    Raises:
        ProfileError: the file is missing, is not TOML, or has a missing, unknown or impossible value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        profile = Profile.model_validate(table)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ProfileError(f"{path}: cannot be read as TOML ({cause})") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ProfileError(f"{path}: {key}: {first['msg']}; see profiles/cpu.toml") from cause
    if profile.name != path.stem:
        raise ProfileError(f"{path}: name is {profile.name!r}; name the file {profile.name}.toml")
    return profile


def find_profile(name: str, folders: Iterable[Path]) -> Profile:
    """The profile of that name from the first folder that has it.

    Raises:
        ProfileError: no folder has it; the message lists those there are.
    """
    known: list[str] = []
    for folder in folders:
        if (folder / f"{name}.toml").is_file():
            return read_profile(folder / f"{name}.toml")
        known += sorted(path.stem for path in folder.glob("*.toml"))
    raise ProfileError(f"target {name!r}: no such profile; there are: {', '.join(known)}")
