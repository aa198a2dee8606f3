"""Builds the Cosmos tokenizer as a world that is given every clip: its latents, and what comes of them again."""

from typing import Annotated, Any

from diffusers.models.autoencoders.autoencoder_kl_cosmos import AutoencoderKLCosmos
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.published import build_diffusers, read_settings
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source
from porting.tensor_spec import TensorSpec

FRAME_UNIT = "of full brightness"
Size = Annotated[int, Field(gt=0)]


class Settings(BaseModel):
    """What worldport.json may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Size = 704
    width: Size = 1280
    frames: Size = 49
    """Pictures of a clip: the first one is a latent frame of its own."""


class Encoder(nn.Module):
    """Pictures to latents as the tokenizer tells them, neither centred nor scaled."""

    def __init__(self, vae: Any) -> None:
        """Wrap an `AutoencoderKLCosmos`."""
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, clip: Tensor) -> Tensor:
        """clip (1, T, 3, H, W) in [0, 1] -> latents (1, C, t, h, w)."""
        latents: Tensor = self.quant_conv(self.encoder(clip.transpose(1, 2) * 2 - 1))
        return latents


class Decoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, vae: Any) -> None:
        """Wrap an `AutoencoderKLCosmos`."""
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """latents (1, C, t, h, w) -> frame (1, 3, T * H, W) in [0, 1], one picture below the other."""
        return (self.decoder(self.post_quant_conv(latents)) / 2 + 0.5).clamp(0, 1).flatten(2, 3)


def build(checkpoint: Checkpoint) -> Blueprint:
    """Encoder and decoder that a config describes, without weights.

    Raises:
        ConfigError: a value of config.json or worldport.json is impossible, or a clip does not divide.
    """
    settings = read_settings(Settings, checkpoint)
    vae = build_diffusers(AutoencoderKLCosmos, checkpoint)
    config: Any = vae.config
    latents_shape = measure_latents(checkpoint, settings, config)
    widths = list(config.decode_block_out_channels)
    return Blueprint(
        family="cosmos_tokenizer",
        config={**checkpoint.config, "worldport": settings.model_dump()},
        program=build_program(settings, latents_shape),
        modules={"encoder": Encoder(vae), "decoder": Decoder(vae)},
        parts={"autoencoder": Part(vae, checkpoint)},
        part_of={"encoder": "autoencoder", "decoder": "autoencoder"},
        sizes=Sizes(
            component="decoder", layers=len(widths), width=max(widths), heads=1, mlp_width=max(widths), tokens=1
        ),
    )


def measure_latents(checkpoint: Checkpoint, settings: Settings, config: Any) -> tuple[int, ...]:
    """Shape (1, C, t, h, w) of a clip's latents.

    Raises:
        ConfigError: pictures or frames do not divide.
    """
    where, space, time = (
        checkpoint.settings_path, config.spatial_compression_ratio, config.temporal_compression_ratio
    )  # fmt: skip
    for name in ("height", "width"):
        if getattr(settings, name) % space:
            raise ConfigError(f"{where}: {name} {getattr(settings, name)} is not a multiple of {space}; change it")
    if settings.frames % time != 1 % time:
        raise ConfigError(f"{where}: frames {settings.frames} is not 1 more than a multiple of {time}; change it")
    frames = (settings.frames - 1) // time + 1
    return (1, config.latent_channels, frames, settings.height // space, settings.width // space)


def build_program(settings: Settings, latents_shape: tuple[int, ...]) -> Program:
    """Nothing is kept: `frame` is one clip, there and back."""
    height, width, frames = settings.height, settings.width, settings.frames
    clip = TensorSpec(name="clip", shape=(1, frames, 3, height, width), dtype="float32", unit=FRAME_UNIT)
    latents = TensorSpec(name="latents", shape=latents_shape, dtype="float32")
    frame = TensorSpec(name="frame", shape=(1, 3, frames * height, width), dtype="float32", unit=FRAME_UNIT)
    return Program(
        components=(
            ComponentSpec(name="encoder", inputs=(clip,), outputs=(latents,)),
            ComponentSpec(name="decoder", inputs=(latents,), outputs=(frame,)),
        ),
        inputs=(InputSpec(tensor=clip, scope="frame", kind="context"),),
        states=(),
        prime=(),
        frame=(
            Call(
                component="encoder",
                inputs={"clip": Source(kind="input", name="clip")},
                outputs={"latents": Sink(kind="value", name="latents")},
            ),
            Call(
                component="decoder",
                inputs={"latents": Source(kind="value", name="latents")},
                outputs={"frame": Sink(kind="value", name="frame")},
            ),
        ),
        pictures_per_frame=frames,
    )
