"""Trains the GWM denoiser on the autoencoder's latents: first on true frames, then on its own.

Source: self-forcing, arXiv 2506.08009; Muon, https://kellerjordan.github.io/posts/muon.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from porting.adapters.gwm.autoencoder import Encoder
from porting.adapters.gwm.config import GwmConfig
from porting.adapters.gwm.denoiser import Denoiser
from training.muon import Muon
from training.rollout import Session, denoise, open_session
from training.scenes.clips import MakeClips, draw_frames


@dataclass(frozen=True)
class DenoiserRecipe:
    """What a bundled denoiser is trained with; steps, not minutes, so that a seed reproduces it."""

    steps: int = 2600
    scenes: int = 2000
    frames: int = 32
    batch: int = 8
    horizon: int = 8
    """Frames unrolled with gradients through time."""
    teacher_until: float = 0.35
    """Share of the steps in which every frame starts from the true past."""
    teacher_least: float = 0.3
    """Share of true frames that is left at the end of the ramp."""
    ramp: float = 0.35
    two_step_share: float = 0.4
    """Share of self-forced batches that take every rectified-flow step, as a session does; the others take one."""
    noisy_share: float = 0.2
    """Share of teacher-forced frames seen at a random noise level rather than as pure noise."""
    drifted_share: float = 0.6
    """Share of self-forced clips whose context has drifted as the target has not: else what moves fades away."""
    context_noise: float = 0.05
    matrix_learning_rate: float = 0.019
    learning_rate: float = 2.7e-3
    warmup_steps: int = 60
    decay: float = 0.6
    average: float = 0.99
    seed: int = 0


@dataclass(frozen=True)
class LatentClips:
    """Normalised latents of N clips: true and drifted (N, T, C, h, w) float16, actions (N, T, A)."""

    true: Tensor
    drifted: Tensor
    actions: Tensor


@torch.no_grad()
def encode_clips(
    encoder: Encoder, recipe: DenoiserRecipe, make_clips: MakeClips, log: Callable[[str], None]
) -> LatentClips:
    """Make the training clips, as they are and as a drifting rollout shows them, and encode both."""
    rng = np.random.default_rng(recipe.seed + 3)
    true, drifted, actions = [], [], []
    for first in range(0, recipe.scenes, 100):
        clips = make_clips(100, recipe.frames, seed=recipe.seed + 5000 + first)
        true.append(encoder(torch.from_numpy(draw_frames(clips, range(recipe.frames)))).half())
        drifted.append(encoder(torch.from_numpy(clips.drifted(rng))).half())
        actions.append(torch.from_numpy(clips.actions))
    log(f"encoded {recipe.scenes} clips")
    return LatentClips(torch.cat(true), torch.cat(drifted), torch.cat(actions))


def train_denoiser(
    config: GwmConfig,
    clips: LatentClips,
    recipe: DenoiserRecipe,
    log: Callable[[str], None],
    judge: Callable[[Denoiser], str],
) -> Denoiser:
    """Return the exponential moving average of the trained weights."""
    torch.manual_seed(recipe.seed)
    denoiser = Denoiser(config)
    average = copy.deepcopy(denoiser)
    optimisers = _make_optimisers(denoiser, recipe)
    started, losses = time.perf_counter(), []
    for step in range(recipe.steps):
        progress = step / recipe.steps
        pace = min(1.0, (step + 1) / recipe.warmup_steps)
        pace = max(0.01, pace * min(1.0, (1 - progress) / recipe.decay))
        error, loss = _unroll(denoiser, clips, recipe, progress)
        for optimiser in optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * pace
        loss.backward()
        nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        _average(average, denoiser, min(recipe.average, (step + 1) / (step + 10)))
        losses.append(error)
        if (step + 1) % 50 == 0:
            seconds = time.perf_counter() - started
            log(f"denoiser {step + 1}/{recipe.steps}: {np.mean(losses[-50:]):.5f}, {seconds:.0f} s")
        if (step + 1) % 400 == 0:
            log(judge(average))
    return average.eval()


def _make_optimisers(denoiser: Denoiser, recipe: DenoiserRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for all else."""
    matrices = [
        p for name, p in denoiser.named_parameters() if "blocks" in name and name.endswith("weight") and p.ndim == 2
    ]
    chosen = {id(p) for p in matrices}
    others = [p for p in denoiser.parameters() if id(p) not in chosen]
    optimisers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=recipe.matrix_learning_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return optimisers


