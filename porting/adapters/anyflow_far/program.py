"""AnyFlow FAR's frame program: a chunk is denoised, decoded latent frame by latent frame, and recorded for the next."""

from porting.adapters.anyflow_far.config import Settings, World
from porting.adapters.wan.config import LEVELS
from porting.adapters.wan.program import FRAME_UNIT, LATENT_UNIT, caches_of, decode, decoder_components
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

RING = "context"
CONTEXT = ("context_keys", "context_values", "context_present")
RECENT = ("recent_keys", "recent_values", "recent_present", "recent_latents")


def build_program(world: World, settings: Settings, cache_shapes: list[tuple[int, ...]]) -> Program:
    """A session opens with a real picture, the first latent frame, which is a chunk of its own; `frame` is one chunk.

    A chunk that stops being recent goes into the ring of compressed ones; while there is none, a slot of frames that
    are not there does. Keys are kept before they are rotated: places are counted back from the chunk now being made.
    """
    clip, sigmas = world.clip, settings.sigmas
    picture = _float("picture", (1, 1, *clip.stacked(1)[1:]), FRAME_UNIT)
    prompt = _float("prompt", (1, clip.prompt_tokens, clip.prompt_width))
    constants: dict[str, tuple[float, ...]] = {
        "opening": (0.0,) * (world.frames - 1) + (1.0,),
        "whole": (1.0,) * world.frames,
    }
    for index, sigma in enumerate(sigmas[:-1]):
        constants |= {
            f"timestep_{index}": (sigma * LEVELS,),
            f"target_{index}": (sigmas[index + 1] * LEVELS,),
            f"step_{index}": (sigmas[index + 1] - sigma,),
        }
    return Program(
        components=tuple(_components(world, picture, prompt, cache_shapes)),
        inputs=(
            InputSpec(tensor=picture, scope="session", kind="context"),
            InputSpec(tensor=prompt, scope="session", kind="conditioning"),
            InputSpec(tensor=_float("noise", clip.latents_shape), scope="frame", kind="noise"),
        ),
        rings=(RingSpec(name=RING, window=world.context, sink=0),),
        states=(
            *(StateSpec(tensor=t, update="ring", ring=RING, slot_axis=1) for t in context_states(world)),
            *(StateSpec(tensor=t, update="replace") for t in recent_states(world)),
            *(StateSpec(tensor=cache, update="replace") for cache in caches_of(cache_shapes)),
        ),
        constants=constants,
        prime=(
            Call(
                component="encoder",
                inputs={"picture": Source(kind="input", name="picture")},
                outputs={name: Sink(kind="value", name=name) for name in ("first_latent", "first_chunk")},
            ),
            decode(Source(kind="value", name="first_latent"), len(cache_shapes), "first_picture", first=True),
            _record(Source(kind="value", name="first_chunk"), "opening"),
        ),
        frame=(
            *_denoise(settings),
            *_decode(world, len(cache_shapes)),
            _record(Source(kind="value", name="latents"), "whole"),
        ),
        pictures_per_frame=world.frames * clip.time_scale,
    )


def context_states(world: World) -> list[TensorSpec]:
    """What is kept of compressed chunks, a slot each."""
    kept = (1, world.context, world.layers, world.heads, world.far_chunk_tokens, world.head_width)
    return [
        _float("context_keys", kept),
        _float("context_values", kept),
        _float("context_present", (1, world.context, world.frames)),
    ]


def recent_states(world: World) -> list[TensorSpec]:
    """What is kept of recent chunks."""
    kept = (1, world.layers, world.heads, world.recent * world.chunk_tokens, world.head_width)
    frames = world.recent * world.frames
    return [
        _float("recent_keys", kept),
        _float("recent_values", kept),
        _float("recent_present", (1, frames)),
        _float("recent_latents", (1, frames, *world.clip.latent_shape[1:]), LATENT_UNIT),
    ]


