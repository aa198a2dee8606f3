"""The shape of a GWM world model: one frozen config, from the 64x64 mini to a 2-billion-parameter 1280x720 one.

It knows sizes only. What the sizes mean is said by `autoencoder` and `denoiser`; which tensor feeds which component is
said by `world_model`.
"""

import itertools
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(gt=0)]
NoiseLevel = Annotated[float, Field(gt=0.0, le=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AutoencoderConfig(_Section):
    """Causal convolutional video autoencoder; space shrinks by `patch * 2 ** (len(widths) - 1)`, time not at all."""

    patch: Size
    """Side of the pixel patch folded into channels before the first convolution."""
    widths: tuple[Size, ...] = Field(min_length=1)
    """Channels from the finest to the coarsest level; each level halves height and width."""
    latent_channels: Size
    temporal_kernel: Annotated[int, Field(ge=2)]
    """Frames that a causal convolution sees: the current one and `temporal_kernel - 1` before it."""

    @property
    def downscale(self) -> int:
        """Pixels per latent cell along height and width."""
        return int(self.patch * 2 ** (len(self.widths) - 1))


class DenoiserConfig(_Section):
    """Frame-causal diffusion transformer between a convolutional stem and head."""

    width: Size
    depth: Annotated[int, Field(gt=0, le=1024)]
    heads: Size
    mlp_width: Size
    stem_width: Size
    """Channels of the convolutions at the latent's own resolution."""
    patch: Size
    """Latent cells per token along height and width."""
    window: Annotated[int, Field(gt=0, le=65536)]
    """Slots of the key/value ring: frames that a new frame can attend to."""
    sink: Annotated[int, Field(ge=0)]
    """The first frames of a session, never evicted from the ring."""
    temporal_rope_base: float = Field(gt=1.0)
    spatial_rope_base: float = Field(gt=1.0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.width % self.heads or self.head_width % 8:
            raise ValueError(
                f"width {self.width} over {self.heads} heads: a head's width must be a multiple of 8"
                " (half of it turns with time, a quarter each with height and width)"
            )
        if self.sink >= self.window:
            raise ValueError(f"sink {self.sink} leaves no slot to rotate in window {self.window}")
        return self

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class SamplerConfig(_Section):
    """Rectified-flow noise levels, from pure noise (1.0) towards the clean frame (0.0)."""

    noise_levels: tuple[NoiseLevel, ...] = Field(min_length=1, max_length=8)
    """Where each denoising step starts; the last one ends at 0."""
    commit_noise_level: NoiseLevel
    """The level at which a finished frame is shown to the denoiser when its keys and values are cached."""

    @model_validator(mode="after")
    def _levels_fall(self) -> Self:
        levels = self.noise_levels
        if levels[0] != 1.0 or any(a <= b for a, b in itertools.pairwise(levels)):
            raise ValueError(f"noise_levels {levels} must start at 1.0 and fall")
        return self


class GwmConfig(_Section):
    """Everything that is needed to build the modules; `config.json` of a checkpoint folder."""

    family: Literal["gwm"] = "gwm"
    version: Literal[1] = 1
    frame_height: Size
    frame_width: Size
    action_width: Size
    """Continuous action values per frame."""
    action_unit: str = ""
    """What they are, in words: `inspect` shows it. Nothing is computed from it."""
    context_frames: Annotated[int, Field(ge=1, le=1024)]
    """Real frames that open a session."""
    autoencoder: AutoencoderConfig
    denoiser: DenoiserConfig
    sampler: SamplerConfig

    @model_validator(mode="after")
    def _frame_divides(self) -> Self:
        cell = self.autoencoder.downscale * self.denoiser.patch
        if self.frame_height % cell or self.frame_width % cell:
            raise ValueError(
                f"frame {self.frame_width}x{self.frame_height} is not a multiple of {cell} pixels,"
                " the side of one token"
            )
        return self

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one frame's latent."""
        scale = self.autoencoder.downscale
        return (
            self.autoencoder.latent_channels,
            self.frame_height // scale,
            self.frame_width // scale,
        )

    @property
    def tokens_per_frame(self) -> int:
        _, height, width = self.latent_shape
        return (height // self.denoiser.patch) * (width // self.denoiser.patch)


MINI = GwmConfig(
    frame_height=64,
    frame_width=64,
    action_width=2,
    context_frames=4,
    autoencoder=AutoencoderConfig(patch=4, widths=(48, 64), latent_channels=8, temporal_kernel=2),
    denoiser=DenoiserConfig(
        width=96,
        depth=3,
        heads=3,
        mlp_width=256,
        stem_width=48,
        patch=2,
        window=8,
        sink=1,
        temporal_rope_base=30.0,
        spatial_rope_base=10.0,
    ),
    sampler=SamplerConfig(noise_levels=(1.0, 0.5), commit_noise_level=0.03),
)
"""The bundled models' shape: 0.8 million parameters, 16 tokens a frame."""

HD_2B = GwmConfig(
    frame_height=720,
    frame_width=1280,
    action_width=16,
    context_frames=1,
    autoencoder=AutoencoderConfig(patch=4, widths=(256, 512), latent_channels=16, temporal_kernel=3),
    denoiser=DenoiserConfig(
        width=2304,
        depth=30,
        heads=18,
        mlp_width=6144,
        stem_width=256,
        patch=2,
        window=16,
        sink=1,
        temporal_rope_base=1000.0,
        spatial_rope_base=10000.0,
    ),
    sampler=SamplerConfig(noise_levels=(1.0, 0.9, 0.75, 0.5), commit_noise_level=0.03),
)
"""A 2-billion-parameter 1280x720 model, 3,600 tokens a frame: for `inspect`, planning and the meta device."""
