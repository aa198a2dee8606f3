"""LTX-Video: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="ltx",
        title="LTX-Video 0.9, text to video: diffusion transformer and LTX autoencoder, clip by clip",
        signature=Signature(
            words=("ltx", "LTXPipeline", "LTXVideoTransformer3DModel"),
            # What the names of diffusers and those of the original repository have in common.
            tensors=(
                "*.emb.timestep_embedder.linear_1.weight",
                "caption_projection.linear_1.weight",
                "transformer_blocks.0.scale_shift_table",
                "transformer_blocks.0.attn1.*norm*.weight",
                "transformer_blocks.0.ff.net.0.proj.weight",
            ),
        ),
        adapter="porting.adapters.ltx.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
