"""PyTorch itself as a runner: the reference that every port is measured against, eager or through torch.compile."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn

from porting.errors import RunnerError
from porting.program import ComponentSpec
from porting.runners.base import BoundCall, Buffer, check_buffers
from porting.tensor_spec import Precision

COMPUTE_DTYPES: dict[Precision, torch.dtype] = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


class TorchRunner:
    """Runs a torch module in one precision, whatever the precision of the buffers."""

    def __init__(self, module: nn.Module, spec: ComponentSpec, compute: Precision, compile: bool = False) -> None:
        """Copy the module and cast its weights; floating inputs are cast on the way in, outputs on the way out.

        Args:
            module: takes the component's inputs in order and returns a tensor or a tuple in the order of its outputs.
            spec: names, shapes and dtypes.
            compute: what the module computes in.
            compile: through torch.compile.
        """
        self.backend = "torch.compile" if compile else "eager"
        self._spec = spec
        self._dtype = COMPUTE_DTYPES[compute]
        self._module: nn.Module | None = copy.deepcopy(module).to(self._dtype).eval().requires_grad_(False)
        self._function: Callable[..., Any] = torch.compile(self._module, dynamic=False) if compile else self._module

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`; floating buffers may be of any floating dtype.

        Raises:
            RunnerError: a name, shape or dtype is not the component's.
        """
        check_buffers(self._spec, inputs, outputs, any_float=True)
        taken = [as_tensor(inputs[t.name]) for t in self._spec.inputs]
        filled = [as_tensor(outputs[t.name]) for t in self._spec.outputs]
        function, dtype = self._function, self._dtype

        def call() -> None:
            if self._module is None:
                raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
            with torch.inference_mode():
                made = function(*[x.to(dtype) if x.is_floating_point() else x for x in taken])
                copy_outputs(self._spec, [made] if isinstance(made, Tensor) else made, filled)

        return call

    def change_weights(self, change: Callable[[Buffer], Buffer]) -> None:
        """Replace every floating parameter and buffer of this runner's own copy by what `change` makes of it.

        Raises:
            RunnerError: the runner was closed.
        """
        if self._module is None:
            raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
        weights = {id(t): t for t in (*self._module.parameters(), *self._module.buffers()) if t.is_floating_point()}
        for weight in weights.values():
            weight.data.copy_(as_tensor(change(as_array(weight.data))))

    def close(self) -> None:
        """Let go of the module."""
        self._module = None
        self._function = _closed


def as_tensor(array: Buffer) -> Tensor:
    """A tensor over the array's own memory; bfloat16 goes through its bits."""
    if array.dtype == np.dtype(ml_dtypes.bfloat16):
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_array(tensor: Tensor) -> Buffer:
    """The values of a tensor on the CPU as an array; bfloat16 is ml_dtypes'."""
    if tensor.dtype is torch.bfloat16:
        return tensor.contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    array: Buffer = tensor.numpy()
    return array


def copy_outputs(spec: ComponentSpec, made: "list[Tensor] | tuple[Tensor, ...]", filled: list[Tensor]) -> None:
    """Copy what torch returned into the bound buffers.

    Raises:
        RunnerError: it returned another number of tensors, or one of another shape or kind.
    """
    if len(made) != len(filled):
        raise RunnerError(f"{spec.name}: returned {len(made)} tensors; its outputs are {len(filled)}")
    for tensor, source, target in zip(spec.outputs, made, filled, strict=True):
        fits = source.dtype == target.dtype or (source.is_floating_point() and target.is_floating_point())
        if source.shape != target.shape or not fits:
            raise RunnerError(
                f"{spec.name}.{tensor.name}: returned {tuple(source.shape)} {source.dtype}; give {tensor}"
            )
        target.copy_(source)


def _closed(*_: Any) -> None:
    """What a closed runner calls: nothing."""
