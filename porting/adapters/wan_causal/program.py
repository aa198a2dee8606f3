"""Causal Wan's frame program: one chunk a frame, denoised in few steps, committed to the ring, decoded as a stream."""

from collections.abc import Mapping, Sequence

from porting.adapters.wan.config import Clip
from porting.adapters.wan.program import FRAME_UNIT, LATENT_UNIT, caches_of, decode, decoder_components
from porting.adapters.wan_causal.config import Settings
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

RING = "memory"


class Shapes:
    """The transformer's part of a program: names and shapes of what every block keeps."""

    def __init__(
        self, heads: int, width: int, layers: int, seen_tokens: int, tokens: int, slots: int, seen: str = "prompt"
    ) -> None:
        """Name them.

        Args:
            heads: of a block.
            width: of a head.
            layers: blocks.
            seen_tokens: of what a session is conditioned on.
            tokens: of a chunk.
            slots: of the ring, a chunk each.
            seen: what a session is conditioned on.
        """
        kinds = [f"{kind}_{layer}" for layer in range(layers) for kind in ("key", "value")]
        self.prompts = [float_spec(f"{seen}_{kind}", (1, heads, seen_tokens, width)) for kind in kinds]
        self.rings = [float_spec(kind, (1, heads, slots, tokens, width)) for kind in kinds]
        self.slices = [float_spec(f"new_{kind}", (1, heads, tokens, width)) for kind in kinds]


def build_program(clip: Clip, settings: Settings, shapes: Shapes, cache_shapes: list[tuple[int, ...]]) -> Program:
    """`frame` is one chunk. The first one, whose first latent frame makes a single picture, is made while priming.

    Its noise belongs to the session, so it is declared as what a session is conditioned on; its pictures are not part
    of the rollout, whose chunks all have as many.
    """
    prompt = float_spec("prompt", (1, clip.prompt_tokens, clip.prompt_width))
    noises, openings = name_noises(len(settings.timesteps))
    condition = Call(
        component="conditioner",
        inputs={"prompt": Source(kind="input", name="prompt")},
        outputs={kept.name: Sink(kind="state", name=kept.name) for kept in shapes.prompts},
    )
    read = {
        "age": Source(kind="age", name=RING),
        **{kept.name: Source(kind="state", name=kept.name) for kept in (*shapes.prompts, *shapes.rings)},
    }
    commits = {new.name: ring.name for new, ring in zip(shapes.slices, shapes.rings, strict=True)}
    conditioner = ComponentSpec(name="conditioner", inputs=(prompt,), outputs=tuple(shapes.prompts))
    denoiser = ComponentSpec(
        name="denoiser",
        inputs=(
            *step_inputs(clip),
            TensorSpec(name="age", shape=(settings.past_chunks,), dtype="int64"),
            *shapes.prompts,
            *shapes.rings,
        ),
        outputs=(float_spec("next_latents", clip.latents_shape, LATENT_UNIT), *shapes.slices),
    )
    return Program(
        components=(conditioner, denoiser, *picture_components(clip, cache_shapes)),
        inputs=(
            InputSpec(tensor=prompt, scope="session", kind="conditioning"),
            *noise_inputs(clip, noises, openings),
        ),
        rings=(RingSpec(name=RING, window=settings.past_chunks, sink=settings.sink_chunks),),
        states=(
            *(StateSpec(tensor=kept, update="replace") for kept in shapes.prompts),
            *(StateSpec(tensor=ring, update="ring", ring=RING, slot_axis=2) for ring in shapes.rings),
            *(StateSpec(tensor=cache, update="replace") for cache in caches_of(cache_shapes)),
        ),
        constants=step_constants(settings),
        prime=(condition, *denoise(openings, read, commits), *decode_chunk(clip, len(cache_shapes), first=True)),
        frame=(*denoise(noises, read, commits), *decode_chunk(clip, len(cache_shapes), first=False), join(clip)),
        pictures_per_frame=clip.frames * clip.time_scale,
    )


def name_noises(steps: int) -> tuple[list[str], list[str]]:
    """The noise of every step, of a chunk and of the session's first one."""
    return [f"noise_{step}" for step in range(steps)], [f"opening_noise_{step}" for step in range(steps)]


