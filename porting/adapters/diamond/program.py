"""DIAMOND's frame program: the sampler's steps, then reward and end, then the past rolled on by one observation."""

from porting.adapters.diamond.config import DiamondConfig, Settings
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

FRAME_UNIT = "of full brightness"
PIXEL_UNIT = "halves of full brightness"
ONE_HOT = "one-hot: 1 at the chosen one of the discrete actions"
LOGIT = "natural logarithm of odds"
REWARDS, ENDS = 3, 2


def build_program(config: DiamondConfig, settings: Settings) -> Program:
    """A session opens with as many real frames as the network sees, and the actions between them.

    These run the reward and end model in, so that its memory knows the game so far. Noise goes in as it is drawn, with
    unit variance, as the published sampler begins. Reward and end leave as logits: to draw from them is the host's.
    """
    _, seen, _, _, _ = config.observations
    states = _states(config)
    observations, past_actions, *_ = states
    clip = TensorSpec(name="frames", shape=config.observations, dtype="float32", unit=FRAME_UNIT)
    first_actions = past_actions.model_copy(update={"name": "first_actions"})
    action = _float("action", (1, config.num_actions), ONE_HOT)
    noise = _float("noise", _picture(config))
    return Program(
        components=tuple(_components(config, settings, clip, action)),
        inputs=(
            InputSpec(tensor=clip, scope="session", kind="context"),
            InputSpec(tensor=first_actions, scope="session", kind="action"),
            InputSpec(tensor=noise, scope="frame", kind="noise"),
            InputSpec(tensor=action, scope="frame", kind="action"),
        ),
        states=tuple(StateSpec(tensor=tensor, update="replace") for tensor in states),
        constants={f"sigma_{step}": (sigma,) for step, sigma in enumerate(settings.sigmas)},
        prime=(
            Call(
                component="opener",
                inputs={name: Source(kind="input", name=name) for name in (clip.name, first_actions.name)},
                outputs={
                    "observations": Sink(kind="state", name=observations.name),
                    "past_actions": Sink(kind="state", name=past_actions.name),
                },
            ),
            *(
                _judge(
                    Source(kind="state", name=observations.name, at=index),
                    Source(kind="input", name=first_actions.name, at=index),
                    Source(kind="state", name=observations.name, at=index + 1),
                )
                for index in range(seen - 1)
            ),
        ),
        frame=tuple(_frame(settings, seen)),
    )


def _components(config: DiamondConfig, settings: Settings, clip: TensorSpec, action: TensorSpec) -> list[ComponentSpec]:
    observations, past_actions, hidden, cell = _states(config)
    latents = _float("latents", _picture(config), PIXEL_UNIT)
    levels = (_float("sigma", (1,)), _float("next_sigma", (1,)))
    past = (observations, past_actions, action)
    found = [
        ComponentSpec(
            name="opener",
            inputs=(clip, _renamed(past_actions, "first_actions")),
            outputs=(observations, past_actions),
        ),
        ComponentSpec(name="denoiser", inputs=(latents, *levels, *past), outputs=(_renamed(latents, "next_latents"),)),
        ComponentSpec(
            name="rew_end",
            inputs=(
                _renamed(latents, "observation"),
                action,
                _renamed(latents, "next_observation"),
                hidden,
                cell,
            ),
            outputs=(
                _float("reward_logits", (1, REWARDS), LOGIT),
                _float("end_logits", (1, ENDS), LOGIT),
                _renamed(hidden, "next_hidden"),
                _renamed(cell, "next_cell"),
            ),
        ),
        ComponentSpec(
            name="recorder",
            inputs=(latents, *past),
            outputs=(
                _float("frame", _picture(config), FRAME_UNIT),
                _renamed(observations, "next_observations"),
                _renamed(past_actions, "next_past_actions"),
            ),
        ),
    ]
    if _is_corrected(settings, 0):
        found.append(
            ComponentSpec(
                name="corrector",
                inputs=(latents, _renamed(latents, "stepped"), *levels, *past),
                outputs=(_renamed(latents, "next_latents"),),
            )
        )
    return found


def _frame(settings: Settings, seen: int) -> list[Call]:
    past = {
        "observations": Source(kind="state", name="observations"),
        "past_actions": Source(kind="state", name="past_actions"),
        "action": Source(kind="input", name="action"),
    }
    calls: list[Call] = []
    latents = Source(kind="input", name="noise")
    for step in range(settings.steps):
        levels = {
            "sigma": Source(kind="constant", name=f"sigma_{step}"),
            "next_sigma": Source(kind="constant", name=f"sigma_{step + 1}"),
        }
        corrected = _is_corrected(settings, step)
        made = Source(kind="value", name=f"{'stepped' if corrected else 'latents'}_{step + 1}")
        calls.append(_sample("denoiser", {"latents": latents, **levels, **past}, made))
        if corrected:
            stepped, made = made, Source(kind="value", name=f"latents_{step + 1}")
            calls.append(_sample("corrector", {"latents": latents, "stepped": stepped, **levels, **past}, made))
        latents = made
    present = Source(kind="state", name="observations", at=seen - 1)
    record = Call(
        component="recorder",
        inputs={"latents": latents, **past},
        outputs={
            "frame": Sink(kind="value", name="frame"),
            "next_observations": Sink(kind="state", name="observations"),
            "next_past_actions": Sink(kind="state", name="past_actions"),
        },
    )
    return [*calls, _judge(present, past["action"], latents), record]


def _sample(component: str, inputs: dict[str, Source], made: Source) -> Call:
    return Call(component=component, inputs=inputs, outputs={"next_latents": Sink(kind="value", name=made.name)})


def _judge(observation: Source, action: Source, following: Source) -> Call:
    return Call(
        component="rew_end",
        inputs={
            "observation": observation,
            "action": action,
            "next_observation": following,
            "hidden": Source(kind="state", name="hidden"),
            "cell": Source(kind="state", name="cell"),
        },
        outputs={
            "reward_logits": Sink(kind="value", name="reward_logits"),
            "end_logits": Sink(kind="value", name="end_logits"),
            "next_hidden": Sink(kind="state", name="hidden"),
            "next_cell": Sink(kind="state", name="cell"),
        },
    )


def _is_corrected(settings: Settings, step: int) -> bool:
    """Whether Heun's method runs the network a second time: not in the step that ends without noise."""
    return settings.order == 2 and step < settings.steps - 1


def _states(config: DiamondConfig) -> tuple[TensorSpec, TensorSpec, TensorSpec, TensorSpec]:
    """Observations, past actions, and the memory of the reward and end model."""
    memory = (1, 1, config.rew_end_model.lstm_dim)
    seen = config.observations[1]
    return (
        _float("observations", config.observations, PIXEL_UNIT),
        _float("past_actions", (1, seen - 1, config.num_actions), ONE_HOT),
        _float("hidden", memory),
        _float("cell", memory),
    )


def _picture(config: DiamondConfig) -> tuple[int, ...]:
    """(1, 3, H, W)."""
    return (1, *config.observations[2:])


def _renamed(tensor: TensorSpec, name: str) -> TensorSpec:
    return tensor.model_copy(update={"name": name})


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
