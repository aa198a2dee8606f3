"""SANA-WM's refiner: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="sana_wm_refiner",
        title="SANA-WM's refiner, stage 2: LTX-2 transformer over blocks of latents, sink keys and a ring of history",
        signature=Signature(
            words=("sana_wm_refiner", "SanaWMLTX2Refiner", "SanaWMLTX2RefinerTransformer3DModel"),
            tensors=(
                "proj_in.weight",
                "caption_projection.linear_1.weight",
                "time_embed.emb.timestep_embedder.linear_1.weight",
                "transformer_blocks.0.attn1.norm_q.weight",
                "transformer_blocks.0.audio_to_video_attn.to_q.weight",
            ),
        ),
        adapter="porting.adapters.sana_wm_refiner.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
