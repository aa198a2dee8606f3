"""Matrix-Game 2's frame program: causal Wan's, with actions of every picture and a ring of their own."""

from porting.adapters.matrix_game.config import ActionConfig, Settings
from porting.adapters.wan.config import Clip
from porting.adapters.wan.program import LATENT_UNIT, caches_of
from porting.adapters.wan_causal.program import (
    RING,
    Shapes,
    decode_chunk,
    denoise,
    float_spec,
    join,
    name_noises,
    noise_inputs,
    picture_components,
    step_constants,
    step_inputs,
)
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

ACTION_RING = "actions"


class ActionShapes:
    """The actions' part of the program: names and shapes of what is told, carried and kept."""

    def __init__(self, config: ActionConfig, clip: Clip, slots: int, places: int) -> None:
        """For a ring of so many slots, and so many places in a latent frame."""
        frames, pictures = clip.frames, clip.frames * clip.time_scale
        self.kinds = list(config.widths)
        self.actions = [float_spec(kind, (1, pictures, width)) for kind, width in config.widths.items()]
        self.openings = [
            float_spec(f"opening_{kind}", (1, pictures - clip.time_scale + 1, width))
            for kind, width in config.widths.items()
        ]
        self.pasts = [float_spec(f"past_{kind}", (1, config.past, width)) for kind, width in config.widths.items()]
        self.windows = [
            float_spec(f"{kind}_windows", (1, frames, config.told, width)) for kind, width in config.widths.items()
        ]
        self.rings: list[TensorSpec] = []
        self.slices: list[TensorSpec] = []
        for block in sorted(set(config.blocks)):
            for kind in self.kinds:
                rows = places if kind == "mouse" else 1
                heads, width = config.heads_num, config.head_width(kind)
                for part in ("key", "value"):
                    name = f"{kind}_{part}_{block}"
                    self.rings.append(float_spec(name, (rows, heads, slots, frames, width)))
                    self.slices.append(float_spec(f"new_{name}", (rows, heads, frames, width)))


def build_program(
    clip: Clip, settings: Settings, condition_channels: int, shapes: Shapes, actions: ActionShapes,
    cache_shapes: list[tuple[int, ...]],
) -> Program:  # fmt: skip
    """`frame` is one chunk; the first one is made while priming, as causal Wan's, from actions of its own.

    Args:
        clip: a chunk's sizes.
        settings: its sampler.
        condition_channels: of the mask and the opening picture's latents.
        shapes: of what blocks keep.
        actions: of what action modules are told and keep.
        cache_shapes: of the decoder's states.
    """
    picture = float_spec("image", (1, clip.prompt_tokens, clip.prompt_width))
    condition = float_spec("condition", (1, clip.frames, condition_channels, clip.height, clip.width), LATENT_UNIT)
    opening_condition = condition.model_copy(update={"name": "opening_condition"})
    noises, openings = name_noises(len(settings.timesteps))
    read = {
        "age": Source(kind="age", name=RING),
        "action_age": Source(kind="age", name=ACTION_RING),
        **{made.name: Source(kind="value", name=made.name) for made in actions.windows},
        **{k.name: Source(kind="state", name=k.name) for k in (*shapes.prompts, *shapes.rings, *actions.rings)},
    }
    slices, rings = (*shapes.slices, *actions.slices), (*shapes.rings, *actions.rings)
    commits = {new.name: ring.name for new, ring in zip(slices, rings, strict=True)}
    given = {"condition": Source(kind="input", name="condition"), **read}
    given_first = {"condition": Source(kind="input", name="opening_condition"), **read}
    look = Call(
        component="conditioner",
        inputs={"image": Source(kind="input", name="image")},
        outputs={kept.name: Sink(kind="state", name=kept.name) for kept in shapes.prompts},
    )
    caches = len(cache_shapes)
    return Program(
        components=(
            ComponentSpec(name="conditioner", inputs=(picture,), outputs=tuple(shapes.prompts)),
            *_action_components(actions),
            _denoiser(clip, settings, condition, shapes, actions),
            *picture_components(clip, cache_shapes),
        ),
        inputs=(
            InputSpec(tensor=picture, scope="session", kind="conditioning"),
            InputSpec(tensor=opening_condition, scope="session", kind="conditioning"),
            *(InputSpec(tensor=opening, scope="session", kind="action") for opening in actions.openings),
            *noise_inputs(clip, noises, openings),
            InputSpec(tensor=condition, scope="frame", kind="conditioning"),
            *(InputSpec(tensor=action, scope="frame", kind="action") for action in actions.actions),
        ),
        rings=(
            RingSpec(name=RING, window=settings.past_chunks, sink=settings.sink_chunks),
            RingSpec(name=ACTION_RING, window=settings.past_chunks, sink=0),
        ),
        states=(
            *(StateSpec(tensor=kept, update="replace") for kept in (*shapes.prompts, *actions.pasts)),
            *(StateSpec(tensor=ring, update="ring", ring=RING, slot_axis=2) for ring in shapes.rings),
            *(StateSpec(tensor=ring, update="ring", ring=ACTION_RING, slot_axis=2) for ring in actions.rings),
            *(StateSpec(tensor=cache, update="replace") for cache in caches_of(cache_shapes)),
        ),
        constants=step_constants(settings),
        prime=(
            look,
            _open(actions),
            _tell(actions, first=True),
            *denoise(openings, given_first, commits),
            *decode_chunk(clip, caches, first=True),
        ),
        frame=(
            _tell(actions, first=False),
            *denoise(noises, given, commits),
            *decode_chunk(clip, caches, first=False),
            join(clip),
        ),
        pictures_per_frame=clip.frames * clip.time_scale,
    )


