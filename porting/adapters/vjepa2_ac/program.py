"""V-JEPA 2-AC's frame programs: a rollout under given actions, and one whose actions a planner chooses."""

from porting.adapters.latent_view import FRAME_UNIT
from porting.adapters.vjepa2_ac.config import GRIPPER, TRANSLATION, Settings, Vjepa2AcConfig
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent standard deviations"
PLANNED = TRANSLATION + GRIPPER
"""Values of an action that are planned: it does not turn."""


def build_program(config: Vjepa2AcConfig, settings: Settings, frame_shape: tuple[int, ...]) -> Program:
    """A session opens with a window of real frames, their poses and actions; with a planner, with a goal picture too.

    The window is rolled: the oldest frame leaves when the predicted one enters. Positions count from the window's
    oldest frame, so they stay the same for ever.
    """
    planning = settings.mode == "plan"
    states = _states(config, settings)
    goal = _float("goal", (1, config.tokens, config.hidden_size), LATENT_UNIT)
    window, width = settings.window, config.action_width
    clip = TensorSpec(
        name="frames",
        shape=(1, window + planning, 3, config.crop_size, config.crop_size),
        dtype="float32",
        unit="of full brightness",
    )
    noises = [_float(f"noise_{i}", _noise_shape(settings)) for i in range(settings.iterations if planning else 0)]
    limits = (*([settings.max_translation] * TRANSLATION), *([settings.max_gripper] * GRIPPER))
    start = {
        "start_mean": (0.0,) * (PLANNED * settings.horizon),
        "start_std": limits * settings.horizon,
    }  # fmt: skip
    return Program(
        components=tuple(_components(config, settings, clip, goal, frame_shape)),
        inputs=(
            InputSpec(tensor=clip, scope="session", kind="context"),
            InputSpec(tensor=_float("first_poses", (1, window, width)), scope="session", kind="action"),
            InputSpec(tensor=_float("first_actions", (1, window - 1, width)), scope="session", kind="action"),
            *(InputSpec(tensor=noise, scope="frame", kind="noise") for noise in noises),
            *(() if planning else (InputSpec(tensor=_float("action", (1, width)), scope="frame", kind="action"),)),
        ),
        states=tuple(StateSpec(tensor=t, update="replace") for t in (*states, *((goal,) if planning else ()))),
        constants=start if planning else {},
        prime=tuple(_prime(planning)),
        frame=tuple(_frame(settings)),
    )


def _components(
    config: Vjepa2AcConfig, settings: Settings, clip: TensorSpec, goal: TensorSpec, frame_shape: tuple[int, ...]
) -> list[ComponentSpec]:
    latents, past_actions, poses = _states(config, settings)
    planning = settings.mode == "plan"
    predicted = _renamed(goal, "predicted")
    action = _float("action", (1, config.action_width))
    opened = (_renamed(poses, "first_poses"), _renamed(past_actions, "first_actions"))
    following = tuple(_renamed(tensor, f"next_{tensor.name}") for tensor in (latents, past_actions, poses))
    found = [
        ComponentSpec(name="encoder", inputs=(clip,), outputs=(latents, *((goal,) if planning else ()))),
        ComponentSpec(name="opener", inputs=opened, outputs=(poses, past_actions)),
        ComponentSpec(
            name="predictor",
            inputs=(latents, past_actions, poses, action),
            outputs=(predicted, *following),
        ),
        ComponentSpec(
            name="viewer",
            inputs=(_renamed(predicted, "tokens"),),
            outputs=(_float("frame", frame_shape, FRAME_UNIT),),
        ),
    ]
    if planning:
        size = (PLANNED * settings.horizon,)
        distribution = (_float("mean", size), _float("std", size))
        found.append(
            ComponentSpec(
                name="planner",
                inputs=(latents, past_actions, poses, goal, *distribution, _float("noise", _noise_shape(settings))),
                outputs=(_float("next_mean", size), _float("next_std", size), action),
            )
        )
    return found


def _prime(planning: bool) -> list[Call]:
    encoded = {"latents": Sink(kind="state", name="latents")}
    if planning:
        encoded["goal"] = Sink(kind="state", name="goal")
    return [
        Call(component="encoder", inputs={"frames": Source(kind="input", name="frames")}, outputs=encoded),
        Call(
            component="opener",
            inputs={name: Source(kind="input", name=name) for name in ("first_poses", "first_actions")},
            outputs={name: Sink(kind="state", name=name) for name in ("poses", "past_actions")},
        ),
    ]


def _frame(settings: Settings) -> list[Call]:
    window = {name: Source(kind="state", name=name) for name in ("latents", "past_actions", "poses")}
    calls: list[Call] = []
    action = Source(kind="input", name="action")
    if settings.mode == "plan":
        calls = [_plan(window, i, last=i == settings.iterations - 1) for i in range(settings.iterations)]
        action = Source(kind="value", name="planned_action")
    step = Call(
        component="predictor",
        inputs={**window, "action": action},
        outputs={
            "predicted": Sink(kind="value", name="predicted"),
            **{f"next_{name}": Sink(kind="state", name=name) for name in window},
        },
    )
    view = Call(
        component="viewer",
        inputs={"tokens": Source(kind="value", name="predicted")},
        outputs={"frame": Sink(kind="value", name="frame")},
    )
    return [*calls, step, view]


def _plan(window: dict[str, Source], iteration: int, *, last: bool) -> Call:
    """One iteration: from the widest distribution, or from that of the iteration before."""
    names = ("mean", "std")
    before = {
        name: Source(kind="value", name=f"{name}_{iteration}")
        if iteration
        else Source(kind="constant", name=f"start_{name}")
        for name in names
    }
    return Call(
        component="planner",
        inputs={
            **window,
            "goal": Source(kind="state", name="goal"),
            **before,
            "noise": Source(kind="input", name=f"noise_{iteration}"),
        },
        outputs={
            **{f"next_{name}": Sink(kind="value", name=f"{name}_{iteration + 1}") for name in names},
            **({"action": Sink(kind="value", name="planned_action")} if last else {}),
        },
    )


def _states(config: Vjepa2AcConfig, settings: Settings) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
    """Latents, past actions and poses of the window."""
    window, width = settings.window, config.action_width
    return (
        _float("latents", (1, window, config.tokens, config.hidden_size), LATENT_UNIT),
        _float("past_actions", (1, window - 1, width)),
        _float("poses", (1, window, width)),
    )


def _noise_shape(settings: Settings) -> tuple[int, ...]:
    return (settings.samples, settings.horizon, PLANNED)


def _renamed(tensor: TensorSpec, name: str) -> TensorSpec:
    return tensor.model_copy(update={"name": name})


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
