"""Oasis' frame program: DDIM's steps over the window, the decoder, and the window rolled on by one frame."""

from porting.adapters.oasis.config import OasisConfig, Settings
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent standard deviations"
FRAME_UNIT = "of full brightness"
ACTION_UNIT = "1 for a pressed key; camera in [-1, 1]"
PAST = ("context", "past_actions", "present")


def build_program(config: OasisConfig, settings: Settings) -> Program:
    """A session opens with a prompt of real frames, which stand at the newest places of the window.

    No keys or values are kept: the window is computed anew in every step, as the published script does. Places in time
    are relative, so that an empty place which is hidden is the same as one that is not there.
    """
    vae, width = config.vae, config.dit.external_cond_dim
    states = _states(config, settings)
    clip = TensorSpec(
        name="frames",
        shape=(1, settings.prompt_frames, 3, vae.input_height, vae.input_width),
        dtype="float32",
        unit=FRAME_UNIT,
    )
    first_actions = _float("first_actions", (1, settings.prompt_frames, width), ACTION_UNIT)
    action = _float("action", (1, width), ACTION_UNIT)
    levels, shares = settings.levels(config), config.signal_shares()
    kept = [*(shares[level] for level in levels), 1.0]
    return Program(
        components=tuple(_components(config, settings, clip, first_actions, action)),
        inputs=(
            InputSpec(tensor=clip, scope="session", kind="context"),
            InputSpec(tensor=first_actions, scope="session", kind="action"),
            InputSpec(tensor=_float("noise", (1, *config.latent_shape)), scope="frame", kind="noise"),
            InputSpec(tensor=action, scope="frame", kind="action"),
        ),
        states=tuple(StateSpec(tensor=tensor, update="replace") for tensor in states),
        constants={
            **{f"level_{step}": (float(level),) for step, level in enumerate(levels)},
            **{f"share_{step}": (share,) for step, share in enumerate(kept)},
        },
        prime=(
            Call(
                component="opener",
                inputs={name: Source(kind="input", name=name) for name in ("frames", "first_actions")},
                outputs={name: Sink(kind="state", name=name) for name in PAST},
            ),
        ),
        frame=tuple(_frame(settings)),
    )


def _components(
    config: OasisConfig, settings: Settings, clip: TensorSpec, first_actions: TensorSpec, action: TensorSpec
) -> list[ComponentSpec]:
    states = _states(config, settings)
    latents = _float("latents", (1, *config.latent_shape), LATENT_UNIT)
    picture = (1, 3, config.vae.input_height, config.vae.input_width)
    return [
        ComponentSpec(name="opener", inputs=(clip, first_actions), outputs=states),
        ComponentSpec(
            name="denoiser",
            inputs=(latents, *(_float(name, (1,)) for name in ("level", "share", "next_share")), *states, action),
            outputs=(_renamed(latents, "next_latents"),),
        ),
        ComponentSpec(name="decoder", inputs=(latents,), outputs=(_float("frame", picture, FRAME_UNIT),)),
        ComponentSpec(
            name="recorder",
            inputs=(latents, *states, action),
            outputs=tuple(_renamed(state, f"next_{state.name}") for state in states),
        ),
    ]


def _frame(settings: Settings) -> list[Call]:
    past = {name: Source(kind="state", name=name) for name in PAST}
    action = Source(kind="input", name="action")
    calls: list[Call] = []
    latents = Source(kind="input", name="noise")
    for step in range(settings.steps):
        made = Source(kind="value", name=f"latents_{step + 1}")
        calls.append(
            Call(
                component="denoiser",
                inputs={
                    "latents": latents,
                    "level": Source(kind="constant", name=f"level_{step}"),
                    "share": Source(kind="constant", name=f"share_{step}"),
                    "next_share": Source(kind="constant", name=f"share_{step + 1}"),
                    **past,
                    "action": action,
                },
                outputs={"next_latents": Sink(kind="value", name=made.name)},
            )
        )
        latents = made
    decode = Call(component="decoder", inputs={"latents": latents}, outputs={"frame": Sink(kind="value", name="frame")})
    roll = Call(
        component="recorder",
        inputs={"latents": latents, **past, "action": action},
        outputs={f"next_{name}": Sink(kind="state", name=name) for name in PAST},
    )
    return [*calls, decode, roll]


def _states(config: OasisConfig, settings: Settings) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
    """The past's latents and actions, and which of it is there."""
    past = settings.window - 1
    return (
        _float("context", (1, past, *config.latent_shape), LATENT_UNIT),
        _float("past_actions", (1, past, config.dit.external_cond_dim), ACTION_UNIT),
        _float("present", (1, past)),
    )


def _renamed(tensor: TensorSpec, name: str) -> TensorSpec:
    return tensor.model_copy(update={"name": name})


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
