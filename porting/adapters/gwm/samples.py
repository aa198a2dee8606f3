"""Sessions to record when a checkpoint brings none of its own: smooth random frames, bursts of random actions."""

import numpy as np
import numpy.typing as npt

from porting.adapters.gwm.config import GwmConfig
from porting.adapters.world_model import SampleSession

Float32Array = npt.NDArray[np.float32]


def random_samples(config: GwmConfig, seed: int, sessions: int, frames: int) -> tuple[SampleSession, ...]:
    """Seeded sessions of `frames` frames; the context's frames differ a little from one to the next."""
    rng = np.random.default_rng(seed)
    return tuple(_random_session(config, rng, frames) for _ in range(sessions))


def _random_session(config: GwmConfig, rng: np.random.Generator, frames: int) -> SampleSession:
    time = config.context_frames
    actions = _bursts(rng, time + frames, config.action_width)
    return SampleSession(
        session_inputs={"context": _smooth_clip(config, rng), "context_actions": actions[None, :time]},
        frame_inputs={"action": actions[time:, None]},
    )


def _smooth_clip(config: GwmConfig, rng: np.random.Generator) -> Float32Array:
    """(1, T, 3, H, W) in [0, 1]: a few moving plane waves a channel, since white noise is no picture."""
    y, x = np.meshgrid(np.linspace(0, 1, config.frame_height), np.linspace(0, 1, config.frame_width), indexing="ij")
    waves = rng.normal(0, 1.5, (3, 4, 2))
    phase, speed = rng.uniform(0, 2 * np.pi, (3, 4)), rng.normal(0, 0.3, (3, 4))
    frames = []
    for t in range(config.context_frames):
        angle = 2 * np.pi * (waves[..., :1, None] * y + waves[..., 1:, None] * x) + (phase + speed * t)[..., None, None]
        frames.append(0.5 + 0.5 * np.sin(angle).mean(1))
    return np.stack(frames)[None].astype(np.float32)


def _bursts(rng: np.random.Generator, frames: int, width: int) -> Float32Array:
    """(frames, width): an action held for a few frames, then none."""
    held = np.repeat(rng.normal(0, 1, (frames // 4 + 1, width)), 4, axis=0)[:frames]
    active = np.repeat(rng.random((frames // 4 + 1, 1)) < 0.5, 4, axis=0)[:frames]
    return (held * active).astype(np.float32)
