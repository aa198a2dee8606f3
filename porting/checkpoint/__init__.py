"""Safe checkpoints: weights and config that someone else wrote, read without running anything that is in them.

`open_checkpoint` reads headers only and needs no torch; what a file is, is decided from its content, never its name.
It knows no model family: which tensors must be there is the adapter's business.
"""

from porting.checkpoint.checkpoint import Checkpoint
from porting.checkpoint.opening import open_checkpoint, open_config
from porting.checkpoint.tensor_header import TensorHeader

__all__ = ["Checkpoint", "TensorHeader", "open_checkpoint", "open_config"]
