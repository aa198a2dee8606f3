"""CogVideoX: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="cogvideox",
        title="CogVideoX, text to video: diffusion transformer and streaming CogVideoX autoencoder, clip by clip",
        signature=Signature(
            words=("cogvideox", "CogVideoXPipeline", "CogVideoXTransformer3DModel"),
            tensors=(
                "patch_embed.text_proj.weight",
                "transformer_blocks.0.norm1.linear.weight",
                "transformer_blocks.0.attn1.norm_q.weight",
                "time_embedding.linear_1.weight",
                "norm_final.weight",
            ),
        ),
        adapter="porting.adapters.cogvideox.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
