"""Named, statically shaped tensors: the only thing that components, programs and runners agree on."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["fp32", "fp16", "bf16", "fp64"]
"""What a component computes in."""
DType = Literal["float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]

ITEM_BYTES: dict[DType, int] = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "uint8": 1,
    "bool": 1,
}
FLOAT_OF_PRECISION: dict[Precision, DType] = {
    "fp64": "float64",
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
}
UNIT_ROUNDOFF: dict[Precision, float] = {
    "fp64": 2.0**-53,
    "fp32": 2.0**-24,
    "fp16": 2.0**-11,
    "bf16": 2.0**-8,
}
"""Largest relative error of rounding one number to nearest."""


class Model(BaseModel):
    """Frozen data that refuses unknown keys: the base of every record, program and profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class TensorSpec(Model):
    """One named input or output, for example latent (1, 8, 8, 8) float32."""

    name: Annotated[str, Field(min_length=1)]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    dtype: DType
    unit: str = ""
    """What 1.0 means, for the reader of an absolute error: "of full brightness", "latent standard deviations"."""

    @property
    def elements(self) -> int:
        """Number of values; 1 for a scalar."""
        product = 1
        for side in self.shape:
            product *= side
        return product

    @property
    def nbytes(self) -> int:
        """Size of the dense tensor."""
        return self.elements * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.name} {self.shape} {self.dtype}"
