"""Random weights that make a model worth porting: every path matters, and a rollout stays finite and keeps changing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


def randomise(module: nn.Module, seed: int, gain: float = 1.0) -> None:
    """Draw every parameter anew, zero-initialised ones too.

    Matrices and kernels get a standard deviation of gain / sqrt(inputs), so that a layer keeps its input's size; norms'
    vectors stay near 1, biases and tokens near 0.

    Args:
        module: changed in place.
        seed: of torch's generator.
        gain: of matrices.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2 and parameter[0].numel() > 1:
                parameter.copy_(noise * (gain / parameter[0].numel() ** 0.5))
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(0.1 * noise)


def write_folder(out: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> None:
    """config.json and one weights file of that name."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", config)
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, out / name)


def write_shards(out: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], stem: str, shards: int) -> None:
    """config.json, several weights files, and the index that joins them, as the libraries write them."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", config)
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        own = names[shard::shards]
        file = f"{stem}-{shard + 1:05d}-of-{shards:05d}.safetensors"
        save_file({key: tensors[key].detach().contiguous().clone() for key in own}, out / file)
        weight_map |= dict.fromkeys(own, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(out / f"{stem}.safetensors.index.json", index)


def write_pipeline(
    out: Path, name: str, parts: Mapping[str, Any], settings: Mapping[str, Any], more: Mapping[str, Any] | None = None
) -> None:
    """A diffusers pipeline of that class: a folder a part, its index with `more` in it, and worldport's settings."""
    for part, module in parts.items():
        module.save_pretrained(out / part)
    classes = {part: ["diffusers", type(module).__name__] for part, module in parts.items()}
    index = {"_class_name": name, "_diffusers_version": "0.42.1", **classes, **(more or {})}
    write_json(out / "model_index.json", index)
    write_json(out / "worldport.json", settings)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON file as people read it."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
