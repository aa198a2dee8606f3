"""LTX-Video's frame program: a clip is denoised as a whole, then decoded as a whole. Nothing outlives a clip."""

from porting.adapters.clip_flow import FRAME_UNIT, LATENT_UNIT, LATENTS, denoise, float_tensor, list_levels, step_inputs
from porting.adapters.conditioning import MASK
from porting.adapters.ltx.config import Settings
from porting.adapters.wan.config import Clip
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source
from porting.tensor_spec import TensorSpec


def build_program(clip: Clip, settings: Settings) -> Program:
    """`frame` is one clip: as many denoiser calls as steps, then the decoder, whose convolutions look both ways."""
    latents = float_tensor("latents", clip.latents_shape, LATENT_UNIT)
    conditions = list_conditions(clip, settings)
    sigmas = settings.list_sigmas(clip.frames * clip.height * clip.width)
    return Program(
        components=(
            ComponentSpec(
                name="denoiser",
                inputs=step_inputs(latents, conditions),
                outputs=(latents.model_copy(update={"name": "next_latents"}),),
            ),
            ComponentSpec(
                name="decoder",
                inputs=(latents,),
                outputs=(float_tensor("frame", clip.stacked(clip.pictures), FRAME_UNIT),),
            ),
        ),
        inputs=(
            *(InputSpec(tensor=tensor, scope="session", kind="conditioning") for tensor in conditions),
            InputSpec(tensor=float_tensor("noise", clip.latents_shape), scope="frame", kind="noise"),
        ),
        states=(),
        constants=list_levels(sigmas),
        prime=(),
        frame=(
            *denoise(settings.steps, [tensor.name for tensor in conditions]),
            Call(
                component="decoder",
                inputs={"latents": Source(kind="value", name=LATENTS)},
                outputs={"frame": Sink(kind="value", name="frame")},
            ),
        ),
        pictures_per_frame=clip.pictures,
    )


def list_conditions(clip: Clip, settings: Settings) -> list[TensorSpec]:
    """A prompt's embedding and its mask; where guided, the negative prompt's too."""
    names = ("prompt", "negative_prompt") if settings.guided else ("prompt",)
    found = []
    for name in names:
        found.append(float_tensor(name, (1, clip.prompt_tokens, clip.prompt_width)))
        found.append(float_tensor(f"{name}{MASK}", (1, clip.prompt_tokens)))
    return found
