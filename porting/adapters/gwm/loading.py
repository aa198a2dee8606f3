"""A GWM checkpoint's weights put into its modules, and the sessions that came with it. Layout: docs/checkpoints.md."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from porting.adapters.empty import empty_parameters
from porting.adapters.gwm.config import GwmConfig
from porting.adapters.gwm.layout import PARTS, check_tensors, read_config
from porting.adapters.gwm.program import build_program
from porting.adapters.gwm.samples import random_samples
from porting.adapters.gwm.world_model import build_modules, use_kernels
from porting.adapters.world_model import SampleSession, WorldModel
from porting.checkpoint import Checkpoint, open_checkpoint
from porting.checkpoint.opening import SAMPLE
from porting.checkpoint.weights import find_non_finite
from porting.checkpoint.widening import widen_weights
from porting.errors import CheckpointError

RANDOM_SEED, RANDOM_SESSIONS, RANDOM_FRAMES = 4242, 4, 512
"""Sessions for a checkpoint that brings none."""


def load(checkpoint: Checkpoint) -> WorldModel:
    """The checkpoint as a world model. Float32 weights stay mapped to their file; others are converted.

    Raises:
        ConfigError: config.json does not describe a GWM model.
        CheckpointError: a tensor is missing, unknown, misshapen or not finite, or the sample does not fit; names the
            file and the key.
    """
    config = read_config(checkpoint)
    check_tensors(checkpoint, config)
    modules = _build_empty(config)
    decoder = modules["decoder"].get_submodule("decoder")
    parts = dict(zip(PARTS, (modules["encoder"], modules["denoiser"], decoder), strict=True))
    stored = checkpoint.load()
    for name, tensor in stored.items():
        _check_values(checkpoint, name, tensor)
    weights = widen_weights(stored)
    for part, module in parts.items():
        own = {name.removeprefix(f"{part}."): t for name, t in weights.items() if name.startswith(f"{part}.")}
        module.load_state_dict(own, assign=True)
    samples, source = _load_samples(checkpoint, config)
    return WorldModel(
        name=checkpoint.name,
        family=config.family,
        digest=checkpoint.digest(),
        config=config.model_dump(mode="json"),
        program=build_program(config),
        modules={name: module.eval().requires_grad_(False) for name, module in modules.items()},
        samples=samples,
        sample_source=source,
        use_kernels=use_kernels,
    )


def _build_empty(config: GwmConfig) -> dict[str, nn.Module]:
    """The modules with parameters on the meta device; buffers, rotation tables among them, are computed for real."""
    with empty_parameters():
        return build_modules(config)


def _check_values(checkpoint: Checkpoint, name: str, tensor: Tensor) -> None:
    """Refuse a tensor that holds what is no number."""
    if found := find_non_finite(tensor):
        raise CheckpointError(
            f"{checkpoint.file_of[name]}: {name}: holds {found}; its training diverged or the file is damaged"
        )


def _load_samples(checkpoint: Checkpoint, config: GwmConfig) -> tuple[tuple[SampleSession, ...], str]:
    """The sessions beside the weights, or random ones; and where they come from, in words."""
    path = checkpoint.config_path.parent / SAMPLE
    if not path.exists():
        samples = random_samples(config, RANDOM_SEED, RANDOM_SESSIONS, RANDOM_FRAMES)
        return samples, f"smooth random frames and bursts of random actions, seed {RANDOM_SEED}: no {SAMPLE} is there"
    stored = open_checkpoint(path)
    if stored.tensors.keys() != {"frames", "actions"}:
        raise CheckpointError(
            f"{path}: has {sorted(stored.tensors)}, needs frames and actions; see docs/checkpoints.md"
        )
    tensors = stored.load()
    _check_sample(path, config, tensors["frames"], tensors["actions"])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return (
        tuple(_make_sessions(config, tensors["frames"], tensors["actions"])),
        f"sessions stored with the checkpoint ({SAMPLE}, sha256 {sha256[:16]})",
    )


def _check_sample(path: Path, config: GwmConfig, frames: Tensor, actions: Tensor) -> None:
    time, width = config.context_frames, config.action_width
    wanted = (time, 3, config.frame_height, config.frame_width)
    if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[1:] != wanted or not len(frames):
        raise CheckpointError(
            f"{path}: frames: is {tuple(frames.shape)} {frames.dtype}, needs (sessions, {', '.join(map(str, wanted))})"
            " uint8; make it anew, see docs/checkpoints.md"
        )
    fits = actions.ndim == 3 and len(actions) == len(frames) and actions.shape[1] > time and actions.shape[2] == width
    if actions.dtype != torch.float32 or not fits:
        raise CheckpointError(
            f"{path}: actions: is {tuple(actions.shape)} {actions.dtype}, needs ({len(frames)}, more than {time},"
            f" {width}) float32; make it anew, see docs/checkpoints.md"
        )
    if found := find_non_finite(actions):
        raise CheckpointError(f"{path}: actions: holds {found}; make it anew, see docs/checkpoints.md")


def _make_sessions(config: GwmConfig, frames: Tensor, actions: Tensor) -> Iterator[SampleSession]:
    """One session a row of frames uint8 (S, T, 3, H, W) and actions (S, T + frames, A)."""
    time = config.context_frames
    for session in range(len(frames)):
        context = frames[session : session + 1].numpy().astype(np.float32) / np.float32(255)
        session_actions = actions[session].numpy().copy()
        yield SampleSession(
            session_inputs={"context": context, "context_actions": session_actions[None, :time]},
            frame_inputs={"action": session_actions[time:, None]},
        )
