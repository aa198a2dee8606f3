"""The project's own world models: how their checkpoints are recognised, and what opens them."""

from typing import TYPE_CHECKING

from porting.adapters.family import Family, Signature
from porting.adapters.gwm import summary
from porting.checkpoint import Checkpoint

if TYPE_CHECKING:
    from porting.adapters.world_model import WorldModel


def _load(checkpoint: Checkpoint) -> "WorldModel":
    from porting.adapters.gwm.loading import load

    return load(checkpoint)


FAMILIES = (
    Family(
        name="gwm",
        title="GWM: frame-causal latent diffusion with a key/value ring",
        signature=Signature(words=("gwm",), tensors=("encoder.*", "denoiser.*", "decoder.*")),
        inspect=summary.summarise,
        load=_load,
    ),
)
