"""V-JEPA 2's frame program: encode a clip once, then predict one tubelet's latents after another from those before."""

from porting.adapters.latent_view import FRAME_UNIT
from porting.adapters.vjepa2.config import Vjepa2Config
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

LATENT_UNIT = "latent values after the encoder's norm"


def build_program(config: Vjepa2Config, frame_shape: tuple[int, ...]) -> Program:
    """The window of latents is rolled: the oldest tubelet leaves when the predicted one enters.

    Positions count from the window's oldest tubelet, as in a clip, so they stay the same for ever.
    """
    frames = config.context_tubelets * config.tubelet_size
    shape = (1, frames, 3, config.crop_size, config.crop_size)
    clip = TensorSpec(name="clip", shape=shape, dtype="float32", unit="of full brightness")
    latents = _latents(config, "latents", config.context_tubelets)
    predicted = TensorSpec(
        name="predicted", shape=(1, config.tokens, config.hidden_size), dtype="float32", unit=LATENT_UNIT
    )
    frame = TensorSpec(name="frame", shape=frame_shape, dtype="float32", unit=FRAME_UNIT)
    return Program(
        components=(
            ComponentSpec(name="encoder", inputs=(clip,), outputs=(latents,)),
            ComponentSpec(
                name="predictor",
                inputs=(latents,),
                outputs=(predicted, _latents(config, "next_latents", config.context_tubelets)),
            ),
            ComponentSpec(name="viewer", inputs=(predicted.model_copy(update={"name": "tokens"}),), outputs=(frame,)),
        ),
        inputs=(InputSpec(tensor=clip, scope="session", kind="context"),),
        states=(StateSpec(tensor=latents, update="replace"),),
        prime=(
            Call(
                component="encoder",
                inputs={"clip": Source(kind="input", name="clip")},
                outputs={"latents": Sink(kind="state", name="latents")},
            ),
        ),
        frame=(
            Call(
                component="predictor",
                inputs={"latents": Source(kind="state", name="latents")},
                outputs={
                    "predicted": Sink(kind="value", name="predicted"),
                    "next_latents": Sink(kind="state", name="latents"),
                },
            ),
            Call(
                component="viewer",
                inputs={"tokens": Source(kind="value", name="predicted")},
                outputs={"frame": Sink(kind="value", name="frame")},
            ),
        ),
    )


def _latents(config: Vjepa2Config, name: str, tubelets: int) -> TensorSpec:
    return TensorSpec(
        name=name, shape=(1, tubelets, config.tokens, config.hidden_size), dtype="float32", unit=LATENT_UNIT
    )
