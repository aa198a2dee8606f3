"""TAEHV as its repository publishes it: one file of tensors, no config; as safetensors and as torch.save."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from porting.adapters.taehv.config import TaehvConfig
from porting.adapters.taehv.decoder import Decoder
from zoo import Entry
from zoo.weights import randomise, write_json

TINY = TaehvConfig(latent_channels=8, widths=(16, 12, 8, 8), time_scales=(1, 2, 2), patch_size=1)


def make_tensors() -> dict[str, Tensor]:
    """The decoder's tensors, and the encoder's first one, which a published file has too."""
    decoder = Decoder(TINY)
    randomise(decoder, seed=3)
    tensors = dict(decoder.state_dict())
    # Pictures around grey: what is clamped proves nothing.
    tensors["decoder.22.weight"] = tensors["decoder.22.weight"] * 0.1
    tensors["decoder.22.bias"] = tensors["decoder.22.bias"] + 0.5
    generator = torch.Generator().manual_seed(4)
    return tensors | {"encoder.0.weight": torch.randn(8, 3, 3, 3, generator=generator)}


def build_safetensors(out: Path) -> None:
    """A file of any name."""
    save_file({name: tensor.contiguous() for name, tensor in make_tensors().items()}, out / "taew2_1.safetensors")
    write_json(out / "worldport.json", {"latent_height": 6, "latent_width": 8})


def build_torch(out: Path) -> None:
    """The .pth that most people have."""
    torch.save(make_tensors(), out / "taew2_1.pth")
    write_json(out / "worldport.json", {"latent_height": 6, "latent_width": 8})


ENTRIES = (
    Entry("taehv", "taehv", "madebyollin/taehv, safetensors without a config", build_safetensors),
    Entry("taehv-pth", "taehv", "madebyollin/taehv, torch.save without a config", build_torch),
)
