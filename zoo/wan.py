"""Wan 2.1 and 2.2 as their diffusers pipelines are laid out, and Wan 2.1 under the original repository's names."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from zoo import Entry
from zoo.weights import randomise, write_json, write_pipeline

NAME = "WanPipeline"
SETTINGS = {
    "height": 16, "width": 16, "frames": 5, "steps": 2, "guidance_scale": 2.0, "prompt_tokens": 6,
}  # fmt: skip
PROMPT_WIDTH = 24


def make_transformer(channels: int, seed: int = 11) -> WanTransformer3DModel:
    """A transformer whose answers have the size of its input."""
    model = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=channels,
        out_channels=channels,
        text_dim=PROMPT_WIDTH,
        freq_dim=32,
        ffn_dim=96,
        num_layers=2,
        rope_max_seq_len=64,
    )
    randomise(model, seed=seed)
    return model


def make_autoencoder(*, residual: bool = False) -> AutoencoderKLWan:
    """An autoencoder of three levels: that of Wan 2.1, or the residual one of Wan 2.2 with patches."""
    channels = 6 if residual else 4
    patches: dict[str, Any] = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}
    model = AutoencoderKLWan(
        base_dim=8,
        z_dim=channels,
        dim_mult=[2, 2] if residual else [1, 2, 2],
        temperal_downsample=[True] if residual else [False, True],
        num_res_blocks=1,
        latents_mean=[0.1 * (i % 3) for i in range(channels)],
        latents_std=[0.8 + 0.1 * (i % 3) for i in range(channels)],
        scale_factor_spatial=4,
        scale_factor_temporal=2,
        **(patches if residual else {}),
    )
    return tame(model)


def make_original_autoencoder() -> AutoencoderKLWan:
    """That of Wan 2.1 with two levels instead of four, the last of which changes its width as the published second."""
    return tame(AutoencoderKLWan(base_dim=8, dim_mult=[1, 1], temperal_downsample=[True]))


def tame(model: AutoencoderKLWan) -> AutoencoderKLWan:
    """Random weights whose pictures lie around grey: what is clamped proves nothing."""
    randomise(model, seed=12)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):  # of a norm, though not a vector
                parameter.copy_(1 + 0.1 * torch.sin(torch.arange(parameter.numel())).view_as(parameter))
        model.decoder.conv_out.weight.mul_(0.3)
    return model


def build_pipeline(out: Path) -> None:
    """Wan 2.1, text to video; the text encoder, which a session runs once, is not part of a port."""
    write_pipeline(out, NAME, {"transformer": make_transformer(4), "vae": make_autoencoder()}, SETTINGS)


def build_experts(out: Path) -> None:
    """Wan 2.2 A14B: a transformer for high noise, one for low, and the autoencoder of 2.1."""
    parts = {
        "transformer": make_transformer(4),
        "transformer_2": make_transformer(4, seed=13),
        "vae": make_autoencoder(),
    }
    write_pipeline(out, NAME, parts, SETTINGS, {"boundary_ratio": 0.875})


def build_residual(out: Path) -> None:
    """Wan 2.2 5B: one transformer, and the residual autoencoder with patches."""
    parts = {"transformer": make_transformer(6), "vae": make_autoencoder(residual=True)}
    write_pipeline(out, NAME, parts, SETTINGS, {"expand_timesteps": True})


def build_original(out: Path) -> None:
    """The original repository's folder: config.json is the transformer's, the autoencoder a torch.save file."""
    out.mkdir(parents=True, exist_ok=True)
    model = make_transformer(16)
    save_file(original_transformer(model.state_dict()), out / "diffusion_pytorch_model.safetensors")
    torch.save(original_autoencoder(make_original_autoencoder().state_dict()), out / "Wan2.1_VAE.pth")
    config = {
        "_class_name": "WanModel", "model_type": "t2v", "dim": 48, "eps": 1e-6, "ffn_dim": 96, "freq_dim": 32,
        "in_dim": 16, "num_heads": 2, "num_layers": 2, "out_dim": 16, "text_len": 512,
    }  # fmt: skip
    write_json(out / "config.json", config)
    write_json(out / "worldport.json", SETTINGS)


def original_transformer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's tensors under the names of Wan-Video/Wan2.1, wan/modules/model.py."""
    rules = (
        ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
        ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
        ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
        ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
        ("condition_embedder.time_proj", "time_projection.1"),
        ("attn1", "self_attn"), ("attn2", "cross_attn"), ("to_out.0", "o"),
        ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), (".norm2.", ".norm3."),
        ("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"), ("proj_out", "head.head"),
    )  # fmt: skip
    renamed = {}
    for name, tensor in state.items():
        new = name
        for ours, theirs in rules:
            new = new.replace(ours, theirs)
        new = "head.modulation" if new == "scale_shift_table" else new.replace("scale_shift_table", "modulation")
        renamed[new] = tensor.detach().contiguous().clone()
    return renamed


def original_autoencoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's tensors under the names of Wan-Video/Wan2.1, wan/modules/vae.py."""
    return {_original_name(name): tensor.detach().clone() for name, tensor in state.items()}


def _original_name(name: str) -> str:
    """One tensor's name: layers are counted through where diffusers groups them."""
    half, _, rest = name.partition(".")
    tops = {"quant_conv": "conv1", "post_quant_conv": "conv2"}
    if half in tops:
        return f"{tops[half]}.{rest}"
    layer, _, kind = rest.partition(".")
    tops = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
    if layer in tops:
        return f"{half}.{tops[layer]}.{kind}"
    inner = kind
    for ours, theirs in (("norm1", "residual.0"), ("conv1", "residual.2"), ("norm2", "residual.3")):
        inner = inner.replace(ours, theirs)
    parts = inner.replace("conv2", "residual.6").replace("conv_shortcut", "shortcut").split(".")
    if layer == "down_blocks":
        return ".".join([half, "downsamples", *parts])
    if layer == "mid_block":
        place = 1 if parts[0] == "attentions" else 2 * int(parts[1])
        return ".".join([half, "middle", str(place), *parts[2:]])
    # Blocks of three residual layers, then an upsampling one.
    place = 4 * int(parts[0]) + (int(parts[2]) if parts[1] == "resnets" else 3)
    return ".".join([half, "upsamples", str(place), *parts[3:]])


ENTRIES = (
    Entry("wan-2.1", "wan", "diffusers pipeline, a folder a component", build_pipeline),
    Entry("wan-2.1-original", "wan", "Wan-Video/Wan2.1's folder, original names", build_original),
    Entry("wan-2.2-a14b", "wan", "diffusers pipeline of two transformers", build_experts),
    Entry("wan-2.2-5b", "wan", "diffusers pipeline, residual autoencoder", build_residual),
)