def noise_inputs(clip: Clip, noises: list[str], openings: list[str]) -> tuple[InputSpec, ...]:
    """Both as inputs: that of a session's first chunk is what the session is conditioned on."""
    return (
        *(InputSpec(tensor=float_spec(n, clip.latents_shape), scope="session", kind="conditioning") for n in openings),
        *(InputSpec(tensor=float_spec(n, clip.latents_shape), scope="frame", kind="noise") for n in noises),
    )


def step_constants(settings: Settings) -> dict[str, tuple[float, ...]]:
    """The timestep of every step, of a finished chunk as the network is shown it, and that of clean latents."""
    steps = {f"timestep_{step}": (value,) for step, value in enumerate(settings.timesteps)}
    return {**steps, "clean": (0.0,), "context_noise": (settings.context_noise,)}


def step_inputs(clip: Clip) -> tuple[TensorSpec, ...]:
    """What every step of a denoiser takes first."""
    return (
        float_spec("latents", clip.latents_shape, LATENT_UNIT),
        float_spec("noise", clip.latents_shape),
        float_spec("timestep", (1,)),
        float_spec("next_timestep", (1,)),
    )


def picture_components(clip: Clip, cache_shapes: list[tuple[int, ...]]) -> tuple[ComponentSpec, ...]:
    """What makes pictures of latents."""
    pictures = [float_spec(f"pictures_{t}", clip.stacked(clip.time_scale), FRAME_UNIT) for t in range(clip.frames)]
    frame = float_spec("frame", clip.stacked(clip.frames * clip.time_scale), FRAME_UNIT)
    return (
        *decoder_components(float_spec("latent", clip.latent_shape, LATENT_UNIT), clip, cache_shapes),
        ComponentSpec(name="joiner", inputs=tuple(pictures), outputs=(frame,)),
    )


def denoise(noises: Sequence[str], read: Mapping[str, Source], commits: Mapping[str, str]) -> list[Call]:
    """Few steps, each mixing in noise of its own for the next; then the finished chunk's keys and values are kept.

    Args:
        noises: the inputs of every step's noise; the first is where the chunk begins.
        read: the denoiser's other inputs.
        commits: outputs of the last call -> the states that keep them.
    """
    latents = Source(kind="input", name=noises[0])
    calls = []
    for step in range(len(noises)):
        last = step == len(noises) - 1
        following = "clean" if last else f"timestep_{step + 1}"
        noise = noises[0 if last else step + 1]
        made = "latents" if last else f"latents_{step + 1}"
        inputs = {**_step(latents, noise, f"timestep_{step}", following), **read}
        calls.append(Call(component="denoiser", inputs=inputs, outputs={"next_latents": Sink(kind="value", name=made)}))
        latents = Source(kind="value", name=made)
    commit = Call(
        component="denoiser",
        inputs={**_step(latents, noises[0], "context_noise", "clean"), **read},
        outputs={new: Sink(kind="state", name=state) for new, state in commits.items()},
    )
    return [*calls, commit]


def decode_chunk(clip: Clip, caches: int, *, first: bool) -> list[Call]:
    """A chunk's latent frames, one after another, to values of pictures; a session's first have other names."""
    latents = [Source(kind="value", name="latents", at=t) for t in range(clip.frames)]
    made = "opening_pictures" if first else "pictures"
    return [decode(one, caches, f"{made}_{t}", first=first and t == 0) for t, one in enumerate(latents)]


def join(clip: Clip) -> Call:
    """A chunk's pictures to the frame."""
    return Call(
        component="joiner",
        inputs={f"pictures_{t}": Source(kind="value", name=f"pictures_{t}") for t in range(clip.frames)},
        outputs={"frame": Sink(kind="value", name="frame")},
    )


def float_spec(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    """A float32 tensor."""
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)


def _step(latents: Source, noise: str, level: str, following: str) -> dict[str, Source]:
    return {
        "latents": latents,
        "noise": Source(kind="input", name=noise),
        "timestep": Source(kind="constant", name=level),
        "next_timestep": Source(kind="constant", name=following),
    }
