"""Oasis' sizes: those of the published constructors, corrected by the tensors' shapes and by config.json.

Source: etched-ai/open-oasis, dit.py, vae.py and generate.py. A published folder has two weights files and no config.
"""

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.names import bare_name
from porting.adapters.oasis.renaming import find_axis
from porting.adapters.published import validate
from porting.checkpoint import Checkpoint
from porting.checkpoint.tensor_header import TensorHeader
from porting.errors import CheckpointError

Size = Annotated[int, Field(gt=0)]
DIT_MARK, VAE_MARK = "x_embedder.proj.weight", "post_quant_conv.weight"
"""Tensors that tell a transformer's file from an autoencoder's, whatever the files are called."""
BETA_MAX = 0.999
SCHEDULE_START, SCHEDULE_END = -3.0, 3.0
"""Of the sigmoid that the noise schedule follows."""


class DitConfig(BaseModel):
    """The transformer, under the names of its constructor's arguments."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    input_h: Size = 18
    input_w: Size = 32
    patch_size: Size = 2
    in_channels: Size = 16
    hidden_size: Size = 1024
    depth: Size = 16
    num_heads: Size = 16
    mlp_width: Size = 4096
    external_cond_dim: Size = 25
    """Width of an action."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.hidden_size % self.num_heads or self.head_width % 4:
            raise ValueError(f"hidden_size {self.hidden_size} over {self.num_heads} heads is no multiple of 4")
        if self.input_h % self.patch_size or self.input_w % self.patch_size:
            raise ValueError(f"input {self.input_h} x {self.input_w} does not divide into patches of {self.patch_size}")
        return self

    @property
    def head_width(self) -> int:
        """Of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens of a frame along height and width."""
        return self.input_h // self.patch_size, self.input_w // self.patch_size


class VaeConfig(BaseModel):
    """The autoencoder, under the names of its constructor's arguments."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    latent_dim: Size = 16
    input_height: Size = 360
    input_width: Size = 640
    patch_size: Size = 20
    enc_dim: Size = 1024
    enc_depth: Size = 6
    enc_heads: Size = 16
    enc_mlp_width: Size = 4096
    dec_dim: Size = 1024
    dec_depth: Size = 12
    dec_heads: Size = 16
    dec_mlp_width: Size = 4096

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        for width, heads in ((self.enc_dim, self.enc_heads), (self.dec_dim, self.dec_heads)):
            if width % heads or width // heads % 8:
                raise ValueError(f"width {width} over {heads} heads is no multiple of 8")
        if self.input_height % self.patch_size or self.input_width % self.patch_size:
            raise ValueError(
                f"input {self.input_height} x {self.input_width} does not divide into patches of {self.patch_size}"
            )
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Latents of a picture along height and width."""
        return self.input_height // self.patch_size, self.input_width // self.patch_size


class OasisConfig(BaseModel):
    """Both networks, and what lies between them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dit: DitConfig = DitConfig()
    vae: VaeConfig = VaeConfig()
    scaling_factor: Annotated[float, Field(gt=0)] = 0.07843137255
    """From the autoencoder's latents to those of unit size that are denoised."""
    max_noise_level: Annotated[int, Field(ge=2)] = 1000
    """Levels of the schedule."""

    @model_validator(mode="after")
    def _networks_fit(self) -> Self:
        asked = (self.dit.in_channels, self.dit.input_h, self.dit.input_w)
        made = (self.vae.latent_dim, *self.vae.grid)
        if asked != made:
            raise ValueError(f"the transformer takes latents of {asked}, the autoencoder makes {made}")
        return self

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w)."""
        return self.dit.in_channels, self.dit.input_h, self.dit.input_w

    def signal_shares(self) -> tuple[float, ...]:
        """Share of the signal in a latent's variance at every noise level.

        Source: Jabri et al., arXiv 2212.11972, figure 8; open-oasis, utils.py.
        """
        span = [_sigmoid(SCHEDULE_END), _sigmoid(SCHEDULE_START)]
        shares = []
        for step in range(self.max_noise_level + 1):
            place = SCHEDULE_START + step / self.max_noise_level * (SCHEDULE_END - SCHEDULE_START)
            shares.append((span[0] - _sigmoid(place)) / (span[0] - span[1]))
        kept, found = 1.0, []
        for before, after in pairwise(shares):
            kept *= 1 - min(max(1 - after / before, 0.0), BETA_MAX)
            found.append(kept)
        return tuple(found)


class Settings(BaseModel):
    """What worldport.json may say; the defaults are those of the published script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: Annotated[int, Field(ge=2)] = 32
    """Frames that the transformer looks at, the one now being made included."""
    prompt_frames: Size = 1
    """Real frames that open a session."""
    steps: Size = 10
    """Of DDIM, a frame."""
    stabilization_level: Size = 15
    """The noise level that the past is said to have, plus 1: it is clean, and less is relied on it."""

    @model_validator(mode="after")
    def _prompt_fits(self) -> Self:
        if self.prompt_frames >= self.window:
            raise ValueError(f"prompt_frames {self.prompt_frames} leave no room in a window of {self.window}")
        return self

    def levels(self, config: OasisConfig) -> tuple[int, ...]:
        """Noise levels where steps begin, the noisiest first."""
        spread = config.max_noise_level / self.steps
        return tuple(max(0, int(step * spread - 1)) for step in range(self.steps, 0, -1))


