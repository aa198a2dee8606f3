"""AnyFlow FAR: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="anyflow_far",
        title="AnyFlow FAR: autoregressive flow map over chunks, the past compressed, streaming Wan autoencoder",
        signature=Signature(
            words=("anyflow_far", "AnyFlowFARPipeline", "AnyFlowFARTransformer3DModel"),
            tensors=(
                "patch_embedding.weight",
                "far_patch_embedding.weight",
                "condition_embedder.delta_embedder.linear_1.weight",
                "blocks.0.attn1.norm_q.weight",
                "blocks.0.ffn.net.0.proj.weight",
            ),
        ),
        adapter="porting.adapters.anyflow_far.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