def _denoiser(
    clip: Clip, settings: Settings, condition: TensorSpec, shapes: Shapes, actions: ActionShapes
) -> ComponentSpec:
    ages = [TensorSpec(name=name, shape=(settings.past_chunks,), dtype="int64") for name in ("age", "action_age")]
    return ComponentSpec(
        name="denoiser",
        inputs=(
            *step_inputs(clip), condition, *ages, *actions.windows, *shapes.prompts, *shapes.rings, *actions.rings
        ),
        outputs=(float_spec("next_latents", clip.latents_shape, LATENT_UNIT), *shapes.slices, *actions.slices),
    )  # fmt: skip


def _action_components(actions: ActionShapes) -> tuple[ComponentSpec, ComponentSpec]:
    """What fills up a session's first actions, and what makes windows of any chunk's."""
    firsts: list[TensorSpec] = []
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for action, past, window in zip(actions.actions, actions.pasts, actions.windows, strict=True):
        firsts += [one.model_copy(update={"name": f"first_{one.name}"}) for one in (past, action)]
        inputs += [past, action]
        outputs += [window, past.model_copy(update={"name": f"next_{past.name}"})]
    return (
        ComponentSpec(name="opener", inputs=tuple(actions.openings), outputs=tuple(firsts)),
        ComponentSpec(name="windows", inputs=tuple(inputs), outputs=tuple(outputs)),
    )


def _open(actions: ActionShapes) -> Call:
    names = [name for kind in actions.kinds for name in (f"first_past_{kind}", f"first_{kind}")]
    return Call(
        component="opener",
        inputs={opening.name: Source(kind="input", name=opening.name) for opening in actions.openings},
        outputs={name: Sink(kind="value", name=name) for name in names},
    )


def _tell(actions: ActionShapes, *, first: bool) -> Call:
    inputs: dict[str, Source] = {}
    outputs: dict[str, Sink] = {}
    for kind in actions.kinds:
        past = f"past_{kind}"
        inputs[past] = Source(kind="value", name=f"first_{past}") if first else Source(kind="state", name=past)
        inputs[kind] = Source(kind="value", name=f"first_{kind}") if first else Source(kind="input", name=kind)
        outputs[f"{kind}_windows"] = Sink(kind="value", name=f"{kind}_windows")
        outputs[f"next_{past}"] = Sink(kind="state", name=past)
    return Call(component="windows", inputs=inputs, outputs=outputs)
