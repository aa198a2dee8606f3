"""Modules from a bundle's `components/<component>.pt2`: PyTorch's own side of a comparison, without the checkpoint."""

from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from porting.errors import RunnerError


class ExportedModule(nn.Module):
    """A loaded export, which has no training mode to switch off."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *inputs: Any) -> Any:
        """As the component was exported: its inputs in order, positionally."""
        return self.graph(*inputs)

    def train(self, mode: bool = True) -> Self:
        """Does nothing: torch's loaded exports refuse to be switched."""
        return self


def load_module(path: Path) -> nn.Module:
    """The module of one `torch.export` file.

    Raises:
        RunnerError: the file is not there or cannot be loaded.
    """
    try:
        graph = torch.export.load(path).module()
    except (OSError, RuntimeError, ValueError) as cause:
        raise RunnerError(f"{path}: cannot be loaded as an exported program ({cause}); port again") from cause
    return ExportedModule(graph)
