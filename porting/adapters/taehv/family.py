"""TAEHV: how its checkpoints are recognised, and what opens them. It needs no package but torch."""

from porting.adapters.family import Signature, list_configs, packaged_family

FAMILIES = (
    packaged_family(
        name="taehv",
        title="TAEHV: video latents to pictures, frame by frame",
        signature=Signature(
            words=("taehv", "TAEHV"),
            tensors=(
                "decoder.1.weight",
                "decoder.3.conv.0.weight",
                "decoder.7.conv.weight",
                "decoder.13.conv.weight",
                "decoder.22.weight",
            ),
        ),
        adapter="porting.adapters.taehv.adapter",
        extra="torch",
        configs=list_configs(__file__),
    ),
)
