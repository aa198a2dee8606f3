"""DIAMOND's tensors under the names of the agent that a published file is the state of. Needs no torch."""

from collections.abc import Mapping
from typing import TypeVar

from porting.adapters.names import strip_wrappers

AGENT = "agent."
"""A trainer's state has the agent as one of its modules."""
COMPILED = "_orig_mod."
"""What torch.compile puts in front of a module's own, wherever it was compiled."""
IGNORED = ("actor_critic.*",)
"""The policy that was trained in the world: it plays, the world does not need it."""

Value = TypeVar("Value")


def convert(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The same tensors without wrappers, and without what compiling put into their names."""
    renamed = {name.replace(COMPILED, ""): tensor for name, tensor in tensors.items()}
    return {name.removeprefix(AGENT): tensor for name, tensor in strip_wrappers(renamed).items()}
