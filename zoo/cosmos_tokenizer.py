"""The Cosmos tokenizer as diffusers stores it: that of Predict 1's tiny pipeline, by itself."""

from pathlib import Path

from zoo import Entry
from zoo.cosmos_predict import make_autoencoder
from zoo.weights import write_json


def build_published(out: Path) -> None:
    """As `save_pretrained` writes it: diffusion_pytorch_model.safetensors and config.json."""
    make_autoencoder().save_pretrained(out)
    write_json(out / "worldport.json", {"height": 16, "width": 16, "frames": 5})


ENTRIES = (Entry("cosmos-tokenizer", "cosmos_tokenizer", "diffusers, one component's folder", build_published),)
