"""diffusers' root mean square norms without weights, in the dtype that they are given."""

import torch
from torch import Tensor, nn

from porting.adapters.exact import NORMS


class PlainNorm(nn.Module):
    """A root mean square norm over the last axis, whatever its width: that of LTX's last norm is told wrongly."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


def use_exact_plain_norms(module: nn.Module) -> None:
    """Replace every norm of a package that has no weight and computes in float32. In place."""
    for part in list(module.modules()):
        for name, child in part.named_children():
            plain = type(child).__name__ in NORMS and not isinstance(child, nn.RMSNorm)
            eps = getattr(child, "eps", None)
            if plain and getattr(child, "weight", None) is None and isinstance(eps, float):
                setattr(part, name, PlainNorm(eps))
