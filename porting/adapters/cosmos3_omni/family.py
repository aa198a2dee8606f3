"""Cosmos 3 Omni: how its pipelines are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="cosmos3_omni",
        title="Cosmos 3 Omni, policy and forward dynamics: two-pathway transformer and streaming Wan autoencoder,"
        " chunk by chunk",
        signature=Signature(
            words=("Cosmos3OmniPipeline", "Cosmos3OmniTransformer"),
            tensors=(
                "embed_tokens.weight",
                "layers.0.self_attn.add_q_proj.weight",
                "layers.0.mlp_moe_gen.up_proj.weight",
                "action_proj_in.fc.weight",
            ),
        ),
        adapter="porting.adapters.cosmos3_omni.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