@torch.no_grad()
def _average(average: Denoiser, denoiser: Denoiser, keep: float) -> None:
    for mean, value in zip(average.parameters(), denoiser.parameters(), strict=True):
        mean.lerp_(value, 1 - keep)


@dataclass
class _Batch:
    """One drawn batch: context (B, C, ...), targets (B, K, ...), actions (B, C + K, A)."""

    context: Tensor
    targets: Tensor
    actions: Tensor


def _draw(clips: LatentClips, recipe: DenoiserRecipe, drifted_share: float) -> _Batch:
    count, time = clips.true.shape[:2]
    context_frames = 3 + int(torch.randint(2, ()))
    length = context_frames + recipe.horizon
    scene = torch.randint(count, (recipe.batch, 1))
    start = torch.randint(time - length + 1, (recipe.batch, 1))
    # A session's first latents have no past in the encoder either, so clips' beginnings are seen more often.
    start = torch.where(torch.rand(recipe.batch, 1) < 0.25, 0, start)
    window = start + torch.arange(length)
    true = clips.true[scene, window].float()
    drifted = torch.rand(recipe.batch, 1, 1, 1, 1) < drifted_share
    context = torch.where(drifted, clips.drifted[scene, window[:, :context_frames]].float(), true[:, :context_frames])
    return _Batch(context, true[:, context_frames:], clips.actions[scene, window])


def _add_noise(latents: Tensor, size: float) -> Tensor:
    """Noise of a strength drawn anew for each sample, from 0 to `size`."""
    strength = size * torch.rand(latents.shape[0], *[1] * (latents.ndim - 1))
    return latents + strength * torch.randn_like(latents)


def _unroll(denoiser: Denoiser, clips: LatentClips, recipe: DenoiserRecipe, progress: float) -> tuple[float, Tensor]:
    """Mean squared error and loss of one batch of rollouts."""
    self_forced = progress >= recipe.teacher_until
    own = (progress - recipe.teacher_until) / recipe.ramp if self_forced else 0.0
    own = min(own, 1 - recipe.teacher_least)
    batch = _draw(clips, recipe, recipe.drifted_share if self_forced else 0.0)
    levels = denoiser.config.sampler.noise_levels
    if not self_forced or torch.rand(()) >= recipe.two_step_share:
        levels = levels[:1]
    context = _add_noise(batch.context, recipe.context_noise)
    session = open_session(denoiser, context, batch.actions)
    errors = []
    for k in range(recipe.horizon):
        action, target = batch.actions[:, context.shape[1] + k], batch.targets[:, k]
        if self_forced:
            predictions = denoise(session, torch.randn_like(target), action, levels)
        else:
            predictions = [_predict_at_random_level(session, target, action, recipe)]
        errors += [(p - target).square().mean((1, 2, 3)) for p in predictions]
        true = torch.rand(recipe.batch, 1, 1, 1) >= own
        following = torch.where(true, _add_noise(target, recipe.context_noise), predictions[-1])
        if k + 1 < recipe.horizon:
            session.commit(following, action)
    error = torch.stack(errors)
    # The logarithm keeps a rollout that is already lost from drowning the others: plain MSE erases the ball.
    loss = 0.1 * (error + 3e-3).log().mean() if self_forced else (error + 1e-3).sqrt().mean()
    return float(error.mean().detach()), loss


def _predict_at_random_level(session: Session, target: Tensor, action: Tensor, recipe: DenoiserRecipe) -> Tensor:
    """Most samples start from pure noise; some from the target at a random noise level."""
    level = torch.where(torch.rand(len(target)) < recipe.noisy_share, torch.rand(len(target)), 1.0)
    level = level.clamp(min=0.02)
    share = level.view(-1, 1, 1, 1)
    noisy = (1 - share) * target + share * torch.randn_like(target)
    return session.predict(noisy, level, action)
