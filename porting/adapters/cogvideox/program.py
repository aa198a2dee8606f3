"""CogVideoX's frame program: a clip is denoised as a whole, then decoded pair by pair with carried caches."""

from porting.adapters.cogvideox.config import PaddedClip, Settings, Step
from porting.adapters.cogvideox.decoder import FIRST, LATER
from porting.adapters.wan.program import FRAME_UNIT, LATENT_UNIT, caches_of
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec


def build_program(
    clip: PaddedClip, settings: Settings, steps: tuple[Step, ...], cache_shapes: list[tuple[int, ...]]
) -> Program:
    """`frame` is one clip: as many denoiser calls as steps, the decoder's calls, and the joining of all.

    Clips share their session's prompt and nothing else: the first decoder call of each overwrites every cache.

    Args:
        clip: its sizes.
        settings: its sampler.
        steps: of the sampler.
        cache_shapes: of the decoder's states.
    """
    prompts = [_float(name, (1, clip.prompt_tokens, clip.prompt_width)) for name in settings.prompts]
    constants: dict[str, tuple[float, ...]] = {}
    for index, step in enumerate(steps):
        constants |= {
            f"timestep_{index}": (float(step.timestep),), f"keep_{index}": (step.keep,), f"move_{index}": (step.move,),
        }  # fmt: skip
    return Program(
        components=tuple(_components(clip, prompts, cache_shapes)),
        inputs=(
            *(InputSpec(tensor=prompt, scope="session", kind="conditioning") for prompt in prompts),
            InputSpec(tensor=_float("noise", clip.latents_shape), scope="frame", kind="noise"),
        ),
        states=tuple(StateSpec(tensor=cache, update="replace") for cache in caches_of(cache_shapes)),
        constants=constants,
        prime=(),
        frame=(*_denoise(settings, len(steps)), *_decode(clip, len(cache_shapes))),
        pictures_per_frame=clip.pictures,
    )


def _components(
    clip: PaddedClip, prompts: list[TensorSpec], cache_shapes: list[tuple[int, ...]]
) -> list[ComponentSpec]:
    latents = _float("latents", clip.latents_shape, LATENT_UNIT)
    numbers = [_float(name, (1,)) for name in ("timestep", "keep", "move")]
    caches = caches_of(cache_shapes)
    following = [cache.model_copy(update={"name": f"next_{cache.name}"}) for cache in caches]
    given = [_float(f"latent_{index}", clip.latent_shape, LATENT_UNIT) for index in range(FIRST)]
    shapes = [clip.stacked(count) for count in (_pictures(clip, first=True), _pictures(clip, first=False))]
    pictures = [_float("pictures", shape, FRAME_UNIT) for shape in shapes]
    parts = [_float(f"pictures_{call}", shapes[min(call, 1)], FRAME_UNIT) for call in range(_calls(clip))]
    return [
        ComponentSpec(
            name="denoiser",
            inputs=(latents, *numbers, *prompts),
            outputs=(latents.model_copy(update={"name": "next_latents"}),),
        ),
        ComponentSpec(name="decoder_first", inputs=tuple(given), outputs=(pictures[0], *following)),
        ComponentSpec(name="decoder", inputs=(*given[:LATER], *caches), outputs=(pictures[1], *following)),
        ComponentSpec(
            name="joiner",
            inputs=tuple(parts),
            outputs=(_float("frame", clip.stacked(clip.pictures), FRAME_UNIT),),
        ),
    ]


def _calls(clip: PaddedClip) -> int:
    """Runs of the decoder."""
    return 1 + (clip.shown - FIRST) // LATER


def _pictures(clip: PaddedClip, *, first: bool) -> int:
    """That one run of the decoder makes."""
    return (FIRST - 1) * clip.time_scale + 1 if first else LATER * clip.time_scale


def _denoise(settings: Settings, steps: int) -> list[Call]:
    latents = Source(kind="input", name="noise")
    calls = []
    for index in range(steps):
        made = "latents" if index == steps - 1 else f"latents_{index + 1}"
        calls.append(
            Call(
                component="denoiser",
                inputs={
                    "latents": latents,
                    **{name: Source(kind="constant", name=f"{name}_{index}") for name in ("timestep", "keep", "move")},
                    **{name: Source(kind="input", name=name) for name in settings.prompts},
                },
                outputs={"next_latents": Sink(kind="value", name=made)},
            )
        )
        latents = Source(kind="value", name=made)
    return calls


def _decode(clip: PaddedClip, caches: int) -> list[Call]:
    names = [f"cache_{index}" for index in range(caches)]
    calls, start = [], clip.padding
    for number in range(_calls(clip)):
        taken = FIRST if number == 0 else LATER
        past = {} if number == 0 else {name: Source(kind="state", name=name) for name in names}
        latents = {f"latent_{t}": Source(kind="value", name="latents", at=start + t) for t in range(taken)}
        calls.append(
            Call(
                component="decoder_first" if number == 0 else "decoder",
                inputs={**latents, **past},
                outputs={
                    "pictures": Sink(kind="value", name=f"pictures_{number}"),
                    **{f"next_{name}": Sink(kind="state", name=name) for name in names},
                },
            )
        )
        start += taken
    join = Call(
        component="joiner",
        inputs={f"pictures_{n}": Source(kind="value", name=f"pictures_{n}") for n in range(_calls(clip))},
        outputs={"frame": Sink(kind="value", name="frame")},
    )
    return [*calls, join]


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
