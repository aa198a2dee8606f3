"""Builds V-JEPA 2 from a checkpoint's config: the classes of transformers inside components, and the frame program."""

from transformers import VJEPA2Config as PublishedConfig
from transformers import VJEPA2Model

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.empty import empty_parameters
from porting.adapters.latent_view import LatentView
from porting.adapters.vjepa2.config import Vjepa2Config, read_config
from porting.adapters.vjepa2.modules import Encoder, Predictor
from porting.adapters.vjepa2.program import build_program
from porting.adapters.vjepa2.renaming import convert_model
from porting.checkpoint import Checkpoint


def build(checkpoint: Checkpoint) -> Blueprint:
    """The model that a config describes, without weights.

    Raises:
        ConfigError: a value of the config is impossible.
    """
    config = read_config(checkpoint)
    model = build_model(config)
    viewer = LatentView(config.grid, config.hidden_size)
    return Blueprint(
        family="vjepa2",
        config=config.model_dump(mode="json"),
        program=build_program(config, viewer.frame_shape),
        modules={
            "encoder": Encoder(model.encoder, config.context_tubelets),
            "predictor": Predictor(model.predictor),
            "viewer": viewer,
        },
        parts={"model": Part(model, checkpoint, convert_model, ignored=("pooler.*", "classifier.*"))},
        part_of={"encoder": "model", "predictor": "model"},
        sizes=Sizes(
            component="predictor",
            layers=config.pred_num_hidden_layers,
            width=config.pred_hidden_size,
            heads=config.pred_num_attention_heads,
            mlp_width=int(config.pred_hidden_size * config.pred_mlp_ratio),
            tokens=(config.context_tubelets + 1) * config.tokens,
        ),
    )


def build_model(config: Vjepa2Config) -> VJEPA2Model:
    """The class of transformers with parameters on the meta device."""
    published = PublishedConfig(**config.model_dump())
    with empty_parameters():
        return VJEPA2Model(published).eval()
