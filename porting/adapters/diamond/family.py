"""DIAMOND: how its checkpoints are recognised, and what opens them."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="diamond",
        title="DIAMOND: diffusion U-Net on rolled observations and actions, with an LSTM that tells reward and end",
        signature=Signature(
            words=("diamond",),
            tensors=(
                "denoiser.inner_model.noise_emb.weight",
                "denoiser.inner_model.act_emb.0.weight",
                "denoiser.inner_model.unet.d_blocks.0.resblocks.0.conv1.weight",
                "rew_end_model.encoder.conv_in.weight",
                "rew_end_model.lstm.weight_ih_l0",
            ),
        ),
        adapter="porting.adapters.diamond.adapter",
        configs=list_configs(__file__),
    ),
)
