"""A small recurrent world model after Dreamer's RSSM, as a team might have it: it knows nothing of worldport."""

import torch
from torch import Tensor, nn

DETERMINISTIC, STOCHASTIC, ACTION, FEATURES = 96, 24, 3, 512


class Rssm(nn.Module):
    """A recurrent state h carries the past; a Gaussian state z, sampled from h, is what the picture is decoded from."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Conv2d(3, 16, 4, 4), nn.SiLU(), nn.Conv2d(16, 32, 2, 2), nn.SiLU(), nn.Flatten()
        )  # 32x32 pixels -> 512 features
        self.mix = nn.Linear(STOCHASTIC + ACTION, DETERMINISTIC)
        self.recur = nn.GRUCell(DETERMINISTIC, DETERMINISTIC)
        self.prior = nn.Linear(DETERMINISTIC, 2 * STOCHASTIC)
        self.posterior = nn.Linear(DETERMINISTIC + FEATURES, 2 * STOCHASTIC)
        self.unfold = nn.Linear(DETERMINISTIC + STOCHASTIC, FEATURES)
        self.decode = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 2, 2), nn.SiLU(), nn.ConvTranspose2d(16, 3, 4, 4), nn.Sigmoid()
        )

    def observe(self, picture: Tensor, action: Tensor, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """A picture (1, 3, 32, 32) in [0, 1], the action (1, 3) that led to it -> the next h (1, 96), z (1, 24)."""
        h = self._advance(h, z, action)
        mean, _ = self.posterior(torch.cat([h, self.encode(picture)], 1)).chunk(2, 1)
        return h, mean

    def imagine(self, action: Tensor, noise: Tensor, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """An action (1, 3), standard normal noise (1, 24) -> the next h, z, a picture (1, 3, 32, 32) in [0, 1]."""
        h = self._advance(h, z, action)
        mean, log_deviation = self.prior(h).chunk(2, 1)
        z = mean + log_deviation.clamp(-5, 1).exp() * noise
        return h, z, self.decode(self.unfold(torch.cat([h, z], 1)).view(1, 32, 4, 4))

    def _advance(self, h: Tensor, z: Tensor, action: Tensor) -> Tensor:
        mixed = nn.functional.silu(self.mix(torch.cat([z, action], 1)))
        following: Tensor = self.recur(mixed, h)
        return following


if __name__ == "__main__":
    import sys

    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(Rssm().state_dict(), sys.argv[1])
