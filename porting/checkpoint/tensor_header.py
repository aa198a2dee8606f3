"""What is known of a stored tensor before its values are read."""

import math
from dataclasses import dataclass

ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e8m0fnu": 1,
    "complex64": 8,
    "complex128": 16,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
}
"""Every dtype that a checkpoint may hold, by torch's name; which of them a model can use is its adapter's business."""


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """A stored tensor: its shape, its dtype by torch's name, the bytes of its values."""

    shape: tuple[int, ...]
    dtype: str
    nbytes: int

    @property
    def elements(self) -> int:
        """Number of values; 1 for a scalar."""
        return math.prod(self.shape)
