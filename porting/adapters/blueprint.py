"""What a config alone says of a world model: its frame program, and modules whose parameters hold no memory yet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from porting.adapters.names import strip_wrappers
from porting.adapters.samples import DrawSamples
from porting.checkpoint import Checkpoint
from porting.program import Program

Convert = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Stored tensors to those of the module's `state_dict`. It is called twice: on tensors of the meta device, from headers
alone, then on the weights."""


@dataclass(frozen=True)
class Part:
    """A module that weights are loaded into, and where they come from."""

    module: nn.Module
    """Its `state_dict` names every tensor that must be there; parameters are on the meta device."""
    source: Checkpoint
    convert: Convert = strip_wrappers
    ignored: tuple[str, ...] = ()
    """Patterns of converted names that may be there and are not used: a training loop's counters, unused heads."""


@dataclass(frozen=True)
class Sizes:
    """A component's transformer in figures: what splitting it over several devices depends on."""

    component: str
    layers: int
    width: int
    heads: int
    mlp_width: int
    tokens: int
    """Of one call."""


@dataclass(frozen=True)
class Blueprint:
    """A family's reading of a checkpoint's config."""

    family: str
    config: dict[str, Any]
    """The config as read, for the record: published values and settings."""
    program: Program
    modules: dict[str, nn.Module]
    """One a component; see `WorldModel.modules`."""
    parts: dict[str, Part]
    """Every module of `modules` is made of these."""
    part_of: Mapping[str, str]
    """Component -> the part that its weights are from; components of no weights are left out."""
    sizes: Sizes
    draw_samples: DrawSamples | None = None
    """Sessions for a checkpoint that brings none; by default every input is drawn by its kind and shape."""
    finish: Callable[[dict[str, nn.Module]], None] = field(default=lambda modules: None)
    """Called once the weights are in: what is computed from them, and kept."""
