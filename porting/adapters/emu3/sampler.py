"""Which visual token follows: the likeliest, or one that noise chooses; and how firmly it was chosen.

A choice turns a rounding error into another token wherever two tokens are nearly level, in PyTorch's own float32 too.
So beside the tokens, what they were chosen by is kept and can be held to a budget: each one's log-likelihood, to which
every logit contributes, and its lead over the runner-up.
"""

import torch
from torch import Tensor, nn

SMALLEST = 1e-6
"""Below it an exponential variate, which is so small once in a million, does not count."""


class Sampler(nn.Module):
    """Logits to a token, which is entered among the frame's."""

    def __init__(self, codes: int, first_visual: int, temperature: float) -> None:
        super().__init__()
        self.temperature, self.first_visual = temperature, first_visual
        self.spots = nn.Buffer(torch.arange(codes), persistent=False)

    def forward(
        self, logits: Tensor, spot: Tensor, codes: Tensor, log_likelihoods: Tensor, leads: Tensor, *noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One choice.

        Args:
            logits: (1, codebook).
            spot: (1,) int64, the token's among the frame's visual ones.
            codes: (1, spots) int64, of the frame; what lies behind `spot` is the frame's before.
            log_likelihoods: (1, spots).
            leads: (1, spots), of what was chosen over the runner-up.
            noise: where tokens are sampled, (1, 2, codebook), standard normal.

        Returns:
            The token (1,) int64, and the three with the choice entered.
        """
        told = logits / self.temperature if noise else logits
        scores = told + make_gumbel(noise[0]) if noise else told
        best = scores.topk(2).values
        code = scores.argmax(dim=-1, keepdim=True)
        likelihood = told.log_softmax(dim=-1).gather(1, code)
        here = self.spots == spot
        return (
            code[:, 0] + self.first_visual,
            torch.where(here, code, codes),
            torch.where(here, likelihood, log_likelihoods),
            torch.where(here, best[:, :1] - best[:, 1:], leads),
        )


def make_gumbel(noise: Tensor) -> Tensor:
    """Standard normal (1, 2, n) to standard Gumbel (1, n): what, added to logits, makes their argmax a sample.

    Half the sum of two squares is an exponential variate, exact in both tails where a distribution function is not.
    """
    exponential = (noise.square().sum(dim=1) / 2).clamp(min=SMALLEST)
    return -exponential.log()
