"""Wan: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="wan",
        title="Wan 2.1 and 2.2, text to video: diffusion transformer and streaming Wan autoencoder, clip by clip",
        signature=Signature(
            words=("wan", "WanPipeline", "WanTransformer3DModel", "WanModel"),
            # What the names of diffusers and those of the original repository have in common.
            tensors=(
                "patch_embedding.weight",
                "blocks.0.*att*.norm_q.weight",
                "blocks.0.*att*.norm_k.weight",
                "blocks.0.ffn.*.weight",
                "*text_embed*.weight",
            ),
        ),
        adapter="porting.adapters.wan.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
