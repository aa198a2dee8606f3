"""The refiner's frame program: noise on a block of the first stage, the sampler's steps, and a place in the history."""

from porting.adapters.latent_view import FRAME_UNIT
from porting.adapters.sana_wm_refiner.config import Settings, Stream
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent standard deviations"
RING = "history"
SINK, HISTORY = ("sink_keys", "sink_values"), ("history_keys", "history_values")
PAST = (*SINK, *HISTORY)


def build_program(stream: Stream, settings: Settings, frame_shape: tuple[int, ...]) -> Program:
    """A session opens with the first stage's first latents; `frame` is one block of those that follow.

    All keys are kept before they are rotated: places are counted back from the block that is now refined, the sink's
    from the beginning of what the history still holds.
    """
    sigmas = settings.sigmas
    block = _float("latents", stream.latents_shape(stream.block), LATENT_UNIT)
    first = _float("first_latents", stream.latents_shape(stream.sink), LATENT_UNIT)
    prompt = _float("prompt", (1, stream.prompt_tokens, stream.prompt_width))
    coarse, noise = (block.model_copy(update={"name": name}) for name in ("coarse", "noise"))
    states = sink_states(stream), history_states(stream)
    return Program(
        components=tuple(_components(stream, block, first, prompt, frame_shape)),
        inputs=(
            InputSpec(tensor=first, scope="session", kind="conditioning"),
            InputSpec(tensor=prompt, scope="session", kind="conditioning"),
            InputSpec(tensor=coarse, scope="frame", kind="conditioning"),
            InputSpec(tensor=noise, scope="frame", kind="noise"),
        ),
        rings=(RingSpec(name=RING, window=stream.slots, sink=0),),
        states=(
            *(StateSpec(tensor=state, update="replace") for state in states[0]),
            *(StateSpec(tensor=state, update="ring", ring=RING, slot_axis=1) for state in states[1]),
        ),
        constants={
            **{f"sigma_{index}": (sigma,) for index, sigma in enumerate(sigmas[:-1])},
            **{f"step_{index}": (sigmas[index + 1] - sigma,) for index, sigma in enumerate(sigmas[:-1])},
        },
        prime=(
            Call(
                component="sink",
                inputs={name: Source(kind="input", name=name) for name in ("first_latents", "prompt")},
                outputs={f"new_{name}": Sink(kind="state", name=name) for name in SINK},
            ),
        ),
        frame=tuple(_frame(len(sigmas) - 1)),
        pictures_per_frame=stream.block,
    )


def sink_states(stream: Stream) -> list[TensorSpec]:
    """Keys and values of the frames that open a session."""
    return [_float(name, (1, *stream.kept_shape(stream.sink))) for name in SINK]


def history_states(stream: Stream) -> list[TensorSpec]:
    """Keys and values of refined blocks, a slot each."""
    return [_float(name, (1, stream.slots, *stream.kept_shape(stream.block))) for name in HISTORY]


def _components(
    stream: Stream, block: TensorSpec, first: TensorSpec, prompt: TensorSpec, frame_shape: tuple[int, ...]
) -> list[ComponentSpec]:
    past = (
        TensorSpec(name="ages", shape=(stream.slots,), dtype="int64"),
        *sink_states(stream),
        *history_states(stream),
    )
    coarse, noise, following = (
        block.model_copy(update={"name": name}) for name in ("coarse", "noise", "next_latents")
    )  # fmt: skip
    kept = [_float(f"new_{name}", (1, *stream.kept_shape(stream.block))) for name in HISTORY]
    opening = [state.model_copy(update={"name": f"new_{state.name}"}) for state in sink_states(stream)]
    return [
        ComponentSpec(name="sink", inputs=(first, prompt), outputs=tuple(opening)),
        ComponentSpec(name="mixer", inputs=(coarse, noise), outputs=(following,)),
        ComponentSpec(
            name="denoiser",
            inputs=(block, _float("sigma", (1,)), _float("step", (1,)), prompt, *past),
            outputs=(following,),
        ),
        ComponentSpec(name="view", inputs=(block,), outputs=(_float("frame", frame_shape, FRAME_UNIT),)),
        ComponentSpec(name="recorder", inputs=(block, prompt, *past), outputs=tuple(kept)),
    ]


def _frame(steps: int) -> list[Call]:
    past = {"ages": Source(kind="age", name=RING), **{name: Source(kind="state", name=name) for name in PAST}}
    prompt = Source(kind="input", name="prompt")
    calls = [
        Call(
            component="mixer",
            inputs={name: Source(kind="input", name=name) for name in ("coarse", "noise")},
            outputs={"next_latents": Sink(kind="value", name="latents_0")},
        )
    ]
    for index in range(steps):
        calls.append(
            Call(
                component="denoiser",
                inputs={
                    "latents": Source(kind="value", name=f"latents_{index}"),
                    "sigma": Source(kind="constant", name=f"sigma_{index}"),
                    "step": Source(kind="constant", name=f"step_{index}"),
                    "prompt": prompt,
                    **past,
                },
                outputs={"next_latents": Sink(kind="value", name=f"latents_{index + 1}")},
            )
        )
    made = Source(kind="value", name=f"latents_{steps}")
    show = Call(component="view", inputs={"latents": made}, outputs={"frame": Sink(kind="value", name="frame")})
    record = Call(
        component="recorder",
        inputs={"latents": made, "prompt": prompt, **past},
        outputs={f"new_{name}": Sink(kind="state", name=name) for name in HISTORY},
    )
    return [*calls, show, record]


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
