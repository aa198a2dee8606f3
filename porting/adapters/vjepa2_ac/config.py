"""V-JEPA 2-AC's sizes. A published file has no config: most are read from the tensors' shapes."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.names import bare_name
from porting.adapters.published import validate
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

Size = Annotated[int, Field(gt=0)]
HEADS = {1024: 16, 1280: 16, 1408: 22, 1664: 26}
"""Attention heads of the published widths: nothing in a tensor's shape tells them."""
TRANSLATION, ROTATION, GRIPPER = 3, 3, 1
POSE_WIDTH = TRANSLATION + ROTATION + GRIPPER
"""x, y, z in metres, three Euler angles, how far the gripper is closed."""


class Vjepa2AcConfig(BaseModel):
    """Sizes of the encoder and of the predictor."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    patch_size: Size = 16
    tubelet_size: Size = 2
    crop_size: Size = 256
    hidden_size: Size = 1408
    num_attention_heads: Size = 22
    num_hidden_layers: Size = 40
    mlp_width: Size = 6144
    pred_hidden_size: Size = 1024
    pred_num_attention_heads: Size = 16
    pred_num_hidden_layers: Size = 24
    pred_mlp_width: Size = 4096
    action_width: Literal[7] = 7
    """Of an action and of a pose: three of translation, three of rotation, the gripper."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.crop_size % self.patch_size:
            raise ValueError(f"crop_size {self.crop_size} is not a multiple of patch_size {self.patch_size}")
        for width, heads in (
            (self.hidden_size, self.num_attention_heads),
            (self.pred_hidden_size, self.pred_num_attention_heads),
        ):
            if width % heads or width // heads < 6:
                raise ValueError(f"width {width} over {heads} heads: a head needs 6 values or more, evenly")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens of a frame along height and width."""
        side = self.crop_size // self.patch_size
        return (side, side)

    @property
    def tokens(self) -> int:
        """Of one frame, without its action and pose."""
        return self.grid[0] * self.grid[1]


class Settings(BaseModel):
    """What worldport.json may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["rollout", "plan"] = "rollout"
    """Whether actions come from outside, or from the planner, which seeks a goal picture."""
    window: Annotated[int, Field(ge=2)] = 8
    """Frames that the predictor looks at, the present one included."""
    horizon: Size = 2
    """Steps that the planner looks ahead."""
    samples: Annotated[int, Field(ge=2)] = 25
    """Action sequences that one iteration of the planner tries."""
    elites: Annotated[int, Field(ge=2)] = 10
    """The best of them, from which the next iteration's distribution is made."""
    iterations: Size = 2
    momentum_mean: Annotated[float, Field(ge=0, lt=1)] = 0.15
    momentum_std: Annotated[float, Field(ge=0, lt=1)] = 0.75
    max_translation: Annotated[float, Field(gt=0)] = 0.05
    """Metres of one action along each axis."""
    max_gripper: Annotated[float, Field(gt=0)] = 0.75

    @model_validator(mode="after")
    def _elites_are_samples(self) -> Self:
        if self.elites >= self.samples:
            raise ValueError(f"elites {self.elites} must be fewer than samples {self.samples}")
        return self


def read_config(checkpoint: Checkpoint) -> Vjepa2AcConfig:
    """config.json where there is one, completed by the tensors' shapes.

    Raises:
        ConfigError: a value is impossible, or the heads of an unpublished width are not told.
    """
    values = {**_read_shapes(checkpoint), **checkpoint.config}
    for width, heads in (
        ("hidden_size", "num_attention_heads"), ("pred_hidden_size", "pred_num_attention_heads"),
    ):  # fmt: skip
        if checkpoint.tensors and heads not in values and values.get(width) not in HEADS:
            raise ConfigError(
                f"{checkpoint.config_path}: {heads}: is not told, and width {values.get(width)} is no published one;"
                f' write {{"{heads}": ...}} there'
            )
        if heads not in values and values.get(width) in HEADS:
            values[heads] = HEADS[values[width]]
    return validate(Vjepa2AcConfig, values, str(checkpoint.config_path))


def _read_shapes(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the tensors' shapes tell; a tensor that is not there tells nothing and is missed later."""
    shapes = {bare_name(name): header.shape for name, header in checkpoint.tensors.items()}
    patch = shapes.get("encoder.patch_embed.proj.weight", ())
    found: dict[str, Any] = {}
    if len(patch) == 5:
        found |= {"hidden_size": patch[0], "tubelet_size": patch[2], "patch_size": patch[3]}
    for key, name in (
        ("pred_hidden_size", "predictor.predictor_embed.weight"),
        ("mlp_width", "encoder.blocks.0.mlp.fc1.weight"),
        ("pred_mlp_width", "predictor.predictor_blocks.0.mlp.fc1.weight"),
    ):
        if shapes.get(name):
            found[key] = shapes[name][0]
    for key, start in (
        ("num_hidden_layers", r"encoder\.blocks\.(\d+)\."),
        ("pred_num_hidden_layers", r"predictor\.predictor_blocks\.(\d+)\."),
    ):
        numbers = {int(match[1]) for name in shapes if (match := re.match(start, name))}
        if numbers:
            found[key] = max(numbers) + 1
    return found
