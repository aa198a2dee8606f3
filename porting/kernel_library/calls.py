"""One use of a kernel's operator: for which shapes, dtypes and scalars, and the name that a graph gives to just that.

An ONNX function and a TensorRT plugin are each made for one such use; the name is what brings them together.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from porting.kernel_library.library import Kernel
from porting.kernel_library.operators import make_outputs

DIGEST_CHARACTERS = 12


class OperatorCall:
    """What an operator is called with: each input is a tensor on the meta device, a scalar, or None."""

    def __init__(self, kernel: Kernel, inputs: Mapping[str, Any]) -> None:
        """Take the inputs by the names of `reference`; of tensors only shape and dtype are kept."""
        self.kernel = kernel
        self.inputs = {
            name: torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }
        self.outputs = make_outputs(kernel, self.inputs.values())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The inputs that are tensors, in order."""
        return {name: value for name, value in self.inputs.items() if isinstance(value, Tensor)}

    @property
    def scalars(self) -> dict[str, Any]:
        """The others: numbers, texts, and tensors that were left out."""
        return {name: value for name, value in self.inputs.items() if not isinstance(value, Tensor)}

    @property
    def output_names(self) -> list[str]:
        """One name an output."""
        return [f"output_{index}" for index in range(len(self.outputs))]

    @property
    def name(self) -> str:
        """The kernel's name and a digest of all that is fixed here; the kernel's source is not part of it."""
        described = {key: value for key, value in self.describe().items() if key != "sha256"}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        return f"{self.kernel.name}_{digest[:DIGEST_CHARACTERS]}"

    def describe(self) -> dict[str, Any]:
        """As JSON: the kernel, the digest of its source, inputs, scalars and outputs."""
        return {
            "kernel": self.kernel.name,
            "sha256": self.kernel.digest,
            "inputs": {name: _describe_tensor(tensor) for name, tensor in self.tensors.items()},
            "scalars": self.scalars,
            "outputs": [_describe_tensor(output) for output in self.outputs],
        }


def _describe_tensor(tensor: Tensor) -> list[Any]:
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
