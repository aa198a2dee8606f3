"""The graph's half of the contract, for writes that a real call happened not to make."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.errors import StateContractError
from porting.export.traced import check_functional, trace_module, write_program
from porting.program import ComponentSpec
from tests.export.small import tensor

SPEC = ComponentSpec(
    name="step",
    inputs=(tensor("x", 1, 2, 16), tensor("position", 2, dtype="int64")),
    outputs=(tensor("y", 1, 2, 16),),
)
INPUTS = {"x": np.ones((1, 2, 16), np.float32), "position": np.array([0, 1])}


class Cell(nn.Module):
    """The prototype: a key cache that forward writes in place."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = nn.Buffer(torch.zeros(1, 8, 16))

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        self.keys.index_copy_(1, position % 8, x)
        return torch.softmax(x @ self.keys.transpose(1, 2), -1) @ self.keys


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        made = self.inner(x, position)
        assert isinstance(made, Tensor)
        return made


class WritesInput(nn.Module):
    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        return x[:, :1].mul_(2) + x + position[:, None]


class Draws(nn.Module):
    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        return x + torch.bernoulli(torch.full_like(x, 0.5)) + position[:, None]


class Attends(nn.Module):
    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x) + F.dropout(x, 0.5, self.training) + position[:, None]


def check(module: nn.Module) -> None:
    program = trace_module(module, SPEC, INPUTS)
    check_functional(module, SPEC, program.run_decompositions({}))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Wrapped(Cell()).eval(), "buffer `keys` of module `inner` (Cell) is written in place"),
        (WritesInput().eval(), "input `x` is written in place"),
        (Wrapped(Draws()).eval(), "module `inner` (Draws) draws random numbers (aten.bernoulli"),
        (Attends().train(), "module `<root>` (Attends) draws random numbers (aten.dropout"),
    ],
    ids=["buffer", "input", "draw", "dropout"],
)
def test_a_graph_that_hides_state_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(StateContractError, match=re.escape(words)):
        check(module)


def test_dropout_that_is_off_draws_nothing() -> None:
    check(Attends().eval())


class Sliced(nn.Module):
    """Two weights and a table that are slices of one storage, one weight tied."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.linspace(-1, 1, 100_000)
        self.first = nn.Parameter(whole[256:512].view(16, 16))
        self.second = nn.Parameter(whole[512:768].view(16, 16).t())
        self.tied = self.first
        self.table = nn.Buffer(whole[16:32], persistent=False)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        return x @ self.first @ self.second @ self.tied + self.table + position[:, None]


def test_a_weight_that_is_a_slice_is_written_alone(tmp_path: Path) -> None:
    module = Sliced().eval()
    path = write_program(trace_module(module, SPEC, INPUTS), tmp_path / "step.pt2")
    assert path.stat().st_size < 100_000
    arguments = tuple(map(torch.from_numpy, INPUTS.values()))
    torch.testing.assert_close(torch.export.load(path).module()(*arguments), module(*arguments))
