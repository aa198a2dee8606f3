"""Builds AutoencoderTiny's decoder as a world that is given every latent: one component, one call a frame."""

from typing import Annotated

from diffusers import AutoencoderTiny
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.published import build_diffusers, read_settings
from porting.checkpoint import Checkpoint
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source
from porting.tensor_spec import TensorSpec


class Settings(BaseModel):
    """What worldport.json may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_height: Annotated[int, Field(gt=0)] = 64
    latent_width: Annotated[int, Field(gt=0)] = 64


class Decoder(nn.Module):
    """Latents to pictures in [0, 1]."""

    def __init__(self, decoder: nn.Module) -> None:
        """Wrap the decoder of an `AutoencoderTiny`."""
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> Tensor:
        """latent (1, C, h, w) -> frame (1, 3, H, W)."""
        return (self.decoder(latent) / 2 + 0.5).clamp(0, 1)


def build(checkpoint: Checkpoint) -> Blueprint:
    """The decoder that a config describes; the encoder's weights may be there and are not used.

    Raises:
        ConfigError: a value of config.json or worldport.json is impossible.
    """
    settings = read_settings(Settings, checkpoint)
    model = build_diffusers(AutoencoderTiny, checkpoint)
    config = model.config
    scale = config.upsampling_scaling_factor ** (len(config.num_decoder_blocks) - 1)
    height, width = settings.latent_height, settings.latent_width
    latent = TensorSpec(name="latent", shape=(1, config.latent_channels, height, width), dtype="float32")
    widths = list(config.decoder_block_out_channels)
    return Blueprint(
        family="autoencoder_tiny",
        config={**checkpoint.config, "worldport": settings.model_dump()},
        program=build_program(latent, (1, config.out_channels, height * scale, width * scale)),
        modules={"decoder": Decoder(model.decoder)},
        parts={"decoder": Part(model.decoder, checkpoint, _take_decoder)},
        part_of={"decoder": "decoder"},
        sizes=Sizes(
            component="decoder", layers=len(widths), width=max(widths), heads=1, mlp_width=max(widths), tokens=1
        ),
    )


def build_program(latent: TensorSpec, frame_shape: tuple[int, ...]) -> Program:
    """Nothing is kept: every frame is its latent alone."""
    frame = TensorSpec(name="frame", shape=frame_shape, dtype="float32", unit="of full brightness")
    return Program(
        components=(ComponentSpec(name="decoder", inputs=(latent,), outputs=(frame,)),),
        inputs=(InputSpec(tensor=latent, scope="frame", kind="conditioning"),),
        states=(),
        prime=(),
        frame=(
            Call(
                component="decoder",
                inputs={"latent": Source(kind="input", name="latent")},
                outputs={"frame": Sink(kind="value", name="frame")},
            ),
        ),
    )


def _take_decoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = "decoder."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
