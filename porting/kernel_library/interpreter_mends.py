"""What replaces which part of Triton's interpreter; `interpreter` says why, and puts them in place.

Each function has the name of its purpose and the signature of what it replaces; `MENDS` joins the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton.language as tl
from triton._C.libtriton import interpreter as native
from triton._C.libtriton import ir
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import GridExecutor, InterpretedFunction, ReduceOps
from triton.runtime.interpreter import InterpreterBuilder as Builder
from triton.runtime.interpreter import TensorHandle as Handle

from porting.errors import KernelError
from porting.kernel_library.memory_guard import MemoryGuard
from porting.kernel_library.number_formats import (
    STORED,
    Array,
    convert,
    decode_scales,
    is_float,
    poison,
    refuse_unknown_format,
    truncate_to_tf32,
    unpack_e2m1,
    unsigned,
)

_stock_numpy_type = stock._get_np_dtype
_stock_implicit_conversion = stock._implicit_cvt
_stock_launch = GridExecutor.__call__
_stock_arguments = GridExecutor._init_args_hst
_stock_atomic_rmw = Builder.create_atomic_rmw
_stock_atomic_cas = Builder.create_atomic_cas


def numpy_type(tt_dtype: tl.dtype) -> np.dtype[Any]:
    """What an array of Triton's type is made of."""
    element = tt_dtype.element_ty if isinstance(tt_dtype, tl.block_type) else tt_dtype
    if isinstance(element, tl.pointer_type):
        return np.dtype(np.uint64)
    refuse_unknown_format(element)
    stored: np.dtype[Any] = STORED[element] if element in STORED else _stock_numpy_type(element)
    return stored


def bits_type(stored: np.dtype[Any]) -> np.dtype[Any]:
    """What the native part, which knows numpy's own types only, moves such elements as."""
    return unsigned(stored) if stored in STORED.values() else stored


def cast(builder: Builder, src: Handle, dst_type: tl.dtype) -> Handle:
    """Any conversion without a rounding mode; floats are rounded to nearest even."""
    target = numpy_type(dst_type)
    values = convert(src.data, target) if is_float(target) else src.data.astype(target)
    return Handle(values, dst_type.scalar)


def create_fp_to_fp(builder: Builder, src: Handle, dst_type: tl.dtype, rounding_mode: Any) -> Handle:
    """A conversion between floats, rounded to nearest even or toward zero."""
    toward_zero = rounding_mode == ir.ROUNDING_MODE.RTZ
    return Handle(convert(src.data, numpy_type(dst_type), toward_zero), dst_type.scalar)


def create_fp_to_int(builder: Builder, src: Handle, dst_type: tl.dtype) -> Handle:
    """A float cut to an integer.

    Raises:
        KernelError: the integer type does not hold it, which is undefined on a device.
    """
    target = numpy_type(dst_type)
    limits = np.iinfo(target)
    whole = np.trunc(src.data.astype(np.float64))
    # float(max) of int64 rounds up to 2**63, which does not fit.
    fits = (whole >= float(limits.min)) & (whole < float(limits.max) + 1)
    if not fits.all():
        raise KernelError(
            f"program {builder.grid_idx}: converts {float(src.data[~fits].flat[0])} to {dst_type.scalar}, which is"
            " undefined on a device; clamp it first"
        )
    return Handle(whole.astype(target), dst_type.scalar)


def create_masked_load(
    builder: Builder,
    ptrs: Handle,
    mask: Handle,
    other: Handle | None,
    cache_policy: Any,
    is_volatile: bool,
) -> Handle:
    """The elements at the addresses; masked ones are `other`, or undefined without it."""
    element = ptrs.get_element_ty()
    stored = numpy_type(element)
    check_memory(builder, "loads", ptrs, mask.data, stored.itemsize)
    fill = poison(ptrs.data.shape, stored) if other is None else other.data
    raw = bits_type(stored)
    loaded = native.load(ptrs.data, mask.data, np.ascontiguousarray(fill).view(raw), raw)
    return Handle(loaded.view(stored), element)


def create_masked_store(builder: Builder, ptrs: Handle, value: Handle, mask: Handle, cache_policy: Any) -> None:
    """The unmasked elements written to their addresses."""
    data = np.ascontiguousarray(value.data)
    check_memory(builder, "stores", ptrs, mask.data, data.itemsize)
    native.store(ptrs.data, data.view(bits_type(data.dtype)), mask.data)


