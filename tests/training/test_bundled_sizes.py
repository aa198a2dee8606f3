"""Every stored checkpoint is small enough to ship."""

import pytest

from tests.training.bundled import folder_of, size_of
from training.recipes import RECIPES


@pytest.mark.parametrize("world", sorted(RECIPES))
def test_checkpoint_is_small_enough_to_ship(world: str) -> None:
    assert (folder_of(world) / "model.safetensors").is_file()
    assert size_of(world) <= 6_000_000
