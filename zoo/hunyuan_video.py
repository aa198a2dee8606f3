"""HunyuanVideo as its diffusers pipeline is laid out, and its transformer under the original repository's names."""

import re
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from zoo import Entry
from zoo.weights import randomise, write_pipeline

CHANNELS = 4
"""Of a latent."""
PROMPT_WIDTH, POOLED_WIDTH = 20, 12
SETTINGS = {
    "height": 16, "width": 16, "frames": 9, "steps": 2, "prompt_tokens": 6, "piece_frames": 8, "piece_stride": 4,
}  # fmt: skip
"""Three latent frames: a piece of all of them, one of the last two, and four pictures that are blended."""


def make_transformer(single_layers: int = 1) -> HunyuanVideoTransformer3DModel:
    """A transformer with a layer of each kind whose answers have the size of its input."""
    model = HunyuanVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_single_layers=single_layers,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=PROMPT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        rope_axes_dim=(4, 6, 6),
    )
    randomise(model, seed=31)
    return model


def make_autoencoder() -> AutoencoderKLHunyuanVideo:
    """An autoencoder of four times the size of its latents in space and time, pictures around grey."""
    model = AutoencoderKLHunyuanVideo(
        latent_channels=CHANNELS,
        down_block_types=("HunyuanVideoDownBlock3D",) * 3,
        up_block_types=("HunyuanVideoUpBlock3D",) * 3,
        block_out_channels=(8, 8, 12),
        layers_per_block=1,
        norm_num_groups=4,
        spatial_compression_ratio=4,
    )
    randomise(model, seed=32)
    with torch.no_grad():  # what is clamped proves nothing
        model.decoder.conv_out.conv.weight.mul_(0.3)
    return model


def build_pipeline(out: Path) -> None:
    """Transformer and autoencoder; the text encoders, which a session runs once, are not part of a port."""
    parts = {"transformer": make_transformer(), "vae": make_autoencoder()}
    write_pipeline(out, "HunyuanVideoPipeline", parts, SETTINGS)


def build_original(out: Path) -> None:
    """The pipeline, its transformer's tensors under their original names.

    It has no layers of one stream: diffusers' converter splits those at the published width.
    """
    build_pipeline(out)
    model = make_transformer(single_layers=0)
    folder = out / "transformer"
    model.save_pretrained(folder)
    tensors = {f"module.{name}": tensor for name, tensor in original_transformer(model.state_dict()).items()}
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")


def original_transformer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's tensors, without layers of one stream, under the names of Tencent/HunyuanVideo."""
    joined: dict[str, list[Tensor]] = {}
    # Queries, keys and values are one tensor there, in this order.
    for name in sorted(state, key=lambda name: [bool(re.search(rf"(to|add)_{kind}", name)) for kind in "vkq"]):
        joined.setdefault(_original_name(name), []).append(state[name].detach())
    return {name: _reorder(name, torch.cat(parts).clone()) for name, parts in joined.items()}


def _reorder(name: str, tensor: Tensor) -> Tensor:
    """The last norm's modulation holds its shift first there, its scale first here."""
    if not name.startswith("final_layer.adaLN_modulation.1"):
        return tensor
    scale, shift = tensor.chunk(2)
    return torch.cat([shift, scale])


def _original_name(name: str) -> str:
    rules = (
        ("context_embedder.time_text_embed.timestep_embedder.linear_1", "txt_in.t_embedder.mlp.0"),
        ("context_embedder.time_text_embed.timestep_embedder.linear_2", "txt_in.t_embedder.mlp.2"),
        ("context_embedder.time_text_embed.text_embedder", "txt_in.c_embedder"),
        ("context_embedder.proj_in", "txt_in.input_embedder"),
        ("context_embedder.token_refiner.refiner_blocks", "txt_in.individual_token_refiner.blocks"),
        ("x_embedder", "img_in"),
        ("time_text_embed.timestep_embedder.linear_1", "time_in.mlp.0"),
        ("time_text_embed.timestep_embedder.linear_2", "time_in.mlp.2"),
        ("time_text_embed.guidance_embedder.linear_1", "guidance_in.mlp.0"),
        ("time_text_embed.guidance_embedder.linear_2", "guidance_in.mlp.2"),
        ("time_text_embed.text_embedder.linear_1", "vector_in.in_layer"),
        ("time_text_embed.text_embedder.linear_2", "vector_in.out_layer"),
        ("norm_out.linear", "final_layer.adaLN_modulation.1"),
        ("proj_out", "final_layer.linear"),
    )
    refiner = (
        ("norm_out.linear", "adaLN_modulation.1"), ("attn.to_q", "self_attn_qkv"), ("attn.to_k", "self_attn_qkv"),
        ("attn.to_v", "self_attn_qkv"), ("attn.to_out.0", "self_attn_proj"), ("ff.net.0.proj", "mlp.fc1"),
        ("ff.net.2", "mlp.fc2"),
    )  # fmt: skip
    both = (
        ("norm1_context.linear", "txt_mod.linear"), ("norm1.linear", "img_mod.linear"),
        ("attn.norm_added_q", "txt_attn_q_norm"), ("attn.norm_added_k", "txt_attn_k_norm"),
        ("attn.norm_q", "img_attn_q_norm"), ("attn.norm_k", "img_attn_k_norm"),
        ("attn.to_q", "img_attn_qkv"), ("attn.to_k", "img_attn_qkv"), ("attn.to_v", "img_attn_qkv"),
        ("attn.add_q_proj", "txt_attn_qkv"), ("attn.add_k_proj", "txt_attn_qkv"), ("attn.add_v_proj", "txt_attn_qkv"),
        ("attn.to_out.0", "img_attn_proj"), ("attn.to_add_out", "txt_attn_proj"),
        ("ff_context.net.0.proj", "txt_mlp.fc1"), ("ff_context.net.2", "txt_mlp.fc2"),
        ("ff.net.0.proj", "img_mlp.fc1"), ("ff.net.2", "img_mlp.fc2"), ("transformer_blocks", "double_blocks"),
    )  # fmt: skip
    used: tuple[tuple[str, str], ...] = rules
    if name.startswith("context_embedder.token_refiner"):
        used = (*refiner, rules[4])
    elif name.startswith("transformer_blocks"):
        used = both
    for ours, theirs in used:
        name = name.replace(ours, theirs)
    return name


ENTRIES = (Entry("hunyuan-video", "hunyuan_video", "diffusers pipeline, a folder a component", build_pipeline),)
