"""Matrix-Game 2 as published: a distilled safetensors file, its config, and Wan's autoencoder beside it."""

from pathlib import Path

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from porting.adapters.matrix_game.actions import ActionModule
from porting.adapters.matrix_game.config import ActionConfig
from zoo import Entry
from zoo.wan import make_original_autoencoder, original_autoencoder, original_transformer
from zoo.weights import randomise, write_json

CHANNELS, CONDITION, IMAGE_WIDTH = 16, 20, 20
ACTIONS = {
    "blocks": [0], "enable_keyboard": True, "enable_mouse": True, "heads_num": 2, "hidden_size": 8,
    "img_hidden_size": 48, "keyboard_dim_in": 4, "keyboard_hidden_dim": 32, "mouse_dim_in": 2, "mouse_hidden_dim": 32,
    "mouse_qk_dim_list": [8, 4, 4], "patch_size": [1, 2, 2], "qk_norm": True, "qkv_bias": False,
    "rope_dim_list": [8, 4, 4], "rope_theta": 256, "vae_time_compression_ratio": 2, "windows_size": 3,
}  # fmt: skip
CONFIG = {
    "_class_name": "CausalWanModel", "model_type": "i2v", "action_config": ACTIONS, "dim": 48, "eps": 1e-6,
    "ffn_dim": 96, "freq_dim": 32, "in_dim": CHANNELS + CONDITION, "local_attn_size": 6, "num_heads": 2,
    "num_layers": 2, "out_dim": CHANNELS, "sink_size": 0, "text_len": 512,
}  # fmt: skip
SETTINGS = {"height": 8, "width": 8, "chunk": 2, "denoising_steps": [1000, 500], "prompt_tokens": 5}
"""A ring of two chunks beside the one that is made."""
IMAGE_NAMES = {"norm1": "proj.0", "ff.net.0.proj": "proj.1", "ff.net.2": "proj.3", "norm2": "proj.4"}
IMAGE = "condition_embedder.image_embedder."


def make_tensors() -> dict[str, Tensor]:
    """The transformer under the names of Matrix-Game-2/wan/modules, without the wrapper that holds all."""
    model = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=24, in_channels=CHANNELS + CONDITION, out_channels=CHANNELS,
        text_dim=8, freq_dim=32, ffn_dim=96, num_layers=2, rope_max_seq_len=64, image_dim=IMAGE_WIDTH,
    )  # fmt: skip
    randomise(model, seed=21)
    state = {name: tensor for name, tensor in model.state_dict().items() if "text_embedder" not in name}
    made = original_transformer({name: tensor for name, tensor in state.items() if not name.startswith(IMAGE)})
    for ours, theirs in IMAGE_NAMES.items():
        for kind in ("weight", "bias"):
            made[f"img_emb.{theirs}.{kind}"] = state[f"{IMAGE}{ours}.{kind}"].clone()
    for block in ActionConfig.model_validate(ACTIONS).blocks:
        module = ActionModule(ActionConfig.model_validate(ACTIONS), CONFIG["dim"])  # type: ignore[arg-type]
        randomise(module, seed=22 + block)
        made |= {f"blocks.{block}.action_model.{name}": t.clone() for name, t in module.state_dict().items()}
    return made


def build_distilled(out: Path) -> None:
    """The three files of the universal model."""
    save_file({f"model.{name}": tensor for name, tensor in make_tensors().items()}, out / "base_distill.safetensors")
    torch.save(original_autoencoder(make_original_autoencoder().state_dict()), out / "Wan2.1_VAE.pth")
    write_json(out / "config.json", CONFIG)
    write_json(out / "worldport.json", SETTINGS)


ENTRIES = (Entry("matrix-game-2", "matrix_game", "Skywork/Matrix-Game-2.0, distilled, loose files", build_distilled),)
