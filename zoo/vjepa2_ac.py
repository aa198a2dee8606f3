"""V-JEPA 2-AC as facebookresearch/vjepa2 stores it; once rolled out under given actions, once with its planner."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from porting.adapters.vjepa2_ac.adapter import build_encoder
from porting.adapters.vjepa2_ac.config import Vjepa2AcConfig
from porting.adapters.vjepa2_ac.predictor import ActionPredictor
from zoo import Entry
from zoo.vjepa2 import original_names
from zoo.weights import randomise, write_json

TINY = Vjepa2AcConfig(
    patch_size=8,
    crop_size=32,
    hidden_size=48,
    num_attention_heads=2,
    num_hidden_layers=2,
    mlp_width=96,
    pred_hidden_size=48,
    pred_num_attention_heads=2,
    pred_num_hidden_layers=2,
    pred_mlp_width=96,
)
WINDOW = 4


def make_halves() -> dict[str, dict[str, Tensor]]:
    """Encoder and predictor under the published names, without wrappers."""
    encoder, predictor = build_encoder(TINY), ActionPredictor(TINY, WINDOW)
    randomise(encoder, seed=5)
    randomise(predictor, seed=6)
    with torch.no_grad():  # actions of centimetres must be felt
        predictor.action_encoder.weight.mul_(20)
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    extrinsics = nn.Linear(TINY.action_width - 1, TINY.pred_hidden_size)
    randomise(extrinsics, seed=7)
    unused = {f"extrinsics_encoder.{name}": tensor for name, tensor in extrinsics.state_dict().items()}
    return {"encoder": original_names(state, "encoder"), "predictor": {**predictor.state_dict(), **unused}}


def write(out: Path, settings: dict[str, Any]) -> None:
    """A torch.save file of two dicts; heads stand in config.json, since no published model is this narrow."""
    halves = {
        half: {f"module.backbone.{name}": tensor for name, tensor in tensors.items()}
        for half, tensors in make_halves().items()
    }
    torch.save({**halves, "epoch": 3}, out / "vjepa2-ac-vitt.pt")
    write_json(out / "config.json", {"num_attention_heads": 2, "pred_num_attention_heads": 2, "crop_size": 32})
    write_json(out / "worldport.json", {"window": WINDOW, **settings})


def build_rollout(out: Path) -> None:
    """Actions come from outside."""
    write(out, {"mode": "rollout"})


def build_planner(out: Path) -> None:
    """Actions are planned towards a goal picture."""
    write(out, {"mode": "plan", "horizon": 2, "samples": 8, "elites": 3, "iterations": 2})


ENTRIES = (
    Entry("vjepa2-ac", "vjepa2_ac", "facebookresearch/vjepa2, torch.save of two dicts", build_rollout),
    Entry("vjepa2-ac-planner", "vjepa2_ac", "facebookresearch/vjepa2, torch.save of two dicts", build_planner),
)
