"""Helios' frame program: a chunk is denoised beside its history, decoded latent frame by latent frame, and recorded."""

from porting.adapters.helios.config import Settings
from porting.adapters.helios.solver import weigh_steps
from porting.adapters.wan.config import LEVELS, Clip
from porting.adapters.wan.program import FRAME_UNIT, LATENT_UNIT, caches_of, decode_clip, decoder_components
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

PAST = ("history", "prefix", "begun")
SOLVER = ("timestep", "sigma", "correct", "predict")
STEPPED = ("latents", "last", "newer", "older")


def build_program(clip: Clip, settings: Settings, cache_shapes: list[tuple[int, ...]], tokens: int) -> Program:
    """`frame` is one chunk. No keys or values are kept: latents of the past are embedded anew in every step.

    The decoder begins every chunk anew, as the published pipeline does: its caches carry nothing over.

    Args:
        clip: a chunk's sizes.
        settings: its sampler and its history.
        cache_shapes: of the decoder's states.
        tokens: of a chunk, which its noise levels hang on.
    """
    prompts = [_float(name, (1, clip.prompt_tokens, clip.prompt_width)) for name in settings.prompts]
    sigmas = settings.sigmas(tokens)
    constants: dict[str, tuple[float, ...]] = {}
    for step, weights in enumerate(weigh_steps(sigmas)):
        constants |= {
            f"timestep_{step}": (sigmas[step] * LEVELS,),
            f"sigma_{step}": (sigmas[step],),
            f"correct_{step}": weights.correct,
            f"predict_{step}": weights.predict,
        }
    past = _past(clip, settings)
    return Program(
        components=tuple(_components(clip, past, prompts, cache_shapes)),
        inputs=(
            *(InputSpec(tensor=prompt, scope="session", kind="conditioning") for prompt in prompts),
            InputSpec(tensor=_float("noise", clip.latents_shape), scope="frame", kind="noise"),
        ),
        states=tuple(StateSpec(tensor=tensor, update="replace") for tensor in (*past, *caches_of(cache_shapes))),
        constants=constants,
        prime=(),
        frame=(*_denoise(settings), *decode_clip(clip, len(cache_shapes)), _record()),
        pictures_per_frame=clip.pictures,
    )


def _components(
    clip: Clip, past: tuple[TensorSpec, ...], prompts: list[TensorSpec], cache_shapes: list[tuple[int, ...]]
) -> list[ComponentSpec]:
    latents, estimate, last, newer, older = (
        _float(name, clip.latents_shape, LATENT_UNIT) for name in ("latents", "clean", *STEPPED[1:])
    )
    numbers = [_float(name, (size,)) for name, size in zip(SOLVER, (1, 1, 5, 3), strict=True)]
    parts = [_float(f"pictures_{t}", clip.stacked(clip.time_scale if t else 1), FRAME_UNIT) for t in range(clip.frames)]
    return [
        ComponentSpec(
            name="denoiser",
            inputs=(latents, last, newer, older, *numbers, *past[:2], *prompts),
            outputs=(_renamed(latents, "next_latents"), _renamed(latents, "corrected"), estimate),
        ),
        *decoder_components(_float("latent", clip.latent_shape, LATENT_UNIT), clip, cache_shapes),
        ComponentSpec(
            name="joiner", inputs=tuple(parts), outputs=(_float("frame", clip.stacked(clip.pictures), FRAME_UNIT),)
        ),
        ComponentSpec(
            name="recorder",
            inputs=(latents, *past),
            outputs=tuple(_renamed(tensor, f"next_{tensor.name}") for tensor in past),
        ),
    ]


def _denoise(settings: Settings) -> list[Call]:
    """Terms that a first step has not yet are weighed with 0: the noise stands in for them."""
    noise = Source(kind="input", name="noise")
    past = {name: Source(kind="state", name=name) for name in PAST[:2]}
    prompts = {name: Source(kind="input", name=name) for name in settings.prompts}
    calls = []
    latents, last, newer, older = noise, noise, noise, noise
    for step in range(settings.steps):
        made = "latents" if step == settings.steps - 1 else f"latents_{step + 1}"
        calls.append(
            Call(
                component="denoiser",
                inputs={
                    **dict(zip(STEPPED, (latents, last, newer, older), strict=True)),
                    **{name: Source(kind="constant", name=f"{name}_{step}") for name in SOLVER},
                    **past,
                    **prompts,
                },
                outputs={
                    "next_latents": Sink(kind="value", name=made),
                    "corrected": Sink(kind="value", name=f"corrected_{step}"),
                    "clean": Sink(kind="value", name=f"clean_{step}"),
                },
            )
        )
        latents, last = Source(kind="value", name=made), Source(kind="value", name=f"corrected_{step}")
        older, newer = newer, Source(kind="value", name=f"clean_{step}")
    return calls


def _record() -> Call:
    return Call(
        component="recorder",
        inputs={
            "latents": Source(kind="value", name="latents"),
            **{name: Source(kind="state", name=name) for name in PAST},
        },
        outputs={f"next_{name}": Sink(kind="state", name=name) for name in PAST},
    )


def _past(clip: Clip, settings: Settings) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
    """Latents of the past, the first latent frame of all, and whether there is one."""
    frame = clip.latents_shape[2:]
    return (
        _float("history", (1, settings.past, *frame), LATENT_UNIT),
        _float("prefix", (1, 1, *frame), LATENT_UNIT),
        _float("begun", (1,)),
    )


def _renamed(tensor: TensorSpec, name: str) -> TensorSpec:
    return tensor.model_copy(update={"name": name})


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
