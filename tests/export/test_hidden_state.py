"""Every way to hide state is refused before a file is written, with the name of what hides it."""

import random
import re
from collections import deque
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from porting.errors import ExportError, StateContractError
from porting.export import export_component
from tests.export.small import WIDTH, Mixer, Step, small_model

OPSET = 20
COUNTED = {"calls": 0}
TOTAL = 0


class WritesBuffer(Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.cache = nn.Buffer(torch.zeros(8, WIDTH))

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.cache.index_copy_(0, age[:1] % 8, x)
        return super().forward(x, age, ring) + self.cache.sum(0)


class ReplacesBuffer(Mixer):
    cache: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cache", torch.zeros(1, WIDTH))

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.cache = self.cache + x
        return super().forward(self.cache, age, ring)


class WritesThroughData(Mixer):
    """`.data` bypasses autograd's version counter."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = nn.Buffer(torch.zeros(1, WIDTH))

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.cache.data.add_(x)
        return super().forward(x, age, ring)


class WritesParameter(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.query.bias.mul_(1.01)
        return super().forward(x, age, ring)


class AssignsAttribute(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.last = x * 2
        return super().forward(self.last, age, ring)


class CountsCalls(Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x, age, ring)


class FillsList(Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.past: deque[Tensor] = deque(maxlen=2)

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.past.append(x)
        return super().forward(torch.stack(tuple(self.past)).mean(0), age, ring)


class Notes:
    def __init__(self) -> None:
        self.inner = {"x": [torch.zeros(1, WIDTH)]}


class WritesInsideAnObject(Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.notes = Notes()

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.notes.inner["x"][0].add_(x)
        return super().forward(x, age, ring)


class WritesClassAttribute(Mixer):
    shared: ClassVar[list[Tensor]] = []

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        self.shared.append(x)
        return super().forward(x, age, ring)


class WritesGlobal(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        COUNTED["calls"] += 1
        return super().forward(x * COUNTED["calls"], age, ring)


class AssignsGlobal(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        global TOTAL
        TOTAL += 1
        return super().forward(x, age, ring)


def closing_over() -> nn.Module:
    past: list[Tensor] = []

    class ClosesOver(Mixer):
        def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
            past.append(x)
            return super().forward(past[max(0, len(past) - 2)], age, ring)

    return ClosesOver()


class Draws(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x), age, ring)


class DrawsInNumpy(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        return super().forward(x + float(np.random.rand()), age, ring)


class DrawsInPython(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        return super().forward(x + random.random(), age, ring)


class SlicesByItem(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        return super().forward(x, age, ring) + ring[:, : age.max().item()].sum(1)


class SlicesByInt(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        return super().forward(x, age, ring) + ring[:, : int(age.max())].sum(1)


class DropsOut(Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        return super().forward(self.drop(x), age, ring)


class DecidesOnValue(Mixer):
    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x, age, ring)


class StepThatWritesItsInput(Step):
    def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
        frame, kept, new = super().forward(action, memory, age, ring)
        memory.copy_(kept)
        return frame, kept, new


class StepThatIgnores(Step):
    def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
        return super().forward(torch.ones_like(action), memory, age, ring)


class StepThatReturnsItsBuffer(Step):
    """Writes the same values every time, but hands out its own memory."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[int, Tensor] = {}

    def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
        frame, kept, new = super().forward(action, memory, age, ring)
        return self.shared().copy_(frame), kept, new

    @staticmethod
    def shared(made: tuple[Tensor, ...] = (torch.zeros(1, WIDTH),)) -> Tensor:
        return made[0]


SABOTAGES = {
    "buffer written in place": (Step(WritesBuffer()), "buffer `cache` of module `mixer` (WritesBuffer)"),
    "buffer replaced": (Step(ReplacesBuffer()), "buffer `cache` of module `mixer` (ReplacesBuffer)"),
    "written through .data": (Step(WritesThroughData()), "buffer `cache` of module `mixer` (WritesThroughData)"),
    "parameter written": (Step(WritesParameter()), "parameter `bias` of module `mixer.query` (Linear)"),
    "attribute assigned": (Step(AssignsAttribute()), "attribute `last` of module `mixer` (AssignsAttribute)"),
    "calls counted": (Step(CountsCalls()), "attribute `calls` of module `mixer` (CountsCalls)"),
    "list filled": (Step(FillsList()), "attribute `past` of module `mixer` (FillsList)"),
    "inside an object": (Step(WritesInsideAnObject()), "attribute `notes` of module `mixer` (WritesInsideAnObject)"),
    "class attribute": (Step(WritesClassAttribute()), "class attribute `shared` of module `mixer`"),
    "global container": (Step(WritesGlobal()), "global `COUNTED` that `forward` of module `mixer` (WritesGlobal)"),
    "global number": (Step(AssignsGlobal()), "global `TOTAL` that `forward` of module `mixer` (AssignsGlobal)"),
    "closure": (Step(closing_over()), "variable `past` that `forward` of module `mixer` (ClosesOver)"),
    "torch randn": (Step(Draws()), "module `mixer` (Draws) draws random numbers"),
    "numpy rand": (Step(DrawsInNumpy()), "module `mixer` (DrawsInNumpy) draws random numbers"),
    "python random": (Step(DrawsInPython()), "module `mixer` (DrawsInPython) draws random numbers"),
    "input written in place": (StepThatWritesItsInput(), "input `memory` is written in place"),
    "own memory handed out": (StepThatReturnsItsBuffer(), "`shared` of module `<root>` (StepThatReturnsItsBuffer)"),
    "input ignored": (StepThatIgnores(), "input `action` does not reach any output"),
}


@pytest.mark.parametrize(("module", "words"), SABOTAGES.values(), ids=SABOTAGES.keys())
def test_hidden_state_is_refused_by_name(module: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(StateContractError, match=re.escape(words)) as refusal:
        export_component(small_model(module), "step", tmp_path, OPSET)
    assert str(refusal.value).startswith("step: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mixer", "words"),
    [
        (SlicesByItem(), "module `mixer` (SlicesByItem) reads a number out of a tensor"),
        (SlicesByInt(), "module `mixer` (SlicesByInt), `forward` line "),
        (DecidesOnValue(), "module `mixer` (DecidesOnValue), `forward` line "),
    ],
    ids=["item", "int", "branch"],
)
def test_shapes_and_branches_that_depend_on_values_are_refused(mixer: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=re.escape(words)):
        export_component(small_model(Step(mixer)), "step", tmp_path, OPSET)
    assert list(tmp_path.iterdir()) == []


def test_a_module_in_training_mode_is_refused(tmp_path: Path) -> None:
    model = small_model(Step(DropsOut()))
    model.modules["step"].get_submodule("mixer.drop").train()
    with pytest.raises(StateContractError, match=r"module `mixer\.drop` \(Dropout\) is in training mode"):
        export_component(model, "step", tmp_path, OPSET)
    assert list(tmp_path.iterdir()) == []
