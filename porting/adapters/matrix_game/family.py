"""Matrix-Game 2: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="matrix_game",
        title="Matrix-Game 2: causal Wan with keyboard and mouse, few-step chunks over rolling caches",
        signature=Signature(
            words=("matrix_game", "CausalWanModel"),
            tensors=(
                "patch_embedding.weight",
                "img_emb.proj.0.weight",
                "blocks.*.action_model.keyboard_embed.0.weight",
            ),
            keys=("action_config",),
        ),
        adapter="porting.adapters.matrix_game.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
