"""DIAMOND's sizes under the keys of its repository's config; a published file has none: they are in tensors' shapes.

Source: eloialonso/diamond, config/agent/default.yaml, config/env/atari.yaml and config/trainer.yaml.
"""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.diamond.renaming import convert
from porting.adapters.published import validate
from porting.checkpoint import Checkpoint

Size = Annotated[int, Field(gt=0)]
Sizes = Annotated[tuple[Size, ...], Field(min_length=1)]
HEAD_WIDTH = 8
"""Of self-attention."""
REFERENCE = "${"
"""How a value begins that its config takes from elsewhere."""
DENOISER, REW_END = "denoiser.inner_model.", "rew_end_model."


class Stages(BaseModel):
    """Residual blocks at each resolution, each half of the one before."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    img_channels: Literal[3] = 3
    cond_channels: Size
    depths: Sizes
    channels: Sizes
    attn_depths: tuple[bool, ...]

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if not len(self.depths) == len(self.channels) == len(self.attn_depths):
            raise ValueError(
                f"depths {self.depths}, channels {self.channels}, attn_depths {self.attn_depths} are not of one length"
            )
        for width in self.channels:
            if width > 2 * HEAD_WIDTH and width % (width // HEAD_WIDTH):
                raise ValueError(f"channels {width} do not divide into {width // HEAD_WIDTH} heads")
        return self

    @property
    def downscale(self) -> int:
        """Picture's side over that of the deepest stage."""
        return 1 << (len(self.depths) - 1)


class InnerModel(Stages):
    """The U-Net, its noise level's and its actions' embeddings."""

    num_steps_conditioning: Annotated[int, Field(ge=2)] = 4
    """Observations and actions that it sees."""

    @model_validator(mode="after")
    def _conditioning_fits(self) -> Self:
        if self.cond_channels % self.num_steps_conditioning or self.cond_channels % 2:
            raise ValueError(
                f"cond_channels {self.cond_channels} is odd or no multiple of {self.num_steps_conditioning} actions"
            )
        return self


class DenoiserConfig(BaseModel):
    """The U-Net and how its input and output are scaled."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sigma_data: Annotated[float, Field(gt=0)] = 0.5
    sigma_offset_noise: Annotated[float, Field(ge=0)] = 0.3
    inner_model: InnerModel


class RewEndConfig(Stages):
    """The network that tells what a step was worth, and whether it ended the game."""

    lstm_dim: Size
    img_size: Size

    @model_validator(mode="after")
    def _picture_halves(self) -> Self:
        if self.img_size % self.downscale:
            raise ValueError(f"img_size {self.img_size} does not halve {len(self.depths) - 1} times")
        return self


class DiamondConfig(BaseModel):
    """An agent's world model; its actor and critic are not part of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    denoiser: DenoiserConfig
    rew_end_model: RewEndConfig
    num_actions: Size

    @property
    def observations(self) -> tuple[int, int, int, int, int]:
        """(1, N, 3, H, W), what is carried of the past."""
        inner, side = self.denoiser.inner_model, self.rew_end_model.img_size
        return (1, inner.num_steps_conditioning, inner.img_channels, side, side)


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published sampler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[int, Field(ge=1, le=1000)] = 3
    sigma_min: Annotated[float, Field(gt=0)] = 2e-3
    sigma_max: Annotated[float, Field(gt=0)] = 5.0
    rho: Annotated[float, Field(gt=0)] = 7.0
    order: Literal[1, 2] = 1
    """1: Euler, 2: Heun, whose every step but the last runs the network twice."""
    quantise: bool = True
    """Whether every denoised picture is cut to 8 bits, as the published sampler does. A cut makes of the smallest
    difference a whole level, between any two implementations and between PyTorch's own float32 and float64, so
    that whole frames can then no longer be held to a budget of rounding errors; without it they can."""

    @model_validator(mode="after")
    def _levels_fall(self) -> Self:
        if self.sigma_min > self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} must not lie above sigma_max {self.sigma_max}")
        return self

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels where steps begin, then 0, where the last one ends.

        Source: Karras et al., arXiv 2206.00364, equation 5.
        """
        last = max(1, self.steps - 1)
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (*((high + step / last * (low - high)) ** self.rho for step in range(self.steps)), 0.0)


def read_config(checkpoint: Checkpoint) -> DiamondConfig:
    """config.json where there is one, completed by the tensors' shapes.

    Raises:
        ConfigError: a value is impossible, or a size is told by neither.
    """
    values = _merge(_read_shapes(checkpoint), _drop_references(checkpoint.config))
    return validate(DiamondConfig, values, str(checkpoint.config_path))


def _read_shapes(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the tensors' shapes tell; a tensor that is not there tells nothing and is missed later."""
    shapes = {name: header.shape for name, header in convert(checkpoint.tensors).items()}
    inner = _read_stages(shapes, f"{DENOISER}unet.d_blocks")
    judge = _read_stages(shapes, f"{REW_END}encoder.blocks", unlisted=1)
    found: dict[str, Any] = {}
    actions, noise = shapes.get(f"{DENOISER}act_emb.0.weight", ()), shapes.get(f"{DENOISER}noise_emb.weight", ())
    if len(actions) == 2 and len(noise) == 2:
        found["num_actions"] = actions[0]
        inner |= {"cond_channels": 2 * noise[1], "num_steps_conditioning": 2 * noise[1] // max(1, actions[1])}
    actions, gates = shapes.get(f"{REW_END}act_emb.weight", ()), shapes.get(f"{REW_END}lstm.weight_ih_l0", ())
    if len(actions) == 2 and len(gates) == 2 and judge:
        side = isqrt(gates[1] // judge["channels"][-1]) << (len(judge["depths"]) - 1)
        judge |= {"cond_channels": actions[1], "lstm_dim": gates[0] // 4, "img_size": side}
    return found | {"denoiser": {"inner_model": inner}, "rew_end_model": judge}


def _read_stages(shapes: Mapping[str, tuple[int, ...]], start: str, unlisted: int = 0) -> dict[str, Any]:
    """Depths, channels and attention of the stages whose names begin with `start`, without the `unlisted` last ones."""
    pattern = re.compile(rf"{re.escape(start)}\.(\d+)\.resblocks\.(\d+)\.conv2\.weight")
    blocks = [(int(m[1]), int(m[2]), shape[0]) for name, shape in shapes.items() if (m := pattern.fullmatch(name))]
    stages = sorted({stage for stage, _, _ in blocks})[: -unlisted or None]
    if not stages:
        return {}
    return {
        "depths": [1 + max(block for stage, block, _ in blocks if stage == wanted) for wanted in stages],
        "channels": [next(width for stage, _, width in blocks if stage == wanted) for wanted in stages],
        "attn_depths": [f"{start}.{stage}.resblocks.0.attn.qkv_proj.weight" in shapes for stage in stages],
    }


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values of both, `above` where both have one."""
    merged = {**below, **above}
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping):
            merged[key] = _merge(below[key], value)
    return merged


def _drop_references(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without values that the config takes from elsewhere, which shapes tell as well."""
    return {
        key: _drop_references(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if not (isinstance(value, str) and value.startswith(REFERENCE))
    }
