"""HunyuanVideo: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="hunyuan_video",
        title="HunyuanVideo, text to video: diffusion transformer of two streams and its autoencoder, clip by clip",
        signature=Signature(
            words=("hunyuan_video", "HunyuanVideoPipeline", "HunyuanVideoTransformer3DModel"),
            tensors=(
                "context_embedder.token_refiner.refiner_blocks.0.norm_out.linear.weight",
                "transformer_blocks.0.attn.add_q_proj.weight",
                "x_embedder.proj.weight",
            ),
        ),
        adapter="porting.adapters.hunyuan_video.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