def create_atomic_rmw(
    builder: Builder,
    rmw_op: Any,
    ptr: Handle,
    val: Handle,
    mask: Handle,
    sem: Any,
    scope: Any,
) -> Handle:
    """Read, combine, write; several lanes may name one address.

    Raises:
        KernelError: in bf16 or fp8, which the native part cannot do.
    """
    if val.data.dtype in STORED.values():
        raise KernelError(f"tl.atomic_*: in {val.dtype.scalar} is not interpreted; accumulate in fp32")
    check_memory(builder, "changes", ptr, mask.data, val.data.itemsize)
    return _stock_atomic_rmw(builder, rmw_op, ptr, val, mask, sem, scope)


def create_atomic_cas(builder: Builder, ptr: Handle, cmp: Handle, val: Handle, sem: Any, scope: Any) -> Handle:
    """Compare and swap."""
    check_memory(builder, "changes", ptr, np.ones_like(ptr.data, dtype=bool), val.data.itemsize)
    return _stock_atomic_cas(builder, ptr, cmp, val, sem, scope)


def check_memory(builder: Builder, verb: str, ptrs: Handle, mask: Array, nbytes: int) -> None:
    """Hold addresses against the running launch's tensors.

    Raises:
        KernelError: one lies outside.
    """
    addresses, mask = np.broadcast_arrays(ptrs.data, mask)
    builder.memory_guard.check(addresses, mask, nbytes, f"program {builder.grid_idx}: {verb}")


def create_dot(
    builder: Builder,
    a: Handle,
    b: Handle,
    d: Handle,
    input_precision: Any,
    max_num_imprecise_acc: int,
) -> Handle:
    """d + a b, accumulated in d's type. bf16 and fp8 products are exact in fp32."""
    precise = d.data.dtype
    left, right = a.data, b.data
    if left.dtype in STORED.values():
        left, right = left.astype(np.float32), right.astype(np.float32)
    elif left.dtype == np.float32 and input_precision != ir.INPUT_PRECISION.IEEE:
        return Handle(_tf32_dot(left, right, input_precision) + d.data, d.dtype.scalar)
    return Handle((np.matmul(left, right, dtype=precise) + d.data).astype(precise), d.dtype.scalar)


def _tf32_dot(left: Array, right: Array, input_precision: Any) -> Array:
    """The product of what tensor cores see; in three products that is nearly all of fp32."""
    high_left, high_right = truncate_to_tf32(left), truncate_to_tf32(right)
    product: Array = np.matmul(high_left, high_right)
    if input_precision == ir.INPUT_PRECISION.TF32x3:
        low_left, low_right = truncate_to_tf32(left - high_left), truncate_to_tf32(right - high_right)
        product = np.matmul(low_left, high_right) + np.matmul(high_left, low_right) + product
    elif input_precision != ir.INPUT_PRECISION.TF32:
        raise KernelError(f"tl.dot: {input_precision} is not interpreted; use ieee, tf32 or tf32x3")
    return product


def decode_scale(scale_handle: Handle, compute_type: tl.dtype) -> Array:
    """A block-scaled operand's scales in fp32."""
    return decode_scales(scale_handle.data)


def decode_value(value_handle: Handle) -> Array:
    """A block-scaled operand's values in fp32."""
    if value_handle.data.dtype == np.uint8:
        return unpack_e2m1(value_handle.data)
    values: Array = value_handle.data.astype(np.float32)
    return values


def create_clampf(builder: Builder, arg: Handle, lo: Handle, hi: Handle, propagate_nans: Any) -> Handle:
    """Every value no less than lo and no more than hi; NaN stays NaN only where it is asked for."""
    keep = propagate_nans != ir.PROPAGATE_NAN.NONE
    raised = builder.binary_op(arg, lo, np.maximum if keep else np.fmax)
    return builder.binary_op(raised, hi, np.minimum if keep else np.fmin)


