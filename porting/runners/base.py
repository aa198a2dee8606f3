"""What every runner does: bind a component's artifact to buffers once, then run it again and again.

A runner knows its backend's runtime and numpy. It knows no torch (its own backend aside), no adapter, no program.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from porting.errors import RunnerError
from porting.program import ComponentSpec
from porting.tensor_spec import DType, TensorSpec

Buffer = npt.NDArray[Any]

ALIGNMENT = 64
"""Bytes; a runtime may copy a tensor that starts off a cache line."""


class BoundCall(Protocol):
    """One component bound to buffers: reads the inputs' present values, fills the outputs, returns when it is done."""

    def __call__(self) -> None: ...


class Runner(Protocol):
    """One loaded artifact of one component."""

    backend: str

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """Bind every input and every output of the component by name.

        The buffers are C-contiguous, stay where they are for the life of the call, and are written in place. Inputs and
        outputs never share memory.

        Raises:
            RunnerError: a name, shape or dtype is not the artifact's.
        """
        ...

    def close(self) -> None:
        """Release what the runtime holds; bound calls are dead afterwards."""
        ...


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """The numpy dtype of that name; bfloat16 is ml_dtypes'."""
    return np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Buffer:
    """A C-contiguous array of zeros that starts on a cache line."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes].view(dtype).reshape(shape)


def check_names(where: str, kind: str, given: Iterable[str], declared: Iterable[str]) -> None:
    """Every declared name, and no other.

    Raises:
        RunnerError: naming those missing and those too many.
    """
    missing, extra = set(declared) - set(given), set(given) - set(declared)
    if missing or extra:
        found = [f"lacks {sorted(missing)}"] * bool(missing) + [f"does not know {sorted(extra)}"] * bool(extra)
        raise RunnerError(f"{where}: {' and '.join(found)} among its {kind}; give exactly {sorted(declared)}")


def check_tensor(where: str, spec: TensorSpec, array: Buffer, any_float: bool = False) -> None:
    """Hold one array against its spec; with `any_float` a floating tensor may be of any floating dtype.

    Raises:
        RunnerError: another shape or dtype, or not C-contiguous.
    """
    wanted = numpy_dtype(spec.dtype)
    same = array.dtype == wanted or (any_float and _is_float(array.dtype) and _is_float(wanted))
    if array.shape != spec.shape or not same:
        raise RunnerError(f"{where}.{spec.name}: is {array.shape} {array.dtype}; give {spec.shape} {spec.dtype}")
    if not array.flags.c_contiguous:
        raise RunnerError(f"{where}.{spec.name}: has strides {array.strides}; give a C-contiguous array")


def describe_port(where: str, name: str, shape: Sequence[object], dtype: DType | None) -> TensorSpec:
    """What a runtime says of one input or output, as a spec.

    Raises:
        RunnerError: a side is not a number, or the type is one that no program has.
    """
    sides = tuple(side for side in shape if isinstance(side, int))
    if dtype is None or len(sides) != len(shape):
        raise RunnerError(f"{where}.{name}: has shape {tuple(shape)} and type {dtype}; export it with static shapes")
    return TensorSpec(name=name, shape=sides, dtype=dtype)


def check_signature(spec: ComponentSpec, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Hold what an artifact says that it takes and makes against the component, whatever the order.

    Raises:
        RunnerError: naming the tensor that is missing, too many, or of another shape or dtype.
    """
    for kind, wanted, found in (("inputs", spec.inputs, inputs), ("outputs", spec.outputs, outputs)):
        by_name = {tensor.name: tensor for tensor in found}
        check_names(f"{spec.name}'s artifact", kind, [tensor.name for tensor in wanted], by_name)
        for tensor in wanted:
            other = by_name[tensor.name]
            if (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
                raise RunnerError(
                    f"{spec.name}: the artifact's {other} should be {tensor}; compile the component again"
                )


def check_buffers(
    spec: ComponentSpec, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer], any_float: bool = False
) -> None:
    """Hold what is bound against the component: names, shapes, dtypes, contiguity, and no output over an input.

    Raises:
        RunnerError: naming the tensor that does not fit.
    """
    for kind, tensors, buffers in (("inputs", spec.inputs, inputs), ("outputs", spec.outputs, outputs)):
        check_names(spec.name, kind, buffers, [t.name for t in tensors])
        for tensor in tensors:
            check_tensor(spec.name, tensor, buffers[tensor.name], any_float)
    for name, output in outputs.items():
        for other in inputs:
            if np.may_share_memory(output, inputs[other]):
                raise RunnerError(f"{spec.name}: output {name!r} lies over input {other!r}; give it memory of its own")


def _is_float(dtype: np.dtype[Any]) -> bool:
    return bool(np.issubdtype(dtype, np.floating)) or dtype == np.dtype(ml_dtypes.bfloat16)
