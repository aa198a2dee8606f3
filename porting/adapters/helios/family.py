"""Helios: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="helios",
        title="Helios: chunks of video denoised beside a history at three scales, streaming Wan autoencoder",
        signature=Signature(
            words=("helios", "HeliosPipeline", "HeliosTransformer3DModel"),
            tensors=(
                "patch_short.weight",
                "patch_mid.weight",
                "patch_long.weight",
                "blocks.0.attn1.norm_q.weight",
            ),
        ),
        adapter="porting.adapters.helios.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
