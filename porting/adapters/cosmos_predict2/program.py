"""Cosmos Predict 2's frame program: a chunk is denoised, decoded as a stream, and its end encoded for the next."""

from collections.abc import Sequence

from porting.adapters.cosmos_predict2.config import Chunk, Settings
from porting.adapters.cosmos_predict2.sampler import Step
from porting.adapters.wan.program import FRAME_UNIT, LATENT_UNIT, caches_of, decode, decoder_components
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

LATENTS = "latents"
"""The value that a chunk's last step makes."""


def build_program(
    chunk: Chunk, settings: Settings, steps: Sequence[Step], cache_shapes: list[tuple[int, ...]], *, multistep: bool
) -> Program:
    """`frame` is one chunk: a denoiser call a step, a decoder call a latent frame, the joining, and the encoder.

    The first decoder call of a chunk overwrites every cache, so that chunks share their context and nothing else.

    Args:
        chunk: its sizes.
        settings: for guidance and prompts.
        steps: of the sampler.
        cache_shapes: of the decoder's states.
        multistep: whether a step also takes what the steps before it made: Predict 2.5.
    """
    prompts = [_float(name, (1, chunk.prompt_tokens, chunk.prompt_width)) for name in _prompts(settings)]
    clip = _float("clip", chunk.clip_shape, FRAME_UNIT)
    context = _float("context", chunk.context_shape, LATENT_UNIT)
    constants: dict[str, tuple[float, ...]] = {}
    for index, step in enumerate(steps):
        constants |= {f"level_{index}": (step.level,), f"weights_{index}": step.weights}
    return Program(
        components=(
            ComponentSpec(name="encoder", inputs=(clip,), outputs=(context,)),
            _denoiser(chunk, context, prompts, len(steps[0].weights), multistep=multistep),
            *decoder_components(_float("latent", chunk.latent_shape, LATENT_UNIT), chunk, cache_shapes),
            joiner(chunk, clip),
        ),
        inputs=(
            InputSpec(tensor=clip, scope="session", kind="context"),
            *(InputSpec(tensor=prompt, scope="session", kind="conditioning") for prompt in prompts),
            InputSpec(tensor=_float("noise", chunk.latents_shape), scope="frame", kind="noise"),
        ),
        states=tuple(StateSpec(tensor=state, update="replace") for state in (context, *caches_of(cache_shapes))),
        constants=constants,
        prime=(encode(Source(kind="input", name="clip")),),
        frame=(*_denoise(len(steps), _prompts(settings), multistep=multistep), *finish(chunk, len(cache_shapes))),
        pictures_per_frame=chunk.new_pictures,
    )


def _denoiser(
    chunk: Chunk, context: TensorSpec, prompts: list[TensorSpec], weights: int, *, multistep: bool
) -> ComponentSpec:
    names = ("latents", "sample", "previous", "before", "noise") if multistep else ("latents",)
    made = ("next_latents", "corrected", "clean") if multistep else ("next_latents",)
    return ComponentSpec(
        name="denoiser",
        inputs=(
            *(_float(name, chunk.latents_shape, LATENT_UNIT) for name in names),
            context,
            _float("level", (1,)),
            _float("weights", (weights,)),
            *prompts,
        ),
        outputs=tuple(_float(name, chunk.latents_shape, LATENT_UNIT) for name in made),
    )


def joiner(chunk: Chunk, clip: TensorSpec) -> ComponentSpec:
    """New pictures of a chunk, and what the encoder takes of it: `clip` is the encoder's input."""
    pieces = [_float(f"pictures_{t}", chunk.stacked(chunk.time_scale), FRAME_UNIT) for t in chunk.joined]
    frame = _float("frame", chunk.stacked(chunk.new_pictures), FRAME_UNIT)
    return ComponentSpec(
        name="joiner", inputs=tuple(pieces), outputs=(frame, clip.model_copy(update={"name": "tail"}))
    )  # fmt: skip


def _denoise(steps: int, prompts: tuple[str, ...], *, multistep: bool) -> list[Call]:
    noise = Source(kind="input", name="noise")
    # Before there is anything of a step, its weight is 0 and the noise stands in.
    carried = dict.fromkeys(("latents", "sample", "previous", "before") if multistep else ("latents",), noise)
    calls = []
    for index in range(steps):
        made = {"next_latents": LATENTS if index == steps - 1 else f"latents_{index + 1}"}
        if multistep:
            made |= {"corrected": f"corrected_{index}", "clean": f"clean_{index}"}
        calls.append(
            Call(
                component="denoiser",
                inputs={
                    **carried,
                    **({"noise": noise} if multistep else {}),
                    "context": Source(kind="state", name="context"),
                    "level": Source(kind="constant", name=f"level_{index}"),
                    "weights": Source(kind="constant", name=f"weights_{index}"),
                    **{name: Source(kind="input", name=name) for name in prompts},
                },
                outputs={output: Sink(kind="value", name=name) for output, name in made.items()},
            )
        )
        values = {output: Source(kind="value", name=name) for output, name in made.items()}
        carried = {"latents": values["next_latents"]} | (
            {"sample": values["corrected"], "previous": values["clean"], "before": carried["previous"]}
            if multistep
            else {}
        )
    return calls


def finish(chunk: Chunk, caches: int) -> list[Call]:
    """Latents to pictures, and the last of these to the context of the next chunk."""
    pictures = [f"pictures_{t}" for t in range(chunk.frames)]
    calls = [
        decode(Source(kind="value", name=LATENTS, at=t), caches, made, first=t == 0)
        for t, made in enumerate(pictures)
    ]  # fmt: skip
    join = Call(
        component="joiner",
        inputs={pictures[t]: Source(kind="value", name=pictures[t]) for t in chunk.joined},
        outputs={"frame": Sink(kind="value", name="frame"), "tail": Sink(kind="value", name="tail")},
    )
    return [*calls, join, encode(Source(kind="value", name="tail"))]


def encode(clip: Source) -> Call:
    """The last pictures to the context of the next chunk."""
    return Call(component="encoder", inputs={"clip": clip}, outputs={"context": Sink(kind="state", name="context")})


def _prompts(settings: Settings) -> tuple[str, ...]:
    return ("prompt", "negative_prompt") if settings.guidance_scale > 1 else ("prompt",)


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
