"""Builds SANA-WM's first stage from its transformer, alone or in the published pipeline."""

from typing import Any

import numpy as np
import numpy.typing as npt
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from scipy.spatial.transform import Rotation
from torch import nn

from porting.adapters.blueprint import Blueprint, Part, Sizes
from porting.adapters.published import build_diffusers, read_settings
from porting.adapters.samples import draw_session
from porting.adapters.sana_wm.config import CAMERA_WIDTH, SPACE_SCALE, TIME_SCALE, Clip, Settings
from porting.adapters.sana_wm.modules import Denoiser, View
from porting.adapters.sana_wm.program import build_program
from porting.adapters.sana_wm.transformer import UNUSED, Transformer
from porting.adapters.world_model import SampleSession
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError
from porting.program import Program

PART = "transformer"
STRIDE, TURN = 0.2, 0.1
"""How far a random camera moves and turns from latent frame to latent frame."""


def build(checkpoint: Checkpoint) -> Blueprint:
    """The clip that the transformer's config and worldport.json describe, without weights.

    Raises:
        CheckpointError: a pipeline lacks the transformer.
        ConfigError: a value is impossible.
    """
    settings = read_settings(Settings, checkpoint)
    source = checkpoint.select((PART,)).part(PART) if checkpoint.parts else checkpoint
    transformer = build_transformer(source)
    config = transformer.config
    clip = measure_clip(checkpoint, settings, config)
    view = View(clip)
    modules: dict[str, nn.Module] = {
        "denoiser": Denoiser(Transformer(transformer, clip), settings.guidance_scale),
        "view": view,
    }
    frames, rows, columns = clip.grid
    return Blueprint(
        family="sana_wm",
        config={PART: dict(source.config), "worldport": settings.model_dump(mode="json")},
        program=build_program(clip, settings, view.frame_shape),
        modules=modules,
        parts={PART: Part(transformer, source, ignored=UNUSED)},
        part_of={"denoiser": PART},
        sizes=Sizes(
            component="denoiser",
            layers=config.num_layers,
            width=config.hidden_size,
            heads=config.hidden_size // config.linear_head_dim,
            mlp_width=int(config.hidden_size * config.mlp_ratio),
            tokens=frames * rows * columns,
        ),
        draw_samples=draw_path,
    )


def build_transformer(part: Checkpoint) -> Any:
    """A `SanaWMTransformer3DModel` without weights.

    Raises:
        ConfigError: a value is impossible, or of a variant that is not published.
    """
    transformer: Any = build_diffusers(SanaWMTransformer3DModel, part)
    config, where = transformer.config, part.config_path
    wanted = {
        "use_chunk_plucker_post_attn": True, "cam_attn_compress": 1, "use_pe": True, "pred_sigma": False,
        "ffn_type": "GLUMBConvTemp",
    }  # fmt: skip
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise ConfigError(f"{where}: {name} {getattr(config, name)!r}: only {value!r} is published; correct it")
    if config.linear_head_dim % 8 or config.hidden_size % config.linear_head_dim:
        raise ConfigError(
            f"{where}: linear_head_dim {config.linear_head_dim} must be a multiple of 8 that divides hidden_size"
            f" {config.hidden_size}; correct it"
        )
    return transformer


def measure_clip(checkpoint: Checkpoint, settings: Settings, transformer: Any) -> Clip:
    """A clip's sizes in latents.

    Raises:
        ConfigError: pictures or frames do not divide.
    """
    where, patch = checkpoint.settings_path, tuple(transformer.patch_size[1:])
    for name, side in zip(("height", "width"), patch, strict=True):
        cell = SPACE_SCALE * side
        if getattr(settings, name) % cell:
            raise ConfigError(f"{where}: {name} {getattr(settings, name)} is not a multiple of {cell}; change it")
    if settings.frames % TIME_SCALE != 1:
        raise ConfigError(f"{where}: frames {settings.frames} is not 1 more than a multiple of {TIME_SCALE}; change it")
    return Clip(
        channels=transformer.in_channels,
        frames=settings.frames // TIME_SCALE + 1,
        height=settings.height // SPACE_SCALE,
        width=settings.width // SPACE_SCALE,
        patch=patch,
        ray_channels=transformer.chunk_plucker_channels,
        prompt_tokens=settings.prompt_tokens,
        prompt_width=transformer.caption_channels,
    )


def draw_path(program: Program, generator: np.random.Generator, frames: int) -> SampleSession:
    """One random session: cameras that walk and look around, and prompts whose last words are missing."""
    drawn = draw_session(program, generator, frames)
    for name, array in drawn.session_inputs.items():
        if name.endswith("_mask"):
            words = int(generator.integers(1, array.shape[1], endpoint=True))
            array[:] = np.arange(array.shape[1]) < words
    _, count, _ = program.input("camera").tensor.shape
    shape = program.input("ray_map").tensor.shape
    paths = [_draw_camera(generator, count, shape[-2], shape[-1]) for _ in range(frames)]
    return SampleSession(drawn.session_inputs, {**drawn.frame_inputs, "camera": np.stack(paths)[:, None]})


def _draw_camera(generator: np.random.Generator, count: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """(count, 20): a steady walk and turn, the first camera at the world's centre."""
    walk, turn = generator.normal(0, STRIDE, 3), generator.normal(0, TURN, 3)
    path = np.zeros((count, CAMERA_WIDTH), np.float32)
    for moment in range(count):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(moment * turn).as_matrix(), moment * walk
        path[moment] = [*pose.ravel(), width, width, width / 2, height / 2]
    return path