def find_networks(checkpoint: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """The files of the transformer and of the autoencoder, told apart by their tensors; of a config alone, itself.

    Raises:
        CheckpointError: one of them is not there, or there are several.
    """
    if checkpoint.format == "config":
        return checkpoint, checkpoint
    parts = [*checkpoint.parts.values()] or [checkpoint]
    found = []
    for what, mark in (("transformer", DIT_MARK), ("autoencoder", VAE_MARK)):
        holders = [part for part in parts if mark in {bare_name(name) for name in part.tensors}]
        if len(holders) != 1:
            raise CheckpointError(
                f"{checkpoint.path}: holds {len(holders)} weights files with {mark}, the mark of Oasis' {what};"
                " give a folder with one file of the transformer and one of the autoencoder"
            )
        found.append(holders[0])
    return found[0], found[1]


def read_config(checkpoint: Checkpoint, dit: Checkpoint, vae: Checkpoint) -> OasisConfig:
    """Published sizes, corrected by the shapes of both files, corrected by config.json.

    Raises:
        ConfigError: a value is impossible, or the two networks do not fit each other.
    """
    told = checkpoint.config
    values: dict[str, Any] = dict(told)
    for key, found in (("dit", _read_dit(_shapes(dit.tensors))), ("vae", _read_vae(_shapes(vae.tensors)))):
        own = told.get(key, {})
        values[key] = {**found, **own} if isinstance(own, Mapping) else own
    return validate(OasisConfig, values, str(checkpoint.config_path))


def _read_dit(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """What the transformer's shapes tell; a tensor that is not there tells nothing and is missed later."""
    found: dict[str, int] = {}
    if len(patch := shapes.get(DIT_MARK, ())) == 4:
        found |= {"hidden_size": patch[0], "in_channels": patch[1], "patch_size": patch[2]}
    if len(actions := shapes.get("external_cond.weight", ())) == 2:
        found["external_cond_dim"] = actions[1]
    if hidden := shapes.get("blocks.0.s_mlp.fc1.weight"):
        found["mlp_width"] = hidden[0]
    # The frequencies of time, half as many as a head is wide, are all that tells the number of heads.
    held = next((shapes[name] for name in shapes if find_axis(name) == "temporal"), ())
    if len(held) == 1 and "hidden_size" in found:
        found["num_heads"] = found["hidden_size"] // (2 * held[0])
    return found | _count(shapes, {"depth": r"blocks\.(\d+)\."})


def _read_vae(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """What the autoencoder's shapes tell."""
    found: dict[str, int] = {}
    if len(patch := shapes.get("patch_embed.proj.weight", ())) == 4:
        found |= {"enc_dim": patch[0], "patch_size": patch[2]}
    if len(latent := shapes.get(VAE_MARK, ())) == 2:
        found |= {"dec_dim": latent[0], "latent_dim": latent[1]}
    for half, key in (("encoder", "enc_mlp_width"), ("decoder", "dec_mlp_width")):
        if hidden := shapes.get(f"{half}.0.mlp.fc1.weight"):
            found[key] = hidden[0]
    return found | _count(shapes, {"enc_depth": r"encoder\.(\d+)\.", "dec_depth": r"decoder\.(\d+)\."})


def _count(shapes: Mapping[str, tuple[int, ...]], patterns: Mapping[str, str]) -> dict[str, int]:
    """Blocks whose names begin so."""
    found = {}
    for key, pattern in patterns.items():
        if numbers := [int(match[1]) for name in shapes if (match := re.match(pattern, name))]:
            found[key] = max(numbers) + 1
    return found


def _shapes(tensors: Mapping[str, TensorHeader]) -> dict[str, tuple[int, ...]]:
    return {bare_name(name): header.shape for name, header in tensors.items()}


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
