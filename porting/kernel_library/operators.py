"""Every kernel as an operator of torch, `worldport::<kernel>`: what a component calls, one node of its graph.

An operator takes what the kernel's `reference` takes and makes what its `launch` makes. Which of the two computes it
depends on where it runs: `launch` on a device, in the interpreter and while compiling; otherwise `reference`, rounded
to the dtypes of the kernel's outputs. It does not know which component calls it, nor how a graph is exported.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor
from triton import knobs
from triton.runtime import driver
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from porting.errors import KernelError
from porting.kernel_library.interpreter import mend_interpreter
from porting.kernel_library.library import Kernel, kernel_paths, load_kernel

NAMESPACE = "worldport"
"""Of the operators; a component calls `torch.ops.worldport.<kernel>`."""

Route = Literal["reference", "launch"]
_route: ContextVar[Route | None] = ContextVar("route", default=None)
_registered: dict[str, Kernel] = {}


def register_operators(kernels: Mapping[str, Kernel] | None = None) -> dict[str, Kernel]:
    """Make an operator of every kernel, by default of the project's own.

    An operator that is there already stays: what the project's files are is read once a process.

    Returns:
        Name -> kernel of the operators asked for.

    Raises:
        KernelError: a kernel of one of these names, but of other source, has its operator already.
    """
    wanted = _own_kernels() if kernels is None else dict(kernels)
    for name, kernel in wanted.items():
        known = _registered.get(name)
        if known is None:
            _define(kernel)
            _registered[name] = kernel
        elif known.digest != kernel.digest:
            raise KernelError(
                f"{kernel.path}: {NAMESPACE}::{name} is the operator of {known.path}, which is another kernel; give it"
                " a name of its own, or a process of its own"
            )
    return {name: _registered[name] for name in wanted}


def _own_kernels() -> dict[str, Kernel]:
    own = {}
    for name, path in kernel_paths().items():
        known = _registered.get(name)
        own[name] = known if known is not None and known.path == path.resolve() else load_kernel(path)
    return own


def registered_kernel(target: object) -> Kernel | None:
    """The kernel behind a node's target such as `torch.ops.worldport.adaln.default`; None where there is none."""
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != NAMESPACE:
        return None
    return _registered.get(target._opname)


@contextmanager
def computing_by(route: Route) -> Iterator[None]:
    """Meanwhile, in this context, operators take that route whatever the device of their inputs."""
    token = _route.set(route)
    try:
        yield
    finally:
        _route.reset(token)


def interpreter_tuning(kernel: Kernel) -> dict[str, int]:
    """The default tuning with the largest blocks worth trying: the interpreter pays by the program, not the value."""
    largest = {name: max(values) for name, values in kernel.search.items() if name.startswith("BLOCK")}
    return {**kernel.tunables["default"], **largest}


def make_outputs(kernel: Kernel, inputs: Iterable[Any]) -> tuple[Tensor, ...]:
    """The outputs that `launch` allocates for these inputs, their values undefined: nothing is launched.

    The inputs may be fake or on the meta device; their shapes and dtypes are checked as `launch` checks them.
    """
    module = vars(kernel.module)
    # The file's own functions once more, over globals in which its kernels do nothing.
    globals_: dict[str, Any] = dict(module)
    for name, value in module.items():
        if isinstance(value, JITFunction | InterpretedFunction):
            globals_[name] = _Unlaunched()
        elif isinstance(value, types.FunctionType) and value.__globals__ is module:
            globals_[name] = types.FunctionType(
                value.__code__, globals_, value.__name__, value.__defaults__, value.__closure__
            )
            globals_[name].__kwdefaults__ = value.__kwdefaults__
    return _as_tuple(globals_["launch"](*_make_contiguous(inputs)))


class _Unlaunched:
    """Stands for a kernel that is launched and does nothing."""

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return lambda *arguments, **options: None


def _define(kernel: Kernel) -> None:
    """Register the operator of one kernel.

    Raises:
        KernelError: its annotations are not those of an operator.
    """

    def run(*inputs: Any) -> Tensor | tuple[Tensor, ...]:
        return _compute(kernel, inputs)

    def make_fake(*inputs: Any) -> Tensor | tuple[Tensor, ...]:
        return _as_returned(make_outputs(kernel, inputs))

    try:
        schema = torch.library.infer_schema(kernel.reference, mutates_args=())
    except ValueError as cause:
        raise KernelError(
            f"{kernel.path}: reference cannot be an operator ({cause}); annotate each input and each output by itself"
        ) from cause
    operator = torch.library.custom_op(f"{NAMESPACE}::{kernel.name}", run, mutates_args=(), schema=schema)
    operator.register_fake(make_fake)


def _compute(kernel: Kernel, inputs: tuple[Any, ...]) -> Tensor | tuple[Tensor, ...]:
    on_device = any(isinstance(value, Tensor) and value.device.type != "cpu" for value in inputs)
    default: Route = "launch" if on_device or knobs.runtime.interpret else "reference"
    if (_route.get() or default) == "launch":
        return _launch(kernel, inputs)
    made = make_outputs(kernel, inputs)
    for output, value in zip(made, _as_tuple(kernel.reference(*inputs)), strict=True):
        if value.shape != output.shape:
            raise KernelError(
                f"{kernel.path}: reference makes {tuple(value.shape)}, launch {tuple(output.shape)}; make both the same"
            )
        output.copy_(value)
    return _as_returned(made)


def _launch(kernel: Kernel, inputs: tuple[Any, ...]) -> Tensor | tuple[Tensor, ...]:
    if kernel.dtypes and inputs[0].dtype not in kernel.dtypes:
        claimed = ", ".join(str(dtype) for dtype in kernel.dtypes)
        raise KernelError(f"{kernel.path}: cannot run on {inputs[0].dtype}; cast to one of {claimed}")
    if knobs.runtime.interpret:
        mend_interpreter()
        tuning = interpreter_tuning(kernel)
    else:
        tuning = kernel.tuning_for(active_architecture(), kernel.variant_of(inputs))
    return kernel.launch(*_make_contiguous(inputs), **tuning)


def active_architecture() -> str:
    """What Triton would launch on or, while compiling, compiles for: "cuda:90", "hip:gfx950"."""
    target = driver.active.get_current_target()
    return f"{target.backend}:{target.arch}"


def _make_contiguous(inputs: Iterable[Any]) -> list[Any]:
    return [value.contiguous() if isinstance(value, Tensor) else value for value in inputs]


def _as_tuple(made: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (made,) if isinstance(made, Tensor) else tuple(made)


def _as_returned(made: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """One tensor by itself, several as a tuple: as the operator's schema says."""
    return made[0] if len(made) == 1 else made
