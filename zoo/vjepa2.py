"""V-JEPA 2 as transformers stores it, in two shards with an index; and under the original repository's names."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import VJEPA2Config, VJEPA2Model

from zoo import Entry
from zoo.weights import randomise, write_json, write_shards

TINY = VJEPA2Config(
    patch_size=8,
    crop_size=32,
    frames_per_clip=12,
    tubelet_size=2,
    hidden_size=48,
    num_attention_heads=2,
    num_hidden_layers=2,
    pred_hidden_size=48,
    pred_num_attention_heads=2,
    pred_num_hidden_layers=2,
    pred_num_mask_tokens=2,
)


def make_model() -> VJEPA2Model:
    """The tiny model; its gain keeps a rollout of thousands of tubelets moving."""
    model = VJEPA2Model(TINY)
    randomise(model, seed=1, gain=1.5)
    return model


def build_published(out: Path) -> None:
    """As `save_pretrained` lays it out when there is more than one file."""
    model = make_model()
    config = TINY.to_diff_dict() | {"architectures": ["VJEPA2Model"]}
    write_shards(out, config, model.state_dict(), "model", 2)


def build_original(out: Path) -> None:
    """As facebookresearch/vjepa2 stores it: a torch.save file of two dicts, wrappers in front of every name."""
    state = make_model().state_dict()
    halves = {
        half: {f"module.backbone.{name}": t for name, t in original_names(state, half).items()}
        for half in ("encoder", "predictor")
    }
    torch.save({**halves, "epoch": 3}, out / "vitt.pt")
    write_json(out / "config.json", TINY.to_diff_dict())


def original_names(state: dict[str, Tensor], half: str) -> dict[str, Tensor]:
    """One half's tensors under the original names: query, key and value in one, mask tokens one by one."""
    renamed: dict[str, Tensor] = {}
    own = {name.removeprefix(f"{half}."): t for name, t in state.items() if name.startswith(f"{half}.")}
    blocks = "blocks" if half == "encoder" else "predictor_blocks"
    tops = {
        "embeddings.patch_embeddings.proj": "patch_embed.proj",
        "embeddings.predictor_embeddings": "predictor_embed",
        "layernorm": "norm" if half == "encoder" else "predictor_norm",
        "proj": "predictor_proj",
    }
    for name, tensor in own.items():
        stem, _, kind = name.rpartition(".")
        if name == "embeddings.mask_tokens":
            renamed |= {f"mask_tokens.{index}": token for index, token in enumerate(tensor)}
        elif stem in tops:
            renamed[f"{tops[stem]}.{kind}"] = tensor
        elif stem.endswith(".attention.query"):
            three = [own[f"{stem.removesuffix('query')}{part}.{kind}"] for part in ("query", "key", "value")]
            stem = stem.removesuffix(".attention.query").replace("layer.", f"{blocks}.", 1)
            renamed[f"{stem}.attn.qkv.{kind}"] = torch.cat(three)
        elif not stem.endswith((".attention.key", ".attention.value")):
            moved = stem.replace("layer.", f"{blocks}.", 1).replace(".attention.", ".attn.")
            renamed[f"{moved}.{kind}"] = tensor
    return renamed


ENTRIES = (
    Entry("vjepa2", "vjepa2", "transformers, two shards with an index", build_published),
    Entry("vjepa2-original", "vjepa2", "facebookresearch/vjepa2, torch.save", build_original),
)
