"""Emu3: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="emu3",
        title="Emu3: visual tokens decoded one by one over a static cache, vector-quantised video decoder",
        signature=Signature(
            words=("emu3", "Emu3ForConditionalGeneration"),
            # With and without the `model.` that older files have elsewhere.
            tensors=(
                "text_model.embed_tokens.weight",
                "text_model.layers.0.self_attn.q_proj.weight",
                "vqmodel.quantize.embedding.weight",
                "vqmodel.post_quant_conv.conv.weight",
            ),
        ),
        adapter="porting.adapters.emu3.adapter",
        needs=("torch", "transformers"),
        configs=list_configs(__file__),
    ),
)
