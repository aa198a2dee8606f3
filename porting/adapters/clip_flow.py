"""What the programs of clips share that are denoised as a whole along a flow: levels as constants, and the calls.

It knows no network: a family's denoiser takes one Euler step, with whatever conditions it.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from porting.adapters.wan.config import LEVELS
from porting.errors import ConfigError
from porting.program import Call, Sink, Source
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent standard deviations"
FRAME_UNIT = "of full brightness"
LATENTS = "latents"
"""The value that the last step leaves."""


def list_levels(sigmas: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """Constants of every step: its timestep in thousandths of pure noise, and how far it goes, which is negative.

    Args:
        sigmas: where steps begin, from 1 down, then where the last one ends.
    """
    constants: dict[str, tuple[float, ...]] = {}
    for index, (sigma, following) in enumerate(itertools.pairwise(sigmas)):
        constants |= {f"timestep_{index}": (sigma * LEVELS,), f"step_{index}": (following - sigma,)}
    return constants


def step_inputs(latents: TensorSpec, conditions: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Inputs of a component that takes one step; its output is `next_latents`."""
    return (latents, float_tensor("timestep", (1,)), float_tensor("step", (1,)), *conditions)


def denoise(steps: int, conditions: Sequence[str]) -> list[Call]:
    """A denoiser call a step, from the input `noise` to the value `latents`."""
    latents, calls = Source(kind="input", name="noise"), []
    for index in range(steps):
        made = LATENTS if index == steps - 1 else f"{LATENTS}_{index + 1}"
        inputs = {
            "latents": latents,
            "timestep": Source(kind="constant", name=f"timestep_{index}"),
            "step": Source(kind="constant", name=f"step_{index}"),
            **{name: Source(kind="input", name=name) for name in conditions},
        }
        outputs = {"next_latents": Sink(kind="value", name=made)}
        calls.append(Call(component="denoiser", inputs=inputs, outputs=outputs))
        latents = Source(kind="value", name=made)
    return calls


def check_divides(where: object, settings: Any, cells: Mapping[str, int], time: int) -> None:
    """Hold a clip's pictures against what one latent, or one patch of them, stands for.

    Raises:
        ConfigError: a side is no multiple of its cell, or the pictures are not 1 more than a multiple of `time`.
    """
    for name, cell in cells.items():
        if getattr(settings, name) % cell:
            raise ConfigError(f"{where}: {name} {getattr(settings, name)} is not a multiple of {cell}; change it")
    if settings.frames % time != 1 % time:
        raise ConfigError(f"{where}: frames {settings.frames} is not 1 more than a multiple of {time}; change it")


def float_tensor(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    """A float32 tensor."""
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
