"""The GWM family's frame program, from its config alone: no weights and no torch, so that `inspect` answers at once."""

from porting.adapters.gwm.config import GwmConfig
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent standard deviations"
FRAME_UNIT = "of full brightness"


def build_program(config: GwmConfig) -> Program:
    """The frame program: prime with `context_frames` real frames, then denoise, commit and decode every frame."""
    context = TensorSpec(name="context", shape=_clip_shape(config), dtype="float32", unit=FRAME_UNIT)
    actions = _float("context_actions", (1, config.context_frames, config.action_width), config.action_unit)
    levels = config.sampler.noise_levels
    starts = {f"noise_level_{step}": (level,) for step, level in enumerate(levels)}
    return Program(
        components=tuple(build_components(config)),
        inputs=(
            InputSpec(tensor=context, scope="session", kind="context"),
            InputSpec(tensor=actions, scope="session", kind="action"),
            InputSpec(
                tensor=_float("action", (1, config.action_width), config.action_unit), scope="frame", kind="action"
            ),
            InputSpec(tensor=_latent(config, "noise"), scope="frame", kind="noise"),
        ),
        rings=(RingSpec(name="memory", window=config.denoiser.window, sink=config.denoiser.sink),),
        states=tuple(_build_states(config)),
        constants={**starts, "clean": (0.0,), "commit_level": (config.sampler.commit_noise_level,)},
        prime=tuple(_build_prime(config)),
        frame=tuple(_build_frame(config)),
    )


def build_components(config: GwmConfig) -> list[ComponentSpec]:
    """Inputs and outputs of every component, in the order of its module's forward."""
    caches = [_float(f"cache_{i}", shape) for i, shape in enumerate(_cache_shapes(config))]
    next_caches = [cache.model_copy(update={"name": f"next_{cache.name}"}) for cache in caches]
    frame = TensorSpec(
        name="frame", shape=(1, 3, config.frame_height, config.frame_width), dtype="float32", unit=FRAME_UNIT
    )
    latents = _float("latents", (1, config.context_frames, *config.latent_shape), LATENT_UNIT)
    frames = TensorSpec(name="frames", shape=_clip_shape(config), dtype="float32", unit=FRAME_UNIT)
    latent = _latent(config, "latent")
    return [
        ComponentSpec(name="encoder", inputs=(frames,), outputs=(latents,)),
        ComponentSpec(
            name="denoiser",
            inputs=(
                latent,
                _history(config, "history"),
                _float("noise_level", (1,)),
                _float("next_noise_level", (1,)),
                _float("action", (1, config.action_width), config.action_unit),
                TensorSpec(name="age", shape=(config.denoiser.window,), dtype="int64"),
                *(_float(name, _ring_shape(config)) for name in _ring_names(config)),
            ),
            outputs=(
                _latent(config, "next_latent"),
                _history(config, "next_history"),
                *(_float(f"new_{name}", _slice_shape(config)) for name in _ring_names(config)),
            ),
        ),
        ComponentSpec(name="decoder_first", inputs=(latent,), outputs=(frame, *next_caches)),
        ComponentSpec(name="decoder", inputs=(latent, *caches), outputs=(frame, *next_caches)),
    ]


def _build_states(config: GwmConfig) -> list[StateSpec]:
    rings = [
        StateSpec(tensor=_float(name, _ring_shape(config)), update="ring", ring="memory", slot_axis=2)
        for name in _ring_names(config)
    ]
    caches = [
        StateSpec(tensor=_float(f"cache_{i}", shape), update="replace") for i, shape in enumerate(_cache_shapes(config))
    ]
    return [StateSpec(tensor=_history(config, "history"), update="replace"), *rings, *caches]


def _build_prime(config: GwmConfig) -> list[Call]:
    """Encode the context, commit each of its latents, decode them all so that the decoder's caches are warm."""
    encode = Call(
        component="encoder",
        inputs={"frames": Source(kind="input", name="context")},
        outputs={"latents": Sink(kind="value", name="latents")},
    )
    calls = [encode]
    for t in range(config.context_frames):
        latent = Source(kind="value", name="latents", at=t)
        calls.append(_commit(config, latent, Source(kind="input", name="context_actions", at=t)))
        calls.append(_decode(config, latent, first=t == 0))
    return calls


