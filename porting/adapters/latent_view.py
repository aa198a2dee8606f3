"""A picture of a latent, every value of every token: a rollout in latent space can be looked at and compared."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FRAME_UNIT = "sigmoid of a latent value"


class LatentView(nn.Module):
    """Tiles of a token grid, three channels a tile as red, green and blue, each value through a sigmoid.

    Nothing is left out and nothing mixed: what differs in the latent differs in the picture. Channels that are missing
    for the last tile are grey.
    """

    def __init__(self, grid: tuple[int, int], width: int) -> None:
        """A view of tokens (1, grid height * grid width, width)."""
        super().__init__()
        self.grid, self.width = grid, width
        tiles = math.ceil(width / 3)
        self.rows = math.ceil(tiles / math.ceil(math.sqrt(tiles)))
        self.columns = math.ceil(tiles / self.rows)

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """(1, 3, rows of tiles * grid height, columns of tiles * grid width)."""
        return (1, 3, self.rows * self.grid[0], self.columns * self.grid[1])

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (1, tokens, width) -> the picture."""
        padded = F.pad(tokens, (0, 3 * self.rows * self.columns - self.width))
        height, width = self.grid
        tiled = padded.reshape(height, width, self.rows, self.columns, 3).permute(4, 2, 0, 3, 1)
        return torch.sigmoid(tiled.reshape(self.frame_shape))
