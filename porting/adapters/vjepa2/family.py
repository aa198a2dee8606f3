"""V-JEPA 2: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="vjepa2",
        title="V-JEPA 2: video encoder and mask predictor, rolled out in latent space",
        signature=Signature(
            words=("vjepa2", "VJEPA2Model"),
            tensors=(
                "encoder.embeddings.patch_embeddings.proj.weight",
                "predictor.embeddings.mask_tokens",
                "predictor.layer.0.attention.query.weight",
            ),
        ),
        adapter="porting.adapters.vjepa2.adapter",
        needs=("torch", "transformers"),
        configs=list_configs(__file__),
    ),
)
