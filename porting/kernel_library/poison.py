"""Poisons what a launch allocates, so that whatever its kernel does not write is seen in the output."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor

from porting.errors import KernelError
from porting.kernel_library.number_formats import POISON_BYTE


@contextmanager
def poisoned_allocations() -> Iterator[None]:
    """torch.empty and its like give NaN, or far integers; memory that is not poison is refused."""

    def poisoning(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: poison(allocate(*args, **kwargs))

    def refusing(name: str) -> Callable[..., NoReturn]:
        def refuse(*args: object, **kwargs: object) -> NoReturn:
            raise KernelError(f"launch allocates with {name}; allocate with torch.empty, and let the kernel write it")

        return refuse

    with ExitStack() as stack:
        for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch, "empty_strided"), (Tensor, "new_empty")):
            _replace(stack, owner, name, poisoning(getattr(owner, name)))
        for owner, name in ((torch, "zeros"), (torch, "zeros_like"), (torch, "full"), (Tensor, "new_zeros")):
            _replace(stack, owner, name, refusing(name))
        yield


def _replace(stack: ExitStack, owner: Any, name: str, value: object) -> None:
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def poison(tensor: Tensor) -> Tensor:
    """NaN where the dtype has one; of fp8, 0x7f and 0xff are NaN but in the fnuz formats, whose only one is 0x80."""
    if tensor.dtype.is_floating_point and tensor.element_size() > 1:
        return tensor.fill_(float("nan"))
    if tensor.numel():
        byte = 0x80 if "fnuz" in str(tensor.dtype) else 0xFF if "float8" in str(tensor.dtype) else POISON_BYTE
        tensor.view(torch.uint8).fill_(byte)
    return tensor