def _components(
    world: World, picture: TensorSpec, prompt: TensorSpec, cache_shapes: list[tuple[int, ...]]
) -> list[ComponentSpec]:
    clip = world.clip
    latents = _float("latents", clip.latents_shape, LATENT_UNIT)
    latent = _float("latent", clip.latent_shape, LATENT_UNIT)
    ages = TensorSpec(name="ages", shape=(world.context,), dtype="int64")
    context, recent = context_states(world), recent_states(world)
    parts = [_float(f"pictures_{t}", clip.stacked(clip.time_scale), FRAME_UNIT) for t in range(clip.frames)]
    frame = _float("frame", clip.stacked(clip.frames * clip.time_scale), FRAME_UNIT)
    return [
        ComponentSpec(
            name="encoder",
            inputs=(picture,),
            outputs=(_renamed(latent, "first_latent"), _renamed(latents, "first_chunk")),
        ),
        ComponentSpec(
            name="denoiser",
            inputs=(
                latents,
                *(_float(name, (1,)) for name in ("timestep", "target", "step")),
                prompt,
                ages,
                *context,
                *recent[:3],
            ),
            outputs=(_renamed(latents, "next_latents"),),
        ),
        *decoder_components(latent, clip, cache_shapes),
        ComponentSpec(name="joiner", inputs=tuple(parts), outputs=(frame,)),
        ComponentSpec(
            name="recorder",
            inputs=(latents, _float("arrived", (world.frames,)), prompt, ages, *context, recent[3], recent[2]),
            outputs=(
                *(_slice(state, f"new_{state.name}") for state in context),
                *(_renamed(state, f"next_{state.name}") for state in recent),
            ),
        ),
    ]


def _denoise(settings: Settings) -> list[Call]:
    latents = Source(kind="input", name="noise")
    calls = []
    for index in range(settings.steps):
        made = "latents" if index == settings.steps - 1 else f"latents_{index + 1}"
        calls.append(
            Call(
                component="denoiser",
                inputs={
                    "latents": latents,
                    **{n: Source(kind="constant", name=f"{n}_{index}") for n in ("timestep", "target", "step")},
                    "prompt": Source(kind="input", name="prompt"),
                    "ages": Source(kind="age", name=RING),
                    **{name: Source(kind="state", name=name) for name in (*CONTEXT, *RECENT[:3])},
                },
                outputs={"next_latents": Sink(kind="value", name=made)},
            )
        )
        latents = Source(kind="value", name=made)
    return calls


def _decode(world: World, caches: int) -> list[Call]:
    values = [f"pictures_{t}" for t in range(world.frames)]
    calls = [
        decode(Source(kind="value", name="latents", at=t), caches, made, first=False) for t, made in enumerate(values)
    ]
    join = Call(
        component="joiner",
        inputs={name: Source(kind="value", name=name) for name in values},
        outputs={"frame": Sink(kind="value", name="frame")},
    )
    return [*calls, join]


def _record(latents: Source, arrived: str) -> Call:
    return Call(
        component="recorder",
        inputs={
            "latents": latents,
            "arrived": Source(kind="constant", name=arrived),
            "prompt": Source(kind="input", name="prompt"),
            "ages": Source(kind="age", name=RING),
            **{name: Source(kind="state", name=name) for name in (*CONTEXT, "recent_latents", "recent_present")},
        },
        outputs={
            **{f"new_{name}": Sink(kind="state", name=name) for name in CONTEXT},
            **{f"next_{name}": Sink(kind="state", name=name) for name in RECENT},
        },
    )


def _slice(state: TensorSpec, name: str) -> TensorSpec:
    """What a call writes of a ring's state: all but the axis of slots."""
    return state.model_copy(update={"name": name, "shape": (state.shape[0], *state.shape[2:])})


def _renamed(tensor: TensorSpec, name: str) -> TensorSpec:
    return tensor.model_copy(update={"name": name})


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
