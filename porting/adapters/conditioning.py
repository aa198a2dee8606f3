"""What conditions a clip's transformer beside its latents: the noise level as a sinusoid, and padded prompts.

A prompt comes as its embedding and a mask of ones, then zeros where it was padded. It knows no network.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from porting.adapters.samples import draw_session
from porting.adapters.world_model import SampleSession
from porting.program import Program

MASK = "_mask"
"""How the name of a prompt's mask ends."""
EXCLUDED = -10000.0
"""Added to a score, nothing is left of it in any precision; unlike infinity it stays a number in arithmetic."""


class Sinusoid(nn.Module):
    """A noise level or guidance scale in thousandths, as cosines and then sines.

    Source: diffusers, get_timestep_embedding. Frequencies are a constant, rounded to float32 as there. An exporter that
    computes them anew rounds the last bit otherwise, and a thousand times that is 6e-5 of a cosine.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        half = width // 2
        exponent = -math.log(10000) * torch.arange(half, dtype=torch.float32) / half
        self.frequencies = nn.Buffer(torch.exp(exponent), persistent=False)

    def forward(self, level: Tensor) -> Tensor:
        """level (N,) -> (N, width)."""
        phase = level[:, None] * self.frequencies
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


def keep_tokens(mask: Tensor) -> Tensor:
    """mask (B, tokens) -> the same as exact zeros and ones; the first token of a prompt is always there."""
    kept = (mask > 0.5).to(mask.dtype)
    return torch.cat([torch.ones_like(kept[:, :1]), kept[:, 1:]], dim=1)


def exclude(kept: Tensor) -> Tensor:
    """Zeros and ones of any shape -> what is added to attention's scores."""
    return (1 - kept) * EXCLUDED


def draw_padded_prompts(program: Program, generator: np.random.Generator, frames: int) -> SampleSession:
    """A random session whose prompts fill from half of their tokens to all of them."""
    session = draw_session(program, generator, frames)
    for name, drawn in session.session_inputs.items():
        if name.endswith(MASK):
            tokens = drawn.shape[-1]
            length = int(generator.integers(max(1, tokens // 2), tokens + 1))
            drawn[...] = np.arange(tokens) < length
    return session
