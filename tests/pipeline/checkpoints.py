"""A tiny GWM checkpoint with random weights, as a folder on disk."""

from pathlib import Path

from safetensors.torch import save_file

from porting.adapters.gwm.world_model import random_world_model
from tests.parity.tiny import TINY


def write_tiny_checkpoint(folder: Path) -> Path:
    """Config and weights in the layout of docs/checkpoints.md; sessions are the loader's own."""
    folder.mkdir(parents=True)
    modules = random_world_model(TINY, seed=0).modules
    parts = {
        "encoder": modules["encoder"],
        "denoiser": modules["denoiser"],
        "decoder": modules["decoder"].get_submodule("decoder"),
    }
    weights = {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"family": TINY.family})
    (folder / "config.json").write_text(TINY.model_dump_json(), encoding="utf-8")
    return folder
