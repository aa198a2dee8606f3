"""Cosmos Predict 2 and 2.5 as their diffusers pipelines are laid out, and 2.5 under NVIDIA's own names."""

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from zoo import Entry
from zoo.wan import make_original_autoencoder, original_autoencoder, tame
from zoo.weights import randomise, write_json, write_pipeline

PROMPT_WIDTH, TOLD_WIDTH = 24, 32
"""Of what the transformer takes, and of what Predict 2.5's text encoder tells."""
SETTINGS = {
    "height": 16, "width": 16, "frames": 9, "context_frames": 5, "steps": 3, "guidance_scale": 1.5,
    "prompt_tokens": 6, "sigma_max": 8.0, "sigma_min": 0.05,
}  # fmt: skip


def make_transformer(channels: int = 4, *, projected: bool) -> CosmosTransformer3DModel:
    """A transformer whose answers have the size of its input; 2.5's narrows the prompt."""
    model = CosmosTransformer3DModel(
        in_channels=channels + 1,
        out_channels=channels,
        num_attention_heads=2,
        attention_head_dim=24,
        num_layers=2,
        mlp_ratio=2.0,
        text_embed_dim=PROMPT_WIDTH,
        adaln_lora_dim=16,
        max_size=(16, 16, 16),
        rope_scale=(1.0, 3.0, 3.0),
        extra_pos_embed_type=None,
        use_crossattn_projection=projected,
        crossattn_proj_in_channels=TOLD_WIDTH,
        encoder_hidden_states_channels=PROMPT_WIDTH,
    )
    randomise(model, seed=14)
    return model


def make_autoencoder() -> AutoencoderKLWan:
    """Wan 2.1's with three levels, two of which grow in time: as many pictures a latent frame as the published one."""
    channels = 4
    model = AutoencoderKLWan(
        base_dim=8,
        z_dim=channels,
        dim_mult=[1, 2, 2],
        temperal_downsample=[True, True],
        num_res_blocks=1,
        latents_mean=[0.1 * (i % 3) for i in range(channels)],
        latents_std=[0.8 + 0.1 * (i % 3) for i in range(channels)],
        scale_factor_spatial=4,
        scale_factor_temporal=4,
    )
    return tame(model)


def build_second(out: Path) -> None:
    """Predict 2; the text encoder, which a session runs once, is not part of a port."""
    _build_pipeline(out, "Cosmos2VideoToWorldPipeline", projected=False)


def build_second_and_a_half(out: Path) -> None:
    """Predict 2.5."""
    _build_pipeline(out, "Cosmos2_5_PredictBasePipeline", projected=True)


def build_original(out: Path) -> None:
    """Predict 2.5's names in loose files, without a config; the autoencoder a torch.save file."""
    out.mkdir(parents=True, exist_ok=True)
    state = make_transformer(16, projected=True).state_dict()
    save_file(original_transformer(state), out / "model_ema.safetensors")
    torch.save(original_autoencoder(make_original_autoencoder().state_dict()), out / "tokenizer.pth")
    write_json(out / "worldport.json", {**SETTINGS, "frames": 5, "context_frames": 3})


def original_transformer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's tensors under the names of nvidia-cosmos/cosmos-predict2, inside the training wrapper `net`."""
    rules = (
        ("transformer_blocks", "blocks"),
        ("time_embed.t_embedder", "t_embedder.1"), ("time_embed.norm", "t_embedding_norm"),
        ("patch_embed.proj", "x_embedder.proj.1"), ("proj_out", "final_layer.linear"),
        ("norm_out.linear_", "final_layer.adaln_modulation."),
        ("norm1.linear_", "adaln_modulation_self_attn."), ("norm2.linear_", "adaln_modulation_cross_attn."),
        ("norm3.linear_", "adaln_modulation_mlp."),
        ("attn1", "self_attn"), ("attn2", "cross_attn"), ("norm_q", "q_norm"), ("norm_k", "k_norm"),
        ("to_out.0", "output_proj"), ("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"),
        ("ff.net.0.proj", "mlp.layer1"), ("ff.net.2", "mlp.layer2"),
    )  # fmt: skip
    renamed = {"net.pos_embedder.seq": torch.arange(4.0), "net.accum_iteration": torch.ones(1)}
    for name, tensor in state.items():
        new = name
        for ours, theirs in rules:
            new = new.replace(ours, theirs)
        renamed[f"net.{new}"] = tensor.detach().contiguous().clone()
    return renamed


def _build_pipeline(out: Path, pipeline: str, *, projected: bool) -> None:
    parts = {"transformer": make_transformer(projected=projected), "vae": make_autoencoder()}
    write_pipeline(out, pipeline, parts, SETTINGS, {"safety_checker": [None, None]})


ENTRIES = (
    Entry("cosmos-predict2", "cosmos_predict2", "diffusers pipeline, a folder a component", build_second),
    Entry("cosmos-predict2.5", "cosmos_predict2", "diffusers pipeline, a folder a component", build_second_and_a_half),
)
