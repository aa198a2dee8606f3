"""SANA-WM: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="sana_wm",
        title="SANA-WM, stage 1: camera-controlled clips from a picture, delta-rule attention over frames and rays",
        signature=Signature(
            words=("sana_wm", "SanaWMPipeline", "SanaWMTransformer3DModel"),
            tensors=(
                "x_embedder.proj.weight",
                "plucker_embedder.proj.weight",
                "blocks.0.attn.q_proj_cam.weight",
                "blocks.0.attn.conv_k.weight",
                "blocks.0.mlp.t_conv.weight",
            ),
        ),
        adapter="porting.adapters.sana_wm.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
