"""SkyReels-V2's frame program: a chunk is denoised beside the end of the one before, then decoded."""

from porting.adapters.skyreels_v2.config import Chunk, Settings
from porting.adapters.skyreels_v2.schedule import Call as Run
from porting.adapters.skyreels_v2.schedule import list_calls
from porting.adapters.wan.program import FRAME_UNIT, LATENT_UNIT, caches_of, decode, decoder_components
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

SUMS = 9
"""Numbers that a step of one latent frame takes; see `schedule.Step`."""
CLEAN_CONTEXT = "context"


def build_program(chunk: Chunk, settings: Settings, cache_shapes: list[tuple[int, ...]]) -> Program:
    """`frame` is one chunk; a session opens with a clip that is encoded, and decoded for the caches that it leaves.

    The decoder's caches run through all chunks, so that its pictures are those of the whole video decoded at once.

    Args:
        chunk: its sizes.
        settings: its sampler.
        cache_shapes: of the decoder's states.
    """
    runs = list_calls(chunk.new, chunk.block, settings.steps, settings.shift, settings.lag)
    clip = _float("clip", chunk.clip_shape, FRAME_UNIT)
    context = _float(CLEAN_CONTEXT, chunk.context_shape, LATENT_UNIT)
    prompts = [_float(name, (1, chunk.prompt_tokens, chunk.prompt_width)) for name in settings.prompts]
    noises = [_float("noise", chunk.new_shape)]
    if settings.context_noise:
        noises += [_float(f"context_noise_{index}", chunk.context_shape) for index in range(len(runs))]
    return Program(
        components=tuple(_components(chunk, settings, clip, context, prompts, cache_shapes)),
        inputs=(
            InputSpec(tensor=clip, scope="session", kind="context"),
            *(InputSpec(tensor=prompt, scope="session", kind="conditioning") for prompt in prompts),
            *(InputSpec(tensor=noise, scope="frame", kind="noise") for noise in noises),
        ),
        states=(
            StateSpec(tensor=context, update="replace"),
            *(StateSpec(tensor=cache, update="replace") for cache in caches_of(cache_shapes)),
        ),
        constants=_constants(chunk, settings, runs),
        prime=tuple(_prime(chunk, len(cache_shapes))),
        frame=(*_denoise(settings, len(runs)), *_decode(chunk, len(cache_shapes))),
        pictures_per_frame=chunk.new * chunk.time_scale,
    )


def _components(
    chunk: Chunk,
    settings: Settings,
    clip: TensorSpec,
    context: TensorSpec,
    prompts: list[TensorSpec],
    cache_shapes: list[tuple[int, ...]],
) -> list[ComponentSpec]:
    def new(name: str) -> TensorSpec:
        return _float(name, chunk.new_shape, LATENT_UNIT)

    noise = [_float("context_noise", chunk.context_shape)] if settings.context_noise else []
    pictures = chunk.stacked(chunk.time_scale)
    parts = [_float(f"pictures_{t}", pictures, FRAME_UNIT) for t in range(chunk.new)]
    frame = _float("frame", chunk.stacked(chunk.time_scale * chunk.new), FRAME_UNIT)
    return [
        ComponentSpec(name="encoder", inputs=(clip,), outputs=(context,)),
        ComponentSpec(
            name="denoiser",
            inputs=(
                *(new(name) for name in ("latents", "last", "previous", "older")),
                context,
                _float("timesteps", (chunk.frames,)),
                _float("sums", (SUMS * chunk.new,)),
                *noise,
                *prompts,
            ),
            outputs=(
                *(new(name) for name in ("next_latents", "corrected", "clean")),
                context.model_copy(update={"name": "next_context"}),
            ),
        ),
        *decoder_components(_float("latent", chunk.latent_shape, LATENT_UNIT), chunk, cache_shapes),
        ComponentSpec(name="joiner", inputs=tuple(parts), outputs=(frame,)),
    ]


def _constants(chunk: Chunk, settings: Settings, runs: tuple[Run, ...]) -> dict[str, tuple[float, ...]]:
    """Timesteps of all latent frames and sums of the new ones, of each run of the denoiser."""
    constants: dict[str, tuple[float, ...]] = {}
    for index, run in enumerate(runs):
        known = [float(settings.context_noise)] * chunk.context
        sums = zip(*(step.values for step in run.steps), strict=True)
        constants[f"timesteps_{index}"] = (*known, *map(float, run.timesteps))
        constants[f"sums_{index}"] = tuple(float(value) for row in sums for value in row)
    return constants


def _prime(chunk: Chunk, caches: int) -> list[Call]:
    encode = Call(
        component="encoder",
        inputs={"clip": Source(kind="input", name="clip")},
        outputs={CLEAN_CONTEXT: Sink(kind="state", name=CLEAN_CONTEXT)},
    )
    latents = [Source(kind="state", name=CLEAN_CONTEXT, at=t) for t in range(chunk.context)]
    return [encode, *(decode(latent, caches, f"seen_{t}", first=t == 0) for t, latent in enumerate(latents))]


def _denoise(settings: Settings, runs: int) -> list[Call]:
    """What there is no earlier step for is filled with noise, and its sums are 0."""
    noise = Source(kind="input", name="noise")
    latents = last = previous = older = noise
    calls = []
    for index in range(runs):
        inputs = {
            "latents": latents,
            "last": last,
            "previous": previous,
            "older": older,
            "context": Source(kind="state", name=CLEAN_CONTEXT),
            "timesteps": Source(kind="constant", name=f"timesteps_{index}"),
            "sums": Source(kind="constant", name=f"sums_{index}"),
            **{name: Source(kind="input", name=name) for name in settings.prompts},
        }
        if settings.context_noise:
            inputs["context_noise"] = Source(kind="input", name=f"context_noise_{index}")
        if index == runs - 1:
            outputs = {
                "next_latents": Sink(kind="value", name="latents"),
                "next_context": Sink(kind="state", name=CLEAN_CONTEXT),
            }
        else:
            made = {"next_latents": f"latents_{index}", "corrected": f"corrected_{index}", "clean": f"clean_{index}"}
            outputs = {name: Sink(kind="value", name=value) for name, value in made.items()}
            older = previous
            latents, last, previous = (Source(kind="value", name=value) for value in made.values())
        calls.append(Call(component="denoiser", inputs=inputs, outputs=outputs))
    return calls


def _decode(chunk: Chunk, caches: int) -> list[Call]:
    values = [f"pictures_{t}" for t in range(chunk.new)]
    calls = [
        decode(Source(kind="value", name="latents", at=t), caches, made, first=False)
        for t, made in enumerate(values)
    ]  # fmt: skip
    join = Call(
        component="joiner",
        inputs={name: Source(kind="value", name=name) for name in values},
        outputs={"frame": Sink(kind="value", name="frame")},
    )
    return [*calls, join]


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
