"""SkyReels-V2: how its diffusion forcing pipelines are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="skyreels_v2",
        title="SkyReels-V2, diffusion forcing: long video by overlapping chunks, streaming Wan autoencoder",
        signature=Signature(
            words=(
                "skyreels_v2",
                "SkyReelsV2DiffusionForcingPipeline",
                "SkyReelsV2DiffusionForcingImageToVideoPipeline",
                "SkyReelsV2DiffusionForcingVideoToVideoPipeline",
                "SkyReelsV2Transformer3DModel",
            ),
            # Its frame rate's embedding tells it from Wan, whose names it has otherwise.
            tensors=(
                "patch_embedding.weight",
                "blocks.0.*att*.norm_q.weight",
                "fps_embedding.weight",
                "fps_projection.*.weight",
            ),
        ),
        adapter="porting.adapters.skyreels_v2.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
