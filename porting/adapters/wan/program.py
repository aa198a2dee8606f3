"""Wan's frame program: a clip is denoised as a whole, then decoded latent frame by latent frame with carried caches."""

from porting.adapters.wan.config import LEVELS, Clip, Settings
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent standard deviations"
FRAME_UNIT = "of full brightness"
FIRST_EXPERT, SECOND_EXPERT = "denoiser", "low_noise_denoiser"


def build_program(
    clip: Clip, settings: Settings, cache_shapes: list[tuple[int, ...]], boundary: float | None
) -> Program:
    """`frame` is one clip: as many denoiser calls as steps, a decoder call a latent frame, and the joining of all.

    Clips share their session's prompt and nothing else: the first decoder call of each overwrites every cache.

    Args:
        clip: its sizes.
        settings: its sampler.
        cache_shapes: of the decoder's states.
        boundary: the noise level below which a second transformer takes over; None where there is one transformer.
    """
    prompts = [_float(name, (1, clip.prompt_tokens, clip.prompt_width)) for name in _prompts(settings)]
    sigmas = settings.sigmas
    experts = [SECOND_EXPERT if boundary is not None and s < boundary else FIRST_EXPERT for s in sigmas[:-1]]
    constants: dict[str, tuple[float, ...]] = {}
    for index, sigma in enumerate(sigmas[:-1]):
        constants |= {f"timestep_{index}": (sigma * LEVELS,), f"step_{index}": (sigmas[index + 1] - sigma,)}
    return Program(
        components=tuple(_components(clip, prompts, cache_shapes, sorted(set(experts)))),
        inputs=(
            *(InputSpec(tensor=prompt, scope="session", kind="conditioning") for prompt in prompts),
            InputSpec(tensor=_float("noise", clip.latents_shape), scope="frame", kind="noise"),
        ),
        states=tuple(StateSpec(tensor=cache, update="replace") for cache in caches_of(cache_shapes)),
        constants=constants,
        prime=(),
        frame=(*_denoise(settings, experts), *decode_clip(clip, len(cache_shapes))),
        pictures_per_frame=clip.pictures,
    )


def decoder_components(
    latent: TensorSpec, clip: Clip, cache_shapes: list[tuple[int, ...]]
) -> tuple[ComponentSpec, ComponentSpec]:
    """The graph that opens a stream of pictures, and that of every later latent frame."""
    caches = caches_of(cache_shapes)
    following = [cache.model_copy(update={"name": f"next_{cache.name}"}) for cache in caches]
    pictures = [_float("pictures", clip.stacked(count), FRAME_UNIT) for count in (1, clip.time_scale)]
    return (
        ComponentSpec(name="decoder_first", inputs=(latent,), outputs=(pictures[0], *following)),
        ComponentSpec(name="decoder", inputs=(latent, *caches), outputs=(pictures[1], *following)),
    )


def decode(latent: Source, caches: int, made: str, *, first: bool) -> Call:
    """One latent frame to a value of pictures, caches carried."""
    names = [f"cache_{index}" for index in range(caches)]
    past = {} if first else {name: Source(kind="state", name=name) for name in names}
    return Call(
        component="decoder_first" if first else "decoder",
        inputs={"latent": latent, **past},
        outputs={
            "pictures": Sink(kind="value", name=made),
            **{f"next_{name}": Sink(kind="state", name=name) for name in names},
        },
    )


def caches_of(cache_shapes: list[tuple[int, ...]]) -> list[TensorSpec]:
    """The decoder's states."""
    return [_float(f"cache_{index}", shape) for index, shape in enumerate(cache_shapes)]


def _components(
    clip: Clip, prompts: list[TensorSpec], cache_shapes: list[tuple[int, ...]], experts: list[str]
) -> list[ComponentSpec]:
    latents = _float("latents", clip.latents_shape, LATENT_UNIT)
    inputs = (latents, _float("timestep", (1,)), _float("step", (1,)), *prompts)
    output = latents.model_copy(update={"name": "next_latents"})
    parts = [_float("pictures_0", clip.stacked(1), FRAME_UNIT)]
    parts += [_float(f"pictures_{t}", clip.stacked(clip.time_scale), FRAME_UNIT) for t in range(1, clip.frames)]
    frame = _float("frame", clip.stacked(clip.pictures), FRAME_UNIT)
    return [
        *(ComponentSpec(name=name, inputs=inputs, outputs=(output,)) for name in experts),
        *decoder_components(_float("latent", clip.latent_shape, LATENT_UNIT), clip, cache_shapes),
        ComponentSpec(name="joiner", inputs=tuple(parts), outputs=(frame,)),
    ]


def _denoise(settings: Settings, experts: list[str]) -> list[Call]:
    latents = Source(kind="input", name="noise")
    calls = []
    for index, expert in enumerate(experts):
        made = "latents" if index == len(experts) - 1 else f"latents_{index + 1}"
        calls.append(
            Call(
                component=expert,
                inputs={
                    "latents": latents,
                    "timestep": Source(kind="constant", name=f"timestep_{index}"),
                    "step": Source(kind="constant", name=f"step_{index}"),
                    **{name: Source(kind="input", name=name) for name in _prompts(settings)},
                },
                outputs={"next_latents": Sink(kind="value", name=made)},
            )
        )
        latents = Source(kind="value", name=made)
    return calls


def decode_clip(clip: Clip, caches: int) -> list[Call]:
    """Every latent frame of the value `latents` decoded after the other, and their pictures joined to the frame."""
    values = [f"pictures_{t}" for t in range(clip.frames)]
    calls = [
        decode(Source(kind="value", name="latents", at=t), caches, made, first=t == 0)
        for t, made in enumerate(values)
    ]  # fmt: skip
    join = Call(
        component="joiner",
        inputs={name: Source(kind="value", name=name) for name in values},
        outputs={"frame": Sink(kind="value", name="frame")},
    )
    return [*calls, join]


def _prompts(settings: Settings) -> tuple[str, ...]:
    return ("prompt", "negative_prompt") if settings.guided else ("prompt",)


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
