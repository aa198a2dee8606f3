"""Cosmos Predict 2 and 2.5: how their checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="cosmos_predict2",
        title="Cosmos Predict 2 and 2.5, video to world: diffusion transformer and streaming Wan autoencoder,"
        " chunk by chunk",
        signature=Signature(
            # The transformer's class is Predict 1's too: a pipeline is told by its own.
            words=("Cosmos2VideoToWorldPipeline", "Cosmos2_5_PredictBasePipeline", "Cosmos2TextToImagePipeline"),
            tensors=(
                "x_embedder.proj.1.weight",
                "t_embedding_norm.weight",
                "blocks.0.self_attn.q_proj.weight",
                "blocks.0.adaln_modulation_self_attn.1.weight",
            ),
        ),
        adapter="porting.adapters.cosmos_predict2.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
