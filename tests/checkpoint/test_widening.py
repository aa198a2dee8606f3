"""Half-precision weights in float32: the same values, and in no memory of this process where they are many."""

import gc
from pathlib import Path

import pytest
import torch
from torch import Tensor

from porting.checkpoint import widening
from porting.checkpoint.widening import widen_weights


def make_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "half": torch.randn(5, 7, generator=generator).half(),
        "kept": torch.randn(11, generator=generator),
        "brain": torch.randn(3, 2, 2, generator=generator).bfloat16(),
        "double": torch.randn(4, generator=generator).double(),
        "scalar": torch.tensor(1.5, dtype=torch.float16),
        "nothing": torch.zeros(0, 3, dtype=torch.float16),
        "count": torch.tensor(7),
        "turned": torch.randn(6, 4, generator=generator).half().T,
    }


def mapped_spans() -> list[tuple[int, int]]:
    """Where files without a name are mapped."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("(deleted)")]
    return [(int(line.split("-")[0], 16), int(line.split()[0].split("-")[1], 16)) for line in lines]


@pytest.mark.parametrize("limit", [0, 2**20])
def test_values_are_kept_and_so_is_what_needs_no_widening(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widening, "IN_MEMORY_BYTES", limit)
    weights = make_weights()
    made = widen_weights(weights)
    assert list(made) == list(weights)
    for name, tensor in made.items():
        wanted = weights[name]
        assert tensor.dtype is (torch.float32 if wanted.is_floating_point() else wanted.dtype)
        assert tensor.shape == wanted.shape
        assert torch.equal(tensor, wanted.to(tensor.dtype))
    assert made["kept"] is weights["kept"]
    assert made["count"] is weights["count"]


def test_many_lie_in_a_file_that_goes_with_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(widening, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(mapped_spans())
    made = widen_weights(make_weights())
    assert list(tmp_path.iterdir()) == []
    spans = [span for span in mapped_spans() if span not in before]
    for name in ("half", "brain", "double", "turned"):
        assert any(first <= made[name].data_ptr() < last for first, last in spans), name
        assert made[name].data_ptr() % widening.ALIGNMENT == 0
        assert made[name].untyped_storage().nbytes() == made[name].nbytes
    del made
    gc.collect()
    assert not [span for span in mapped_spans() if span in spans]
