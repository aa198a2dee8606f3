"""Cosmos 3's frame program: the prompt is read once; a chunk is denoised, decoded, and its end encoded for the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from porting.adapters.cosmos3_omni.config import Settings
from porting.adapters.cosmos_predict2.config import Chunk
from porting.adapters.cosmos_predict2.program import LATENTS, encode, finish, joiner
from porting.adapters.cosmos_predict2.sampler import Step
from porting.adapters.wan.program import FRAME_UNIT, LATENT_UNIT, caches_of, decoder_components
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

THOUSAND = 1000
"""Whole timesteps that the noise levels are told in: the published scheduler cuts them off."""
READ = (("prompt", "keys", "values"), ("negative_prompt", "negative_keys", "negative_values"))
"""Input, and the states that hold what is read of it."""


@dataclass(frozen=True)
class Stream:
    """What is denoised, its names in a step: the tensors that go in, and those that come out."""

    shape: tuple[int, ...]
    unit: str
    noise: str
    taken: tuple[str, str, str, str]
    made: tuple[str, str, str]
    """Next, corrected, clean."""
    result: str


def build_program(
    chunk: Chunk, settings: Settings, config: Any, steps: Sequence[Step], cache_shapes: list[tuple[int, ...]]
) -> Program:
    """`frame` is one chunk: a denoiser call a step, a decoder call a latent frame, the joining, and the encoder.

    Args:
        chunk: its sizes.
        settings: mode, guidance, actions.
        config: of the transformer.
        steps: of the sampler.
        cache_shapes: of the decoder's states.
    """
    clip = _float("clip", chunk.clip_shape, FRAME_UNIT)
    context = _float("context", chunk.context_shape, LATENT_UNIT)
    actions = _float("actions" if settings.policy else "action", (1, settings.actions, settings.action_width))
    shape = (config.num_hidden_layers, config.num_key_value_heads, settings.prompt_tokens, config.head_dim)
    reads = READ if settings.guided else READ[:1]
    kept = [_float(name, shape) for _, *names in reads for name in names]
    streams = _list_streams(chunk, actions, policy=settings.policy)
    prompts = [TensorSpec(name=name, shape=(1, settings.prompt_tokens), dtype="int64") for name, *_ in reads]
    constants: dict[str, tuple[float, ...]] = {}
    for index, step in enumerate(steps):
        constants |= {f"level_{index}": (step.level,), f"weights_{index}": step.weights}
        constants |= {f"timestep_{index}": (float(int(step.level * THOUSAND)),)}
    given = () if settings.policy else (InputSpec(tensor=actions, scope="frame", kind="action"),)
    return Program(
        components=(
            ComponentSpec(name="encoder", inputs=(clip,), outputs=(context,)),
            ComponentSpec(
                name="reader",
                inputs=(prompts[0],),
                outputs=tuple(_float(name, shape) for name in READ[0][1:]),
            ),
            _denoiser(streams, actions, context, kept, policy=settings.policy),
            *decoder_components(_float("latent", chunk.latent_shape, LATENT_UNIT), chunk, cache_shapes),
            joiner(chunk, clip),
        ),
        inputs=(
            InputSpec(tensor=clip, scope="session", kind="context"),
            *(InputSpec(tensor=prompt, scope="session", kind="conditioning") for prompt in prompts),
            *given,
            *(InputSpec(tensor=_float(s.noise, s.shape), scope="frame", kind="noise") for s in streams),
        ),
        states=tuple(StateSpec(tensor=s, update="replace") for s in (context, *kept, *caches_of(cache_shapes))),
        constants=constants,
        prime=(encode(Source(kind="input", name="clip")), *(_read(*names) for names in reads)),
        frame=(*_denoise(streams, kept, len(steps), policy=settings.policy), *finish(chunk, len(cache_shapes))),
        pictures_per_frame=chunk.new_pictures,
    )


def _list_streams(chunk: Chunk, actions: TensorSpec, *, policy: bool) -> list[Stream]:
    pictures = Stream(
        chunk.latents_shape,
        LATENT_UNIT,
        "noise",
        ("latents", "sample", "previous", "before"),
        ("next_latents", "corrected", "clean"),
        LATENTS,
    )
    moves = Stream(
        actions.shape,
        "",
        "action_noise",
        ("actions", "action_sample", "action_previous", "action_before"),
        ("next_actions", "corrected_actions", "clean_actions"),
        "actions",
    )
    return [pictures, moves] if policy else [pictures]


def _denoiser(
    streams: list[Stream], actions: TensorSpec, context: TensorSpec, kept: list[TensorSpec], *, policy: bool
) -> ComponentSpec:
    return ComponentSpec(
        name="denoiser",
        inputs=(
            *(_float(name, stream.shape, stream.unit) for stream in streams for name in stream.taken),
            *(() if policy else (actions,)),
            context,
            _float("timestep", (1,)),
            _float("level", (1,)),
            _float("weights", (7,)),
            *kept,
        ),
        outputs=tuple(_float(name, stream.shape, stream.unit) for stream in streams for name in stream.made),
    )


def _denoise(streams: list[Stream], kept: list[TensorSpec], steps: int, *, policy: bool) -> list[Call]:
    # Before there is anything of a step, its weight is 0 and the noise stands in.
    carried = {name: Source(kind="input", name=stream.noise) for stream in streams for name in stream.taken}
    calls = []
    for index in range(steps):
        outputs: dict[str, Sink] = {}
        told = {name: Source(kind="constant", name=f"{name}_{index}") for name in ("timestep", "level", "weights")}
        inputs = {
            **carried,
            **({} if policy else {"action": Source(kind="input", name="action")}),
            "context": Source(kind="state", name="context"),
            **told,
            **{state.name: Source(kind="state", name=state.name) for state in kept},
        }
        for stream in streams:
            following, corrected, clean = stream.made
            last = index == steps - 1
            made = {
                following: stream.result if last else f"{stream.taken[0]}_{index + 1}",
                corrected: f"{corrected}_{index}",
                clean: f"{clean}_{index}",
            }
            outputs |= {output: Sink(kind="value", name=name) for output, name in made.items()}
            values = [Source(kind="value", name=made[name]) for name in stream.made]
            carried |= dict(zip(stream.taken, (*values, carried[stream.taken[2]]), strict=True))
        calls.append(Call(component="denoiser", inputs=inputs, outputs=outputs))
    return calls


def _read(prompt: str, keys: str, values: str) -> Call:
    return Call(
        component="reader",
        inputs={"prompt": Source(kind="input", name=prompt)},
        outputs={"keys": Sink(kind="state", name=keys), "values": Sink(kind="state", name=values)},
    )


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
