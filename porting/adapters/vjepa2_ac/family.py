"""V-JEPA 2-AC: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="vjepa2_ac",
        title="V-JEPA 2-AC: action-conditioned predictor, latent rollout and planner step",
        signature=Signature(
            words=("vjepa2_ac",),
            tensors=(
                "encoder.patch_embed.proj.weight",
                "encoder.blocks.0.attn.qkv.weight",
                "predictor.action_encoder.weight",
                "predictor.state_encoder.weight",
                "predictor.predictor_blocks.0.attn.qkv.weight",
            ),
        ),
        adapter="porting.adapters.vjepa2_ac.adapter",
        needs=("torch", "transformers"),
        configs=list_configs(__file__),
    ),
)
