"""V-JEPA 2's encoder and predictor as components, made of the classes of transformers."""

from typing import Any

import torch
from torch import Tensor, nn

IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet: what the model's own video processor takes off."""
MASK_TOKEN = 1
"""Which of the mask tokens stands for what is to be predicted: transformers' own default."""


class Encoder(nn.Module):
    """A clip to latents; pictures are normalised in the graph."""

    def __init__(self, encoder: nn.Module, tubelets: int) -> None:
        """Wrap a `VJEPA2Encoder`; a clip has so many tubelets."""
        super().__init__()
        self.encoder, self.tubelets = encoder, tubelets
        self.mean = nn.Buffer(torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (1, T, 3, H, W) in [0, 1] -> latents (1, tubelets, tokens, width)."""
        made = self.encoder((clip - self.mean) / self.std).last_hidden_state
        return made.unflatten(1, (self.tubelets, -1))


class Predictor(nn.Module):
    """Latents of a window to those of the tubelet after it, and the window rolled on by one.

    The target's mask tokens come last, so tokens are in the order of their positions, and the sorting that transformers
    does for arbitrary masks has nothing to do.
    """

    def __init__(self, predictor: Any) -> None:
        """Wrap a `VJEPA2Predictor`."""
        super().__init__()
        self.predictor = predictor

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """latents (1, tubelets, tokens, width) -> predicted (1, tokens, width), the next window."""
        _, _, tokens, _ = latents.shape
        embeddings = self.predictor.embeddings
        context = embeddings.predictor_embeddings(latents.flatten(1, 2))
        target = embeddings.mask_tokens[MASK_TOKEN % embeddings.num_mask_tokens].expand(1, tokens, -1)
        hidden = torch.cat([context, target], dim=1)
        for layer in self.predictor.layer:
            hidden = layer(hidden, None)[0]
        predicted = self.predictor.proj(self.predictor.layernorm(hidden)[:, -tokens:])
        return predicted, torch.cat([latents[:, 1:], predicted[:, None]], dim=1)
