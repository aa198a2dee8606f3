"""Emu3's frame program: a prompt is read token by token, then every frame's tokens are chosen one after another.

A frame is rows of visual tokens, each row with the token that ends it, and the token that ends the frame. What ends is
known beforehand and is read, not chosen.
"""

from collections.abc import Iterator

from porting.adapters.emu3.config import Emu3Config, Settings, Vocabulary
from porting.adapters.emu3.decoder import list_pasts
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.tensor_spec import DType, TensorSpec

FRAME_UNIT = "of full brightness"
NATS = "nats"
RING = "frames"
CACHE = ("keys", "values")
CHOICES = ("codes", "log_likelihoods", "leads")


def build_program(config: Emu3Config, settings: Settings, vocabulary: Vocabulary) -> Program:
    """A session opens with a prompt of token ids, the last of which stands before the first visual token.

    The cache is a ring of frames whose first slot, the prompt's, is never evicted. The tokens of the frame being made
    are kept apart, and enter the ring whole with the token that ends the frame.
    """
    specs = _Specs(config, settings)
    constants = {
        **{f"place_{place}": (float(place),) for place in range(settings.frame_tokens)},
        **{f"spot_{spot}": (float(spot),) for spot in range(settings.codes)},
        "end_of_line": (float(vocabulary.end_of_line),),
        "end_of_frame": (float(vocabulary.end_of_frame),),
    }
    inputs = [InputSpec(tensor=specs.prompt, scope="session", kind="conditioning")]
    if settings.temperature:
        noise = _tensor("noise", (1, settings.codes, 2, config.vq_config.codebook_size))
        inputs.append(InputSpec(tensor=noise, scope="frame", kind="noise"))
    return Program(
        components=(specs.predictor, specs.sampler, specs.decoder),
        inputs=tuple(inputs),
        rings=(RingSpec(name=RING, window=settings.slots, sink=1),),
        states=(
            *(StateSpec(tensor=tensor, update="ring", ring=RING, slot_axis=2) for tensor in specs.cache),
            *(StateSpec(tensor=t, update="replace") for t in (*specs.own, specs.logits, *specs.choices, *specs.pasts)),
        ),
        constants=constants,
        prime=tuple(_read_prompt(settings)),
        frame=(*_make_tokens(settings), _decode(specs.pasts)),
        pictures_per_frame=config.vq_config.temporal_downsample_factor,
    )


class _Specs:
    """Every tensor and component, from the sizes."""

    def __init__(self, config: Emu3Config, settings: Settings) -> None:
        text, vq = config.text_config, config.vq_config
        layers, groups, width = text.num_hidden_layers, text.num_key_value_heads, text.head_width
        tokens, spots = settings.frame_tokens, (1, settings.codes)
        self.prompt = _tensor("prompt", (1, settings.prompt_tokens), "int64", "token id")
        self.cache = tuple(_tensor(name, (layers, groups, settings.slots, tokens, width)) for name in CACHE)
        self.own = tuple(_tensor(f"own_{name}", (layers, groups, tokens, width)) for name in CACHE)
        self.logits = _tensor("logits", (1, vq.codebook_size), unit=NATS)
        self.choices = (
            _tensor("codes", spots, "int64", "code"),
            _tensor("log_likelihoods", spots, unit=NATS),
            _tensor("leads", spots, unit=NATS),
        )
        self.pasts = tuple(_tensor(f"past_{i}", shape) for i, shape in enumerate(list_pasts(vq, settings)))
        token, one = _tensor("token", (1,), "int64", "token id"), (1,)
        noise = (_tensor("noise", (1, 2, vq.codebook_size)),) if settings.temperature else ()
        height = settings.rows * vq.space_scale * vq.temporal_downsample_factor
        frame = _tensor("frame", (1, 3, height, settings.columns * vq.space_scale), unit=FRAME_UNIT)
        age = _tensor("age", (settings.slots,), "int64", "frames")
        self.predictor = ComponentSpec(
            name="predictor",
            inputs=(token, _tensor("place", one, "int64"), age, *self.cache, *self.own),
            outputs=(self.logits, *map(_next, self.own)),
        )
        self.sampler = ComponentSpec(
            name="sampler",
            inputs=(self.logits, _tensor("spot", one, "int64"), *self.choices, *noise),
            outputs=(token, *map(_next, self.choices)),
        )
        self.decoder = ComponentSpec(
            name="decoder", inputs=(self.choices[0], *self.pasts), outputs=(frame, *map(_next, self.pasts))
        )


def _read_prompt(settings: Settings) -> Iterator[Call]:
    for place in range(settings.prompt_tokens):
        last = place == settings.prompt_tokens - 1
        yield _predict(Source(kind="input", name="prompt", at=place), place, last=last)


def _make_tokens(settings: Settings) -> Iterator[Call]:
    spots, places = iter(range(settings.codes)), iter(range(settings.frame_tokens))
    for _ in range(settings.rows):
        for _ in range(settings.columns):
            yield _choose(next(spots), sampled=bool(settings.temperature))
            yield _predict(Source(kind="value", name="token"), next(places))
        yield _predict(Source(kind="constant", name="end_of_line"), next(places))
    yield _predict(Source(kind="constant", name="end_of_frame"), next(places), last=True)


def _predict(token: Source, place: int, *, last: bool = False) -> Call:
    """A token is read; with the last one of a prompt or frame, all of its keys and values enter the ring."""
    own = [f"own_{name}" for name in CACHE]
    kept = CACHE if last else own
    return Call(
        component="predictor",
        inputs={
            "token": token,
            "place": Source(kind="constant", name=f"place_{place}"),
            "age": Source(kind="age", name=RING),
            **{name: Source(kind="state", name=name) for name in (*CACHE, *own)},
        },
        outputs={
            "logits": Sink(kind="state", name="logits"),
            **{f"next_{name}": Sink(kind="state", name=state) for name, state in zip(own, kept, strict=True)},
        },
    )


def _choose(spot: int, *, sampled: bool) -> Call:
    noise = {"noise": Source(kind="input", name="noise", at=spot)} if sampled else {}
    return Call(
        component="sampler",
        inputs={
            "spot": Source(kind="constant", name=f"spot_{spot}"),
            **{name: Source(kind="state", name=name) for name in ("logits", *CHOICES)},
            **noise,
        },
        outputs={
            "token": Sink(kind="value", name="token"),
            **{f"next_{name}": Sink(kind="state", name=name) for name in CHOICES},
        },
    )


def _decode(pasts: tuple[TensorSpec, ...]) -> Call:
    return Call(
        component="decoder",
        inputs={name: Source(kind="state", name=name) for name in ("codes", *(past.name for past in pasts))},
        outputs={
            "frame": Sink(kind="value", name="frame"),
            **{f"next_{past.name}": Sink(kind="state", name=past.name) for past in pasts},
        },
    )


def _next(tensor: TensorSpec) -> TensorSpec:
    return tensor.model_copy(update={"name": f"next_{tensor.name}"})


def _tensor(name: str, shape: tuple[int, ...], dtype: DType = "float32", unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype, unit=unit)
