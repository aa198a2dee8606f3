"""Builds V-JEPA 2-AC: transformers' encoder, the action-conditioned predictor, and the rollout or the planner."""

from functools import partial

import numpy as np
from torch import Tensor, nn
from transformers import VJEPA2Config as PublishedConfig
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.empty import empty_parameters
from porting.adapters.latent_view import LatentView
from porting.adapters.names import inside, strip_wrappers
from porting.adapters.published import read_settings
from porting.adapters.samples import draw_actions, draw_clip
from porting.adapters.vjepa2.renaming import convert_encoder
from porting.adapters.vjepa2_ac.config import TRANSLATION, Settings, Vjepa2AcConfig, read_config
from porting.adapters.vjepa2_ac.modules import FrameEncoder, Opener, Planner, Step
from porting.adapters.vjepa2_ac.predictor import CONDITIONING, ActionPredictor
from porting.adapters.vjepa2_ac.program import build_program
from porting.adapters.world_model import SampleSession
from porting.checkpoint import Checkpoint
from porting.program import Program

IGNORED = ("predictor.extrinsics_encoder.*",)
"""Of a camera's pose, which the published rollout does not give."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The model that config.json, worldport.json and the tensors' shapes describe, without weights.

    Raises:
        ConfigError: a value of either file is impossible, or a size is told by neither.
    """
    config, settings = read_config(checkpoint), read_settings(Settings, checkpoint)
    with empty_parameters():
        encoder, predictor = build_encoder(config), ActionPredictor(config, settings.window)
    viewer = LatentView(config.grid, config.hidden_size)
    planning = settings.mode == "plan"
    modules: dict[str, nn.Module] = {
        "encoder": FrameEncoder(encoder, goal=planning),
        "opener": Opener(),
        "predictor": Step(predictor),
        "viewer": viewer,
    }
    if planning:
        modules["planner"] = Planner(predictor, settings)
    whole = nn.ModuleDict({"encoder": encoder, "predictor": predictor})
    return Blueprint(
        family="vjepa2_ac",
        config={**config.model_dump(mode="json"), "worldport": settings.model_dump(mode="json")},
        program=build_program(config, settings, viewer.frame_shape),
        modules=modules,
        parts={"model": Part(whole, checkpoint, convert, IGNORED)},
        part_of=dict.fromkeys(("encoder", "predictor", *(("planner",) if planning else ())), "model"),
        sizes=Sizes(
            component="predictor",
            layers=config.pred_num_hidden_layers,
            width=config.pred_hidden_size,
            heads=config.pred_num_attention_heads,
            mlp_width=config.pred_mlp_width,
            tokens=settings.window * (config.tokens + CONDITIONING),
        ),
        draw_samples=partial(draw_session, settings),
    )


def build_encoder(config: Vjepa2AcConfig) -> nn.Module:
    """The encoder of transformers in these sizes."""
    published = PublishedConfig(
        patch_size=config.patch_size,
        crop_size=config.crop_size,
        frames_per_clip=config.tubelet_size,
        tubelet_size=config.tubelet_size,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        num_hidden_layers=config.num_hidden_layers,
        mlp_ratio=config.mlp_width / config.hidden_size,
        attn_implementation="sdpa",
    )
    encoder: nn.Module = VJEPA2Encoder(published)
    return encoder


def convert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors to transformers' names; the predictor's, whose names are kept, out of their wrappers."""
    encoder = convert_encoder(strip_wrappers(inside(tensors, "encoder.")))
    predictor = strip_wrappers(inside(tensors, "predictor."))
    return {f"encoder.{name}": t for name, t in encoder.items()} | {
        f"predictor.{name}": t for name, t in predictor.items()
    }


def draw_session(settings: Settings, program: Program, generator: np.random.Generator, frames: int) -> SampleSession:
    """One random session whose actions are as large as the model's own planner would make them."""
    shapes = {given.tensor.name: given.tensor.shape for given in program.inputs}
    size = np.full(shapes["first_poses"][-1], settings.max_translation, np.float32)
    size[TRANSLATION:] = settings.max_translation / 2  # radians, and how far the gripper moves
    before = draw_actions(generator, shapes["first_actions"][1], (1, len(size))).transpose(1, 0, 2) * size
    session = {
        "frames": draw_clip(generator, shapes["frames"]),
        "first_actions": np.ascontiguousarray(before),
        "first_poses": generator.normal(0, 0.1, shapes["first_poses"]).astype(np.float32),
    }
    actions = draw_actions(generator, frames, (1, len(size))) * size
    return SampleSession(session, {"action": actions} if "action" in shapes else {})
