"""AutoencoderTiny: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="autoencoder_tiny",
        title="AutoencoderTiny (TAESD): image latents to pictures",
        signature=Signature(
            words=("AutoencoderTiny",),
            tensors=("encoder.layers.0.weight", "decoder.layers.0.weight", "decoder.layers.2.conv.0.weight"),
        ),
        adapter="porting.adapters.autoencoder_tiny.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
