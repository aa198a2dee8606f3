"""Published modules without the float32 casts inside them, so that the float64 reference is one."""

from torch import nn

NORMS = ("RMSNorm", "Cosmos3NemotronRMSNorm")
"""Classes of packages that compute a root mean square in float32 whatever they are given."""


def use_exact_norms(module: nn.Module) -> None:
    """Replace every RMS norm of a package by torch's own, which computes in its input's dtype. In place, same names.

    Only norms with a weight and without a bias, which are the same function.
    """
    for part in list(module.modules()):
        for name, child in part.named_children():
            weight, eps = getattr(child, "weight", None), getattr(child, "eps", None)
            replaced = type(child).__name__ in NORMS and not isinstance(child, nn.RMSNorm)
            if replaced and weight is not None and isinstance(eps, float) and getattr(child, "bias", None) is None:
                made = nn.RMSNorm(tuple(weight.shape), eps=eps, device="meta")
                made.weight = weight
                setattr(part, name, made)
