"""Causal Wan: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="wan_causal",
        title="Causal Wan as in Self-Forcing: few-step chunks with a rolling cache of keys and values, from a prompt",
        signature=Signature(
            words=("wan_causal", "CausalWanModel"),
            other_keys=("action_config",),
            # Its tensors are those of Wan: without a config that says so, the two cannot be told apart.
            tensors=(
                "patch_embedding.weight",
                "blocks.0.*att*.norm_q.weight",
                "blocks.0.*att*.norm_k.weight",
                "blocks.0.ffn.*.weight",
                "*text_embed*.weight",
            ),
        ),
        adapter="porting.adapters.wan_causal.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
