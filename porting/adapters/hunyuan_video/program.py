"""HunyuanVideo's frame program: a clip is denoised as a whole, decoded in pieces, and the pieces are joined.

The decoder's norms look at all frames that it is given, so it cannot be carried on from frame to frame; the published
autoencoder cuts latents into overlapping pieces instead. Nothing outlives a clip.
"""

from porting.adapters.clip_flow import FRAME_UNIT, LATENT_UNIT, LATENTS, denoise, float_tensor, list_levels, step_inputs
from porting.adapters.conditioning import MASK
from porting.adapters.hunyuan_video.config import Piece, Settings
from porting.adapters.wan.config import Clip
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source
from porting.tensor_spec import TensorSpec


def build_program(clip: Clip, settings: Settings, pooled_width: int, pieces: list[Piece]) -> Program:
    """`frame` is one clip: as many denoiser calls as steps, a decoder call a piece, and the joining of all."""
    latents = float_tensor("latents", clip.latents_shape, LATENT_UNIT)
    conditions = [
        float_tensor("prompt", (1, clip.prompt_tokens, clip.prompt_width)),
        float_tensor(f"prompt{MASK}", (1, clip.prompt_tokens)),
        float_tensor("pooled_prompt", (1, pooled_width)),
    ]
    made = [float_tensor(f"piece_{i}", _pictures(clip, piece), FRAME_UNIT) for i, piece in enumerate(pieces)]
    join = Call(
        component="joiner",
        inputs={tensor.name: Source(kind="value", name=tensor.name) for tensor in made},
        outputs={"frame": Sink(kind="value", name="frame")},
    )
    return Program(
        components=(
            ComponentSpec(
                name="denoiser",
                inputs=step_inputs(latents, conditions),
                outputs=(latents.model_copy(update={"name": "next_latents"}),),
            ),
            *(_decoder(clip, frames) for frames in list_lengths(pieces)),
            ComponentSpec(
                name="joiner",
                inputs=tuple(made),
                outputs=(float_tensor("frame", clip.stacked(clip.pictures), FRAME_UNIT),),
            ),
        ),
        inputs=(
            *(InputSpec(tensor=tensor, scope="session", kind="conditioning") for tensor in conditions),
            InputSpec(tensor=float_tensor("noise", clip.latents_shape), scope="frame", kind="noise"),
        ),
        states=(),
        constants=list_levels(settings.sigmas),
        prime=(),
        frame=(
            *denoise(settings.steps, [tensor.name for tensor in conditions]),
            *(_decode(piece, tensor.name) for piece, tensor in zip(pieces, made, strict=True)),
            join,
        ),
        pictures_per_frame=clip.pictures,
    )


def name_decoder(frames: int) -> str:
    """The component that decodes pieces of so many latent frames."""
    return f"decoder_{frames}"


def list_lengths(pieces: list[Piece]) -> list[int]:
    """Latent frames of the pieces, each once, the longest first: a graph is made for each."""
    return sorted({piece.frames for piece in pieces}, reverse=True)


def _decoder(clip: Clip, frames: int) -> ComponentSpec:
    latents = tuple(float_tensor(f"latent_{t}", clip.latent_shape, LATENT_UNIT) for t in range(frames))
    pictures: TensorSpec = float_tensor("pictures", _pictures(clip, Piece(0, frames)), FRAME_UNIT)
    return ComponentSpec(name=name_decoder(frames), inputs=latents, outputs=(pictures,))


def _decode(piece: Piece, made: str) -> Call:
    return Call(
        component=name_decoder(piece.frames),
        inputs={f"latent_{t}": Source(kind="value", name=LATENTS, at=piece.first + t) for t in range(piece.frames)},
        outputs={"pictures": Sink(kind="value", name=made)},
    )


def _pictures(clip: Clip, piece: Piece) -> tuple[int, ...]:
    return clip.stacked(piece.count_pictures(clip.time_scale))
