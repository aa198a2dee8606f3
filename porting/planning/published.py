"""Floors of published systems beside what was measured of them: a floor that lies above a measurement is wrong.

A system is a row of data: a video transformer's sizes, what it computes for one measured unit (a chunk, frame or step),
and on what. Only what every implementation must do is counted: the blocks' products of the denoising passes that are
sure, over the keys that are sure. Encoders, decoders, text and commits of a cache are left out, so floors are low.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from porting.errors import ConfigError
from porting.planning.racks import Rack
from porting.planning.work import BITS
from porting.profile import Format, Profile
from porting.record.limit import Bound
from porting.tensor_spec import Model


class PublishedSystem(Model):
    """One measurement, and the inputs that its floor follows from."""

    system: str
    device: str
    """A profile or a rack."""
    gpus: int = Field(gt=0)
    format: Format
    layers: int
    width: int
    mlp_width: int
    text_tokens: int
    """That every token looks at; 0 without text."""
    tokens_per_frame: int
    """Of one latent frame."""
    frames: float
    """Latent frames that the measured time makes."""
    key_frames: float
    """Latent frames that each token is sure to look at, its own included."""
    passes: int
    """Denoising passes that are sure."""
    measured_ms: float = Field(gt=0)
    measured: str
    """How the source puts it."""
    source: str
    inputs_source: str
    note: str = ""


class LeftOut(Model):
    """A published result that no floor is made for."""

    system: str
    reason: str


class PublishedResults(Model):
    """What `published.toml` holds."""

    systems: tuple[PublishedSystem, ...]
    left_out: tuple[LeftOut, ...]


class ComparedFloor(Model):
    """One row of the table."""

    system: PublishedSystem
    floor_ms: float
    bound: Bound

    @property
    def holds(self) -> bool:
        """Whether the floor lies no higher than what was measured."""
        return self.floor_ms <= self.system.measured_ms

    @property
    def above(self) -> float:
        """How many times the floor the measured time is."""
        return self.system.measured_ms / self.floor_ms


def read_published(path: Path) -> PublishedResults:
    """The rows of a data file.

    Raises:
        ConfigError: it is not readable, or a value is missing or impossible.
    """
    try:
        return PublishedResults.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ConfigError(f"{path}: cannot be read as TOML ({cause})") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; correct the row") from cause


def compare_floor(system: PublishedSystem, profiles: Mapping[str, Profile], racks: Mapping[str, Rack]) -> ComparedFloor:
    """The system's floor by the largest claims of its device's figures, which nothing may exceed.

    Raises:
        ConfigError: there is no such device, or it has no peak in the format, or no bandwidth.
    """
    peak, bandwidth = _figures(system, profiles, racks)
    compute = system.passes * pass_flops(system) / (system.gpus * peak * 1e12)
    weights = system.layers * block_parameters(system) * BITS[system.format] / 8
    memory = system.passes * weights / (system.gpus * bandwidth * 1e9)
    return ComparedFloor(
        system=system, floor_ms=1000 * max(compute, memory), bound="compute" if compute >= memory else "memory"
    )


def block_parameters(system: PublishedSystem) -> int:
    """Of one block, those that every token meets: attention, what asks the text, and the MLP."""
    attention = (4 + 2 * bool(system.text_tokens)) * system.width**2
    return attention + 2 * system.width * system.mlp_width


def pass_flops(system: PublishedSystem) -> float:
    """Of one denoising pass over the measured unit's tokens."""
    tokens = system.frames * system.tokens_per_frame
    looked_at = system.key_frames * system.tokens_per_frame + system.text_tokens
    # A multiplication and a sum for each product; scores and values are products over the width each.
    return system.layers * 2 * tokens * (block_parameters(system) + 2 * looked_at * system.width)


def _figures(
    system: PublishedSystem, profiles: Mapping[str, Profile], racks: Mapping[str, Rack]
) -> tuple[float, float]:
    """TFLOP/s and GB/s of one device."""
    rack = racks.get(system.device)
    profile = profiles.get(rack.target if rack is not None else system.device)
    if profile is None:
        raise ConfigError(f"{system.system}: device {system.device!r}: no such profile or rack; leave the row out")
    own = rack.peaks.get(system.format) if rack is not None else None
    peak, bandwidth = own or profile.device.peaks.get(system.format), profile.device.bandwidth_gb_per_s
    if peak is None or bandwidth is None:
        raise ConfigError(f"{system.system}: {system.device} has no {system.format} peak or bandwidth; leave it out")
    return float(peak.optimistic), float(bandwidth.optimistic)
