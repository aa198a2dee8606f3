"""Cosmos Predict's frame program: one chunk of pictures a call, denoised, decoded, and its end encoded for the next."""

from porting.adapters.cosmos_predict.config import Chunk, Settings
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent standard deviations"
FRAME_UNIT = "of full brightness"


def build_program(chunk: Chunk, settings: Settings) -> Program:
    """`frame` is one chunk: as many denoiser calls as steps, then the decoder, then the encoder on the last pictures.

    The noise on the conditioning frames is an input of its own for each step, as the published pipeline draws it.
    """
    guided = settings.guidance_scale > 0
    clip = TensorSpec(name="clip", shape=chunk.clip_shape, dtype="float32", unit=FRAME_UNIT)
    context = _float("context", chunk.context_shape, LATENT_UNIT)
    prompts = [_float(name, (1, chunk.prompt_tokens, chunk.prompt_width)) for name in _prompts(guided)]
    noises = [_float("noise", chunk.latent_shape)]
    noises += [_float(f"context_noise_{step}", chunk.context_shape) for step in range(settings.steps)]
    sigmas = {f"sigma_{step}": (sigma,) for step, sigma in enumerate(settings.sigmas)}
    return Program(
        components=tuple(_components(chunk, clip, context, prompts)),
        inputs=(
            InputSpec(tensor=clip, scope="session", kind="context"),
            *(InputSpec(tensor=prompt, scope="session", kind="conditioning") for prompt in prompts),
            *(InputSpec(tensor=noise, scope="frame", kind="noise") for noise in noises),
        ),
        states=(StateSpec(tensor=context, update="replace"),),
        constants=sigmas,
        prime=(_encode(Source(kind="input", name="clip")),),
        frame=tuple(_frame(settings, guided)),
        pictures_per_frame=chunk.new_pictures,
    )


def _components(chunk: Chunk, clip: TensorSpec, context: TensorSpec, prompts: list[TensorSpec]) -> list[ComponentSpec]:
    latents = _float("latents", chunk.latent_shape, LATENT_UNIT)
    return [
        ComponentSpec(name="encoder", inputs=(clip,), outputs=(context,)),
        ComponentSpec(
            name="opener",
            inputs=(_float("noise", chunk.latent_shape),),
            outputs=(latents,),
        ),
        ComponentSpec(
            name="denoiser",
            inputs=(
                latents,
                context,
                _float("context_noise", chunk.context_shape),
                _float("sigma", (1,)),
                _float("next_sigma", (1,)),
                *prompts,
            ),
            outputs=(latents.model_copy(update={"name": "next_latents"}),),
        ),
        ComponentSpec(
            name="decoder",
            inputs=(latents,),
            outputs=(
                TensorSpec(name="frame", shape=chunk.frame_shape, dtype="float32", unit=FRAME_UNIT),
                clip.model_copy(update={"name": "tail"}),
            ),
        ),
    ]


def _frame(settings: Settings, guided: bool) -> list[Call]:
    latents = Source(kind="value", name="latents_0")
    calls = [
        Call(
            component="opener",
            inputs={"noise": Source(kind="input", name="noise")},
            outputs={"latents": Sink(kind="value", name=latents.name)},
        )
    ]
    for step in range(settings.steps):
        made = f"latents_{step + 1}"
        calls.append(
            Call(
                component="denoiser",
                inputs={
                    "latents": latents,
                    "context": Source(kind="state", name="context"),
                    "context_noise": Source(kind="input", name=f"context_noise_{step}"),
                    "sigma": Source(kind="constant", name=f"sigma_{step}"),
                    "next_sigma": Source(kind="constant", name=f"sigma_{step + 1}"),
                    **{name: Source(kind="input", name=name) for name in _prompts(guided)},
                },
                outputs={"next_latents": Sink(kind="value", name=made)},
            )
        )
        latents = Source(kind="value", name=made)
    decode = Call(
        component="decoder",
        inputs={"latents": latents},
        outputs={"frame": Sink(kind="value", name="frame"), "tail": Sink(kind="value", name="tail")},
    )
    return [*calls, decode, _encode(Source(kind="value", name="tail"))]


def _encode(clip: Source) -> Call:
    return Call(component="encoder", inputs={"clip": clip}, outputs={"context": Sink(kind="state", name="context")})


def _prompts(guided: bool) -> tuple[str, ...]:
    return ("prompt", "negative_prompt") if guided else ("prompt",)


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
