"""The Cosmos tokenizer: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="cosmos_tokenizer",
        title="Cosmos tokenizer (AutoencoderKLCosmos): clips to latents and back",
        signature=Signature(
            words=("AutoencoderKLCosmos",),
            tensors=(
                "encoder.conv_in.conv_s.weight",
                "encoder.down_blocks.0.resnets.0.conv1.conv_t.weight",
                "decoder.conv_out.conv_t.weight",
                "post_quant_conv.weight",
            ),
        ),
        adapter="porting.adapters.cosmos_tokenizer.adapter",
        needs=("torch", "diffusers"),
        configs=list_configs(__file__),
    ),
)
