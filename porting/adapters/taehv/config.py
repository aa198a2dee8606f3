"""TAEHV's sizes. A published file has no config: they are read from the tensors' shapes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from porting.adapters.names import bare_name
from porting.adapters.published import validate
from porting.checkpoint import Checkpoint
from porting.errors import CheckpointError

Size = Annotated[int, Field(gt=0)]
FIRST, LAST, GROWING = "decoder.1.weight", "decoder.22.weight", (7, 13, 19)
"""The first and last convolution, and the places of the three blocks that may double the frame rate."""


class Settings(BaseModel):
    """What worldport.json may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_height: Size = 60
    latent_width: Size = 104


class TaehvConfig(BaseModel):
    """The decoder's sizes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    latent_channels: Size = 16
    widths: tuple[Size, Size, Size, Size] = (256, 128, 64, 64)
    """Channels from the latent's resolution to the picture's."""
    time_scales: tuple[Size, Size, Size] = (1, 2, 2)
    """Frames that each of the three growing blocks makes of one."""
    patch_size: Size = 1
    """Side of the pixel patch that the last convolution's channels unfold into."""

    @property
    def frames(self) -> int:
        """Pictures that one latent becomes."""
        first, second, third = self.time_scales
        return first * second * third


def read_config(checkpoint: Checkpoint) -> TaehvConfig:
    """The sizes: from the tensors' shapes, or of a config alone as it says.

    Raises:
        CheckpointError: a tensor that tells them is missing, or of an impossible shape.
        ConfigError: the config alone has an impossible value.
    """
    if not checkpoint.tensors:
        return validate(TaehvConfig, checkpoint.config, str(checkpoint.config_path))
    shapes = {bare_name(name): header.shape for name, header in checkpoint.tensors.items()}
    names = [FIRST, LAST, *(f"decoder.{place}.conv.weight" for place in GROWING), "decoder.8.weight"]
    for name in names:
        if len(shapes.get(name, ())) != 4:
            found = f"has shape {shapes[name]}" if name in shapes else "is missing"
            raise CheckpointError(f"{checkpoint.path}: {name}: {found}; a TAEHV decoder has a 2-D convolution there")
    grown = [shapes[f"decoder.{place}.conv.weight"] for place in GROWING]
    values = {
        "latent_channels": shapes[FIRST][1],
        "widths": (*(shape[1] for shape in grown), shapes[LAST][1]),
        "time_scales": tuple(shape[0] // max(1, shape[1]) for shape in grown),
        "patch_size": round((shapes[LAST][0] / 3) ** 0.5),
    }
    return validate(TaehvConfig, values, str(checkpoint.path))