def reduce_sum(reduction: ReduceOps, input: tl.tensor) -> tl.tensor:
    """The sum along the axis, or of everything; narrow floats are added pairwise in their own type."""
    values, axis = input.handle.data, reduction.axis
    if is_float(values.dtype) and values.dtype.itemsize < 4:
        kept = np.moveaxis(values, axis, 0) if axis is not None else values.reshape(-1)
        while kept.shape[0] > 1:
            kept = kept[: kept.shape[0] // 2] + kept[kept.shape[0] // 2 :]
        total = kept[0]
        if reduction.keep_dims:
            total = np.expand_dims(total, axis) if axis is not None else total.reshape((1,) * values.ndim)
    else:
        total = np.sum(values, axis=axis, keepdims=reduction.keep_dims)
    return reduction.to_tensor(total, input.dtype)


def reduce_extremum(reduction: ReduceOps, input: Any, val_reduce_op: Any, idx_reduce_op: Any = None) -> Any:
    """Minimum or maximum, and where asked its index; NaN counts only where there is nothing else."""
    tensor = input[0] if isinstance(input, tuple) else input
    ufunc = {np.nanmin: np.fmin, np.nanmax: np.fmax}[val_reduce_op]
    options = {"axis": reduction.axis, "keepdims": reduction.keep_dims}
    value = reduction.to_tensor(ufunc.reduce(tensor.handle.data, **options), tensor.dtype)
    if idx_reduce_op is None:
        return value
    return value, reduction.to_tensor(idx_reduce_op(tensor.handle.data, **options), tl.int32)


def implicit_conversion(arg: Any) -> Any:
    """A launch's argument as the kernel sees it: a Python float is an fp32 scalar."""
    if isinstance(arg, float):
        return tl.tensor(Handle(np.array([arg], dtype=np.float32), tl.float32), tl.float32)
    return _stock_implicit_conversion(arg)


def host_arguments(executor: GridExecutor, args_dev: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The launch's arguments on the host; their extents are what the kernel may touch."""
    args, kwargs = _stock_arguments(executor, args_dev, kwargs)
    named = dict(zip(executor.arg_names, args, strict=False))
    stock.interpreter_builder.memory_guard = MemoryGuard({**named, **kwargs})
    return args, kwargs


def launch(executor: GridExecutor, *args_dev: Any, **kwargs: Any) -> None:
    """One launch, with the language patched once for all device functions and numpy as silent as a device."""
    scope = stock._patch_lang(tl.standard.sum.fn)
    try:
        with np.errstate(all="ignore"):
            _stock_launch(executor, *args_dev, **kwargs)
    finally:
        scope.restore()


def call_device_function(function: InterpretedFunction, *args: Any, **kwargs: Any) -> Any:
    """A device function called by a running kernel; the launch has patched the language for it."""
    return function.rewrite()(*args, **kwargs)


@dataclass(frozen=True)
class Mend:
    """One function of the interpreter and what replaces it."""

    owner: Any
    name: str
    replacement: Callable[..., Any]
    signature: str
    """What the replaced function has in the known versions."""


MENDS = (
    Mend(stock, "_get_np_dtype", numpy_type, "(tt_dtype)"),
    Mend(stock, "_implicit_cvt", implicit_conversion, "(arg)"),
    Mend(stock, "_dot_scaled_scale_to_f32", decode_scale, "(scale_handle, compute_type)"),
    Mend(stock, "_mxfp_value_handle_to_float32", decode_value, "(value_handle)"),
    Mend(GridExecutor, "_init_args_hst", host_arguments, "(self, args_dev, kwargs)"),
    Mend(GridExecutor, "__call__", launch, "(self, *args_dev, **kwargs)"),
    Mend(InterpretedFunction, "__call__", call_device_function, "(self, *args, **kwargs)"),
    Mend(ReduceOps, "sum", reduce_sum, "(self, input)"),
    Mend(ReduceOps, "min_max", reduce_extremum, "(self, input, val_reduce_op, idx_reduce_op=None)"),
    Mend(Builder, "cast_impl", cast, "(self, src, dst_type)"),
    Mend(Builder, "create_fp_to_fp", create_fp_to_fp, "(self, src, dst_type, rounding_mode)"),
    Mend(Builder, "create_fp_to_si", create_fp_to_int, "(self, src, dst_type)"),
    Mend(Builder, "create_fp_to_ui", create_fp_to_int, "(self, src, dst_type)"),
    Mend(Builder, "create_clampf", create_clampf, "(self, arg, lo, hi, propagate_nans)"),
    Mend(Builder, "create_dot", create_dot, "(self, a, b, d, input_precision, max_num_imprecise_acc)"),
    Mend(Builder, "create_masked_load", create_masked_load, "(self, ptrs, mask, other, cache_policy, is_volatile)"),
    Mend(Builder, "create_masked_store", create_masked_store, "(self, ptrs, value, mask, cache_policy)"),
    Mend(Builder, "create_atomic_rmw", create_atomic_rmw, "(self, rmwOp, ptr, val, mask, sem, scope)"),
    Mend(Builder, "create_atomic_cas", create_atomic_cas, "(self, ptr, cmp, val, sem, scope)"),
)
