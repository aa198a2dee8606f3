"""Cosmos Predict: how its pipelines are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="cosmos_predict",
        title="Cosmos Predict 1, video to world: diffusion transformer and Cosmos autoencoder, chunk by chunk",
        signature=Signature(
            words=("CosmosVideoToWorldPipeline", "CosmosTransformer3DModel"),
            tensors=(
                "x_embedder.proj.1.weight",
                "blocks.block0.blocks.0.block.attn.to_q.0.weight",
                "extra_pos_embedder.pos_emb_h",
            ),
        ),
        adapter="porting.adapters.cosmos_predict.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
