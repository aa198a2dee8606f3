"""Oasis: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="oasis",
        title="Oasis: diffusion transformer with axial attention over a rolled window, ViT autoencoder, 25 actions",
        signature=Signature(
            words=("oasis",),
            tensors=(
                "x_embedder.proj.weight",
                "external_cond.weight",
                "blocks.0.s_attn.to_qkv.weight",
                "blocks.0.t_attn.to_qkv.weight",
                "blocks.0.t_adaLN_modulation.1.weight",
            ),
        ),
        adapter="porting.adapters.oasis.adapter",
        configs=list_configs(__file__),
    ),
)
