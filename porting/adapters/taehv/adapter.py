"""Builds TAEHV's decoder as a world that is given every latent and remembers one activation a block."""

from torch import Tensor

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.empty import empty_parameters
from porting.adapters.names import strip_wrappers
from porting.adapters.published import read_settings
from porting.adapters.taehv.config import Settings, TaehvConfig, read_config
from porting.adapters.taehv.decoder import Decoder, memory_shapes
from porting.checkpoint import Checkpoint
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

SPACE_SCALE = 8
"""Pixels per latent cell, before the pixel patch."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The decoder that the tensors' shapes describe; the encoder's weights may be there and are not used.

    Raises:
        CheckpointError: the tensors are not those of a TAEHV decoder.
        ConfigError: a value of worldport.json is impossible.
    """
    config, settings = read_config(checkpoint), read_settings(Settings, checkpoint)
    with empty_parameters():
        decoder = Decoder(config)
    return Blueprint(
        family="taehv",
        config={**config.model_dump(mode="json"), "worldport": settings.model_dump()},
        program=build_program(config, settings),
        modules={"decoder": decoder},
        parts={"decoder": Part(decoder, checkpoint, _take_decoder)},
        part_of={"decoder": "decoder"},
        sizes=Sizes(component="decoder", layers=3, width=max(config.widths), heads=1, mlp_width=1, tokens=1),
    )


def build_program(config: TaehvConfig, settings: Settings) -> Program:
    """Each latent becomes one chunk of pictures; a memory is replaced by the next latent's.

    The published code drops the first `frames - 1` pictures of a session, for which there was no past.
    """
    height, width = settings.latent_height, settings.latent_width
    scale = SPACE_SCALE * config.patch_size
    latent = _float("latent", (1, config.latent_channels, height, width))
    memories = [_float(f"memory_{i}", shape) for i, shape in enumerate(memory_shapes(config, height, width))]
    frame = TensorSpec(
        name="frame",
        shape=(1, 3, config.frames * height * scale, width * scale),
        dtype="float32",
        unit="of full brightness",
    )
    return Program(
        components=(
            ComponentSpec(
                name="decoder",
                inputs=(latent, *memories),
                outputs=(frame, *(memory.model_copy(update={"name": f"next_{memory.name}"}) for memory in memories)),
            ),
        ),
        inputs=(InputSpec(tensor=latent, scope="frame", kind="conditioning"),),
        states=tuple(StateSpec(tensor=memory, update="replace") for memory in memories),
        prime=(),
        frame=(
            Call(
                component="decoder",
                inputs={
                    "latent": Source(kind="input", name="latent"),
                    **{memory.name: Source(kind="state", name=memory.name) for memory in memories},
                },
                outputs={
                    "frame": Sink(kind="value", name="frame"),
                    **{f"next_{memory.name}": Sink(kind="state", name=memory.name) for memory in memories},
                },
            ),
        ),
        pictures_per_frame=config.frames,
    )


def _take_decoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in strip_wrappers(tensors).items() if name.startswith("decoder.")}


def _float(name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32")
