"""What V-JEPA 2's config says, read and completed without its package: sizes of encoder, predictor and clip."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

Size = Annotated[int, Field(gt=0)]


class Vjepa2Config(BaseModel):
    """The values of a transformers config that shape the model; others, such as dropout, do not matter to inference."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    patch_size: Size = 16
    crop_size: Size = 256
    frames_per_clip: Size = 64
    tubelet_size: Size = 2
    in_chans: Size = 3
    hidden_size: Size = 1024
    num_attention_heads: Size = 16
    num_hidden_layers: Size = 24
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0
    pred_hidden_size: Size = 384
    pred_num_attention_heads: Size = 12
    pred_num_hidden_layers: Size = 12
    pred_num_mask_tokens: Size = 10
    pred_mlp_ratio: Annotated[float, Field(gt=0)] = 4.0

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.crop_size % self.patch_size:
            raise ValueError(f"crop_size {self.crop_size} is not a multiple of patch_size {self.patch_size}")
        if self.frames_per_clip < 2 * self.tubelet_size or self.frames_per_clip % self.tubelet_size:
            raise ValueError(
                f"frames_per_clip {self.frames_per_clip}: a rollout needs two tubelets of {self.tubelet_size} or more"
            )
        for width, heads in (
            (self.hidden_size, self.num_attention_heads),
            (self.pred_hidden_size, self.pred_num_attention_heads),
        ):
            if width % heads:
                raise ValueError(f"width {width} is not a multiple of {heads} heads")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens of a tubelet along height and width."""
        side = self.crop_size // self.patch_size
        return (side, side)

    @property
    def tokens(self) -> int:
        """Of one tubelet."""
        return self.grid[0] * self.grid[1]

    @property
    def context_tubelets(self) -> int:
        """What the predictor looks back at: all of a clip but the one that it predicts."""
        return self.frames_per_clip // self.tubelet_size - 1


def read_config(checkpoint: Checkpoint, values: dict[str, Any] | None = None) -> Vjepa2Config:
    """The checkpoint's config, validated.

    Args:
        checkpoint: whose config it is.
        values: what to read in place of config.json.

    Raises:
        ConfigError: a value is impossible; names the file and the key.
    """
    try:
        return Vjepa2Config.model_validate(checkpoint.config if values is None else values)
    except ValidationError as cause:
        first = cause.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigError(f"{checkpoint.config_path}: {key}: {first['msg']}; correct it") from cause