def _build_frame(config: GwmConfig) -> list[Call]:
    """One denoising call a noise level, each handing its latent to the next; then commit and decode."""
    action = Source(kind="input", name="action")
    latent = Source(kind="input", name="noise")
    calls = []
    steps = len(config.sampler.noise_levels)
    for step in range(steps):
        following = f"noise_level_{step + 1}" if step + 1 < steps else "clean"
        made = f"latent_{step + 1}"
        calls.append(
            Call(
                component="denoiser",
                inputs=_denoiser_inputs(config, latent, action, f"noise_level_{step}", following),
                outputs={"next_latent": Sink(kind="value", name=made)},
            )
        )
        latent = Source(kind="value", name=made)
    return [*calls, _commit(config, latent, action), _decode(config, latent, first=False)]


def _commit(config: GwmConfig, latent: Source, action: Source) -> Call:
    """Show a finished frame to the denoiser: its keys and values enter the ring, its latent the history."""
    return Call(
        component="denoiser",
        inputs=_denoiser_inputs(config, latent, action, "commit_level", "clean"),
        outputs={
            "next_history": Sink(kind="state", name="history"),
            **{f"new_{name}": Sink(kind="state", name=name) for name in _ring_names(config)},
        },
    )


def _decode(config: GwmConfig, latent: Source, *, first: bool) -> Call:
    caches = [f"cache_{i}" for i in range(len(_cache_shapes(config)))]
    past = {} if first else {name: Source(kind="state", name=name) for name in caches}
    return Call(
        component="decoder_first" if first else "decoder",
        inputs={"latent": latent, **past},
        outputs={
            "frame": Sink(kind="value", name="frame"),
            **{f"next_{name}": Sink(kind="state", name=name) for name in caches},
        },
    )


def _denoiser_inputs(
    config: GwmConfig, latent: Source, action: Source, level: str, next_level: str
) -> dict[str, Source]:
    return {
        "latent": latent,
        "history": Source(kind="state", name="history"),
        "noise_level": Source(kind="constant", name=level),
        "next_noise_level": Source(kind="constant", name=next_level),
        "action": action,
        "age": Source(kind="age", name="memory"),
        **{name: Source(kind="state", name=name) for name in _ring_names(config)},
    }


def _ring_names(config: GwmConfig) -> list[str]:
    return [f"{kind}_{layer}" for layer in range(config.denoiser.depth) for kind in ("key", "value")]


def _slice_shape(config: GwmConfig) -> tuple[int, ...]:
    """(1, heads, tokens, head_width): one frame's keys or values in one layer."""
    denoiser = config.denoiser
    return (1, denoiser.heads, config.tokens_per_frame, denoiser.head_width)


def _ring_shape(config: GwmConfig) -> tuple[int, ...]:
    batch, heads, tokens, head_width = _slice_shape(config)
    return (batch, heads, config.denoiser.window, tokens, head_width)


def _cache_shapes(config: GwmConfig) -> list[tuple[int, ...]]:
    """Shape (1, (temporal_kernel - 1) * C, h, w) of every causal layer's cache; equal to `Decoder.cache_shapes`."""
    autoencoder = config.autoencoder
    channels, height, width = config.latent_shape
    coarse_to_fine = autoencoder.widths[::-1]
    past = autoencoder.temporal_kernel - 1
    # The first convolution and the first block work at the latent's resolution, each later block at twice the last.
    levels = [(channels, 0), *((wide, level) for level, wide in enumerate(coarse_to_fine))]
    return [(1, past * wide, height * 2**level, width * 2**level) for wide, level in levels]


def _clip_shape(config: GwmConfig) -> tuple[int, ...]:
    return (1, config.context_frames, 3, config.frame_height, config.frame_width)


def _latent(config: GwmConfig, name: str) -> TensorSpec:
    return _float(name, (1, *config.latent_shape), LATENT_UNIT)


def _history(config: GwmConfig, name: str) -> TensorSpec:
    return _float(name, (1, 2, *config.latent_shape), LATENT_UNIT)


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
