"""Modules whose parameters take no memory until their weights are put in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def empty_parameters() -> Iterator[None]:
    """Every parameter that is registered meanwhile goes to the meta device before it is initialised.

    Buffers, rotation tables among them, are computed for real. Random generators are left as they were.
    """

    def move(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta:
            return parameter
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=False)

    # torch's own annotation says that the hook returns nothing; its documentation, that it may return a parameter.
    handle = nn.modules.module.register_module_parameter_registration_hook(move)  # type: ignore[arg-type]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        handle.remove()
