"""Trains the GWM autoencoder on clips of any scene maker; it knows nothing of the denoiser."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from porting.adapters.gwm.autoencoder import Decoder, Encoder
from porting.adapters.gwm.config import AutoencoderConfig
from training.scenes.clips import Clips, MakeClips, draw_frames


@dataclass(frozen=True)
class AutoencoderRecipe:
    """What a bundled autoencoder is trained with; steps, not minutes, so that a seed reproduces it."""

    steps: int = 950
    scenes: int = 3000
    batch_scenes: int = 16
    batch_frames: int = 4
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    latent_noise: float = 0.1
    """Noise added to raw latents, so that the denoiser's small errors decode to small errors."""
    moving_weight: float = 5.0
    """What the conditioning moves covers a small part of the frame (a ball: 3 %): its pixels count this much more."""
    seed: int = 0


def train_autoencoder(
    config: AutoencoderConfig, recipe: AutoencoderRecipe, make_clips: MakeClips, log: Callable[[str], None]
) -> tuple[Encoder, Decoder]:
    """Return the trained encoder and decoder, latent statistics included."""
    torch.manual_seed(recipe.seed)
    encoder, decoder = Encoder(config), Decoder(config)
    modules = nn.ModuleList([encoder, decoder])
    modules.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's own hints
    optimiser = torch.optim.AdamW(modules.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4)
    clips = make_clips(recipe.scenes, 40, seed=recipe.seed + 100)
    rng = np.random.default_rng(recipe.seed + 1)
    started = time.perf_counter()
    for step in range(recipe.steps):
        warmup, remaining = (step + 1) / recipe.warmup_steps, 1 - step / recipe.steps
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, warmup) * remaining + 1e-5
        frames, weight = _draw_batch(clips, recipe, rng)
        latents = encoder.raw(frames)
        decoded = decoder(latents + recipe.latent_noise * torch.randn_like(latents))
        loss = ((decoded - frames).square() * weight).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 50 == 0:
            seconds = time.perf_counter() - started
            psnr_db = -10 * math.log10((decoded - frames).square().mean().item())
            log(f"autoencoder {step + 1}/{recipe.steps}: {psnr_db:.2f} dB, {seconds:.0f} s")
    _store_latent_statistics(encoder, decoder, clips)
    return encoder.eval(), decoder.eval()


def _draw_batch(clips: Clips, recipe: AutoencoderRecipe, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Frames (B, T, 3, 64, 64) of windows drawn at random, and the weight (B, T, 1, 64, 64) of every pixel."""
    chosen = clips.subset(rng.integers(0, len(clips.actions), recipe.batch_scenes))
    start = int(rng.integers(0, clips.actions.shape[1] - recipe.batch_frames + 1))
    frames, weights = [], []
    for t in range(start, start + recipe.batch_frames):
        frames.append(chosen.frame(t))
        weights.append(np.where(chosen.moving(t, frames[-1]), recipe.moving_weight, 1.0))
    return (
        torch.from_numpy(np.stack(frames, 1)),
        torch.from_numpy(np.stack(weights, 1)).float(),
    )


@torch.no_grad()
def _store_latent_statistics(encoder: Encoder, decoder: Decoder, clips: Clips) -> None:
    """Write each latent channel's mean and standard deviation into both halves."""
    every_frame = range(clips.actions.shape[1])
    raw = torch.cat(
        [
            encoder.raw(torch.from_numpy(draw_frames(clips.subset(np.arange(first, first + 50)), every_frame)))
            for first in range(0, 200, 50)
        ]
    )
    for half in (encoder, decoder):
        half.latent_mean.copy_(raw.mean((0, 1, 3, 4)).view(-1, 1, 1))
        half.latent_std.copy_(raw.std((0, 1, 3, 4)).view(-1, 1, 1))
