"""A rack: how many of its devices it takes to make one session's frames in time, split by tensor and by context.

Model of a frame on n = t x c devices. Arithmetic and attention are divided by n, weights are split over t and repeated
over c, state is split over n by heads. Per layer: two ring all-reduces over t devices of the layer's activations S,
    base + 2 (t - 1) step + 2 (t - 1) / t x S / B,
and two all-to-alls over c devices (queries, keys and values; then what was attended), each
    base + step + (c - 1) / c x moved / B,
with B the one-directional rate of one device's links. Nothing of it overlaps with arithmetic.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from porting.errors import ProfileError
from porting.planning.work import BITS, PlannedComponent, PlannedModel, state_bits
from porting.profile import Figure, Format, Profile
from porting.tensor_spec import Model

FOLDER = "racks"
"""Below a folder of profiles."""


class Rack(Model):
    """What a rack adds to the devices in it."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    title: str
    target: str
    """The profile of one device."""
    gpus: Figure
    link_total_gb_per_s: Figure
    """All devices' links, both directions."""
    base_latency_us: Figure
    """Of one collective, whatever its size; the first claim is the nominal one."""
    step_latency_us: Figure
    peaks: dict[Format, Figure] = {}
    """Dense TFLOP/s of one device where it differs from the profile's."""

    @property
    def devices(self) -> int:
        """How many there are by every source's account."""
        return int(self.gpus.conservative)


@dataclass(frozen=True)
class Assumptions:
    """What a plan of a rack rests on; every one of them is varied."""

    flops_per_second: float
    bytes_per_second: float
    link_bytes_per_second: float
    base_seconds: float
    step_seconds: float
    utilisation: float
    memory_bytes: int
    """Of one device."""


class Split(Model):
    """One way of dividing a model."""

    gpus: int
    tensor: int
    context: int
    frame_ms: float
    link_ms: float
    """Of it, for talking to one another."""
    fps: float


class Scenario(Model):
    """What one assumption changes."""

    name: str
    smallest: Split | None
    """The fewest devices that reach the frame rate; None where no split does."""
    best: Split
    """The fastest split there is."""


class RackPlan(Model):
    """A model on a rack, in one format."""

    rack: str
    title: str
    format: Format
    devices: int
    nominal: Scenario
    sensitivity: tuple[Scenario, ...]


def read_racks(folders: Iterable[Path]) -> tuple[Rack, ...]:
    """Every rack beside the profiles of these folders, by name; an earlier folder hides those of the same name.

    Raises:
        ProfileError: a file is not readable as a rack.
    """
    paths: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / FOLDER).glob("*.toml")):
            paths.setdefault(path.stem, path)
    return tuple(_read_rack(paths[name]) for name in sorted(paths))


def _read_rack(path: Path) -> Rack:
    try:
        rack = Rack.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ProfileError(f"{path}: cannot be read as TOML ({cause})") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        raise ProfileError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')};"
            " see profiles/racks/gb300-nvl72.toml"
        ) from cause
    if rack.name != path.stem:
        raise ProfileError(f"{path}: name is {rack.name!r}; name the file {rack.name}.toml")
    return rack


def plan_rack(model: PlannedModel, rack: Rack, profile: Profile, fps: float) -> tuple[RackPlan, ...]:
    """How many devices a session at `fps` takes, for every 16-, 8- and 4-bit format that there is a peak of.

    Raises:
        ProfileError: the profile gives no bandwidth or memory size.
    """
    figures = {**profile.device.peaks, **rack.peaks}
    # Formats of the same width and peak give the same answer, such as fp16 and bf16.
    wanted = [name for name in ("bf16", "fp8", "nvfp4", "mxfp4") if name in figures]
    return tuple(_plan_format(model, rack, profile, figures[name], name, fps) for name in wanted)


def _plan_format(
    model: PlannedModel, rack: Rack, profile: Profile, peak: Figure, number_format: Format, fps: float
) -> RackPlan:
    bandwidth = profile.device.bandwidth_gb_per_s
    memory = profile.device.memory_bytes
    if bandwidth is None or memory is None:
        missing = "bandwidth_gb_per_s" if bandwidth is None else "memory_gb"
        raise ProfileError(f"{profile.name}: device.{missing}: no source gives it; add it with its source")
    nominal = Assumptions(
        flops_per_second=peak.conservative * 1e12,
        bytes_per_second=bandwidth.conservative * 1e9,
        link_bytes_per_second=rack.link_total_gb_per_s.conservative * 1e9 / rack.devices / 2,
        base_seconds=rack.base_latency_us.claims[0].value * 1e-6,
        step_seconds=rack.step_latency_us.claims[0].value * 1e-6,
        utilisation=0.6,
        memory_bytes=memory,
    )
    varied = {
        "40 % of the peak in arithmetic": replace(nominal, utilisation=0.4),
        "80 % of the peak in arithmetic": replace(nominal, utilisation=0.8),
        "memory bandwidth - 20 %": replace(nominal, bytes_per_second=0.8 * nominal.bytes_per_second),
        "memory bandwidth + 20 %": replace(nominal, bytes_per_second=1.2 * nominal.bytes_per_second),
        "link bandwidth - 20 %": replace(nominal, link_bytes_per_second=0.8 * nominal.link_bytes_per_second),
        "link bandwidth + 20 %": replace(nominal, link_bytes_per_second=1.2 * nominal.link_bytes_per_second),
        "latencies halved": _scale_latency(nominal, 0.5),
        "latencies doubled": _scale_latency(nominal, 2.0),
    }
    if peak.disputed or bandwidth.disputed:
        varied["largest claims of peak and bandwidth"] = replace(
            nominal, flops_per_second=peak.optimistic * 1e12, bytes_per_second=bandwidth.optimistic * 1e9
        )
    return RackPlan(
        rack=rack.name,
        title=rack.title,
        format=number_format,
        devices=rack.devices,
        nominal=_find_splits("60 % of the peak in arithmetic", model, number_format, nominal, rack.devices, fps),
        sensitivity=tuple(
            _find_splits(name, model, number_format, assumed, rack.devices, fps) for name, assumed in varied.items()
        ),
    )


