"""Oasis as etched-ai/open-oasis publishes it: two weights files in one folder, named after the networks' sizes."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from porting.adapters.oasis.autoencoder import Autoencoder
from porting.adapters.oasis.config import DitConfig, OasisConfig, VaeConfig
from porting.adapters.oasis.renaming import find_axis
from porting.adapters.oasis.transformer import Dit, compute_frequencies
from zoo import Entry
from zoo.weights import randomise, write_json

TINY = OasisConfig(
    dit=DitConfig(input_h=4, input_w=6, in_channels=4, hidden_size=32, depth=2, num_heads=2, mlp_width=64),
    vae=VaeConfig(
        latent_dim=4,
        input_height=16,
        input_width=24,
        patch_size=4,
        enc_dim=32,
        enc_depth=1,
        enc_heads=2,
        enc_mlp_width=64,
        dec_dim=32,
        dec_depth=2,
        dec_heads=2,
        dec_mlp_width=64,
    ),
)
SETTINGS = {"window": 5, "prompt_frames": 2, "steps": 2}


def make_dit() -> dict[str, Tensor]:
    """The transformer's tensors as safetensors keeps them: frequencies under the first block's names alone."""
    dit = Dit(TINY.dit, SETTINGS["window"])
    randomise(dit, seed=21)
    with torch.no_grad():  # each frame must hang on its past and on its action
        dit.external_cond.weight.mul_(3.0)
    tensors = dict(dit.state_dict()) | compute_frequencies(TINY.dit)
    return {
        (f"blocks.0.{axis[0]}_attn.rotary_emb.freqs" if (axis := find_axis(n)) else n): t for n, t in tensors.items()
    }


def make_vae() -> dict[str, Tensor]:
    """The autoencoder's tensors; its latents have unit size once scaled."""
    vae = Autoencoder(TINY.vae)
    randomise(vae, seed=22)
    with torch.no_grad():  # pictures around grey: what is clamped proves nothing
        vae.quant_conv.weight.div_(TINY.scaling_factor)
        vae.post_quant_conv.weight.mul_(TINY.scaling_factor)
        vae.predictor.weight.mul_(0.3)
    return dict(vae.state_dict())


def build_folder(out: Path) -> None:
    """The published file names; the autoencoder's heads and picture stand in config.json, since no shape tells them."""
    for name, tensors in (("oasis500m", make_dit()), ("vit-l-20", make_vae())):
        save_file(
            {key: value.detach().contiguous().clone() for key, value in tensors.items()}, out / f"{name}.safetensors"
        )
    told = {
        "dit": {"input_h": 4, "input_w": 6},
        "vae": {"input_height": 16, "input_width": 24, "enc_heads": 2, "dec_heads": 2},
    }
    write_json(out / "config.json", told)
    write_json(out / "worldport.json", SETTINGS)


ENTRIES = (Entry("oasis", "oasis", "etched-ai/open-oasis, a safetensors file of each network", build_folder),)
