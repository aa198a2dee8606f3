"""Tensor names as research code leaves them: what training wrappers put in front, and which of two copies is meant."""

from collections.abc import Mapping
from typing import TypeVar

WRAPPERS = frozenset(
    {"net", "net_ema", "model", "model_ema", "module", "backbone", "generator", "generator_ema", "ema", "ema_model"}
    | {"state_dict", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "diffusion_model"}
)
"""Modules that hold a model and are not part of it."""
AVERAGES = ("generator_ema", "net_ema", "model_ema", "ema_model", "ema")
"""Copies with averaged weights: what a published model is sampled with."""
DEPTH = 4
"""How far from the front a wrapper may stand: a set's key, a wrapper, and two inside it."""

Value = TypeVar("Value")


def bare_name(name: str) -> str:
    """The name without wrappers among its first parts: for recognising, where a wrong guess costs nothing."""
    parts = name.split(".")
    return ".".join([part for part in parts[:DEPTH] if part not in WRAPPERS] + parts[DEPTH:])


def strip_wrappers(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The tensors under the names that they have inside every wrapper that holds all of them.

    Where an average stands beside the model itself, the average is taken and the model left out.
    """
    found = dict(tensors)
    while found:
        heads = {name.partition(".")[0] for name in found}
        if not heads <= WRAPPERS or any("." not in name for name in found):
            return found
        average = next((head for head in AVERAGES if head in heads), None)
        if len(heads) > 1 and average is None:
            return found
        head = average if average is not None else next(iter(heads))
        found = {
            name.partition(".")[2]: value for name, value in found.items() if name.partition(".")[0] == head
        }  # fmt: skip
    return found


def inside(tensors: Mapping[str, Value], start: str) -> dict[str, Value]:
    """The tensors whose names begin with `start`, without it."""
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