def _scale_latency(assumed: Assumptions, factor: float) -> Assumptions:
    return replace(assumed, base_seconds=factor * assumed.base_seconds, step_seconds=factor * assumed.step_seconds)


def _find_splits(
    name: str, model: PlannedModel, number_format: Format, assumed: Assumptions, devices: int, fps: float
) -> Scenario:
    parts = model.transformer
    splits = [
        split_frame(model, number_format, assumed, tensor, context)
        for tensor in range(1, devices + 1)
        for context in range(1, devices // tensor + 1)
        if parts.heads % (tensor * context) == 0 and parts.mlp_width % tensor == 0
    ]
    enough = [split for split in splits if split.fps >= fps and _fits(model, number_format, assumed, split)]
    return Scenario(
        name=name,
        smallest=min(enough, key=lambda split: (split.gpus, split.frame_ms), default=None),
        best=min(splits, key=lambda split: split.frame_ms),
    )


def _fits(model: PlannedModel, number_format: Format, assumed: Assumptions, split: Split) -> bool:
    """Whether a device has room for its weights, of which none but the transformer's are split, and its state."""
    parts = {part.name: part.parameters for part in model.components}
    parameters = model.parameters - parts[model.transformer.component] * (1 - 1 / split.tensor)
    weights = parameters * BITS[number_format] / 8
    return weights + model.session_bytes(number_format) / split.gpus <= assumed.memory_bytes


def split_frame(model: PlannedModel, number_format: Format, assumed: Assumptions, tensor: int, context: int) -> Split:
    """A frame on tensor x context devices."""
    computing = sum(
        part.calls_per_frame * _part_seconds(part, part.name == model.transformer.component, number_format, assumed,
                                             tensor, context)
        for part in model.components
    )  # fmt: skip
    calls = sum(p.calls_per_frame for p in model.components if p.name == model.transformer.component)
    talking = calls * _link_seconds(model, number_format, assumed, tensor, context)
    copied = model.copied_elements * state_bits(number_format) / 8 / (tensor * context) / assumed.bytes_per_second
    seconds = computing + talking + copied
    return Split(
        gpus=tensor * context,
        tensor=tensor,
        context=context,
        frame_ms=1000 * seconds,
        link_ms=1000 * talking,
        fps=1 / seconds,
    )


def _part_seconds(
    part: PlannedComponent,
    splits_weights: bool,
    number_format: Format,
    assumed: Assumptions,
    tensor: int,
    context: int,
) -> float:
    """One call's share on one device; what is no transformer repeats its weights and divides the picture."""
    devices = tensor * context
    compute = part.matrix_flops / devices / (assumed.flops_per_second * assumed.utilisation)
    weights = part.parameters * BITS[number_format] / 8 / (tensor if splits_weights else 1)
    moved = (part.input_elements + part.output_elements) * state_bits(number_format) / 8 / devices
    return max(compute, (weights + moved) / assumed.bytes_per_second)


def _link_seconds(model: PlannedModel, number_format: Format, assumed: Assumptions, tensor: int, context: int) -> float:
    """What the layers of one call of the transformer wait for one another."""
    parts = model.transformer
    # A context device holds its share of the tokens; its activations are exchanged in 16 bits or more.
    activations = parts.tokens * parts.width * state_bits(number_format) / 8 / context
    layer = 0.0
    if tensor > 1:
        rounds = 2 * (tensor - 1)
        sent = rounds / tensor * activations
        layer += 2 * (assumed.base_seconds + rounds * assumed.step_seconds + sent / assumed.link_bytes_per_second)
    if context > 1:
        sent = (3 + 1) * activations / tensor * (context - 1) / context
        layer += 2 * (assumed.base_seconds + assumed.step_seconds) + sent / assumed.link_bytes_per_second
    return parts.layers * layer
