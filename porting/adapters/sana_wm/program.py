"""SANA-WM's frame program: a clip under a camera's path, denoised as a whole from the latent that opens it."""

from porting.adapters.latent_view import FRAME_UNIT
from porting.adapters.sana_wm.config import CAMERA_WIDTH, Clip, Settings
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent standard deviations"
CAMERA_UNIT = "pose in the first camera's frame; focal lengths and centre in latents"
PATH = ("camera", "ray_map")


def build_program(clip: Clip, settings: Settings, frame_shape: tuple[int, ...]) -> Program:
    """`frame` is one clip: as many denoiser calls as steps, and the view of what was made.

    Clips share their session's opening latent and prompts, each has a camera's path of its own; nothing else is kept.
    """
    sigmas = settings.sigmas
    first = _float("first_latent", clip.latents_shape(1), LATENT_UNIT)
    latents = _float("latents", clip.latents_shape(clip.frames - 1), LATENT_UNIT)
    camera = _float("camera", (1, clip.frames, CAMERA_WIDTH), CAMERA_UNIT)
    ray_map = _float("ray_map", (1, clip.frames, clip.ray_channels, clip.height, clip.width))
    prompts = [_float(name, shape) for name, shape in _prompts(clip, settings).items()]
    made = latents.model_copy(update={"name": "next_latents"})
    given = (latents, _float("timestep", (1,)), _float("step", (1,)), first, camera, ray_map, *prompts)
    frame = _float("frame", frame_shape, FRAME_UNIT)
    timesteps = settings.timesteps
    return Program(
        components=(
            ComponentSpec(name="denoiser", inputs=given, outputs=(made,)),
            ComponentSpec(name="view", inputs=(latents,), outputs=(frame,)),
        ),
        inputs=(
            InputSpec(tensor=first, scope="session", kind="conditioning"),
            *(InputSpec(tensor=prompt, scope="session", kind="conditioning") for prompt in prompts),
            InputSpec(tensor=camera, scope="frame", kind="action"),
            InputSpec(tensor=ray_map, scope="frame", kind="conditioning"),
            InputSpec(tensor=latents.model_copy(update={"name": "noise"}), scope="frame", kind="noise"),
        ),
        states=(),
        constants={
            **{f"timestep_{index}": (timestep,) for index, timestep in enumerate(timesteps)},
            **{f"step_{index}": (sigmas[index + 1] - sigma,) for index, sigma in enumerate(sigmas[:-1])},
        },
        prime=(),
        frame=tuple(_frame(clip, settings)),
        pictures_per_frame=clip.frames - 1,
    )


def _frame(clip: Clip, settings: Settings) -> list[Call]:
    latents = Source(kind="input", name="noise")
    calls = []
    for index in range(settings.steps):
        calls.append(
            Call(
                component="denoiser",
                inputs={
                    "latents": latents,
                    "timestep": Source(kind="constant", name=f"timestep_{index}"),
                    "step": Source(kind="constant", name=f"step_{index}"),
                    **{n: Source(kind="input", name=n) for n in ("first_latent", *PATH, *_prompts(clip, settings))},
                },
                outputs={"next_latents": Sink(kind="value", name=f"latents_{index + 1}")},
            )
        )
        latents = Source(kind="value", name=f"latents_{index + 1}")
    show = Call(component="view", inputs={"latents": latents}, outputs={"frame": Sink(kind="value", name="frame")})
    return [*calls, show]


def _prompts(clip: Clip, settings: Settings) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what is told in words."""
    names = ("prompt", "negative_prompt") if settings.guided else ("prompt",)
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        shapes |= {name: (1, clip.prompt_tokens, clip.prompt_width), f"{name}_mask": (1, clip.prompt_tokens)}
    return shapes


def _float(name: str, shape: tuple[int, ...], unit: str = "") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", unit=unit)
