"""The work of a blueprint's components, counted on the meta device: no weights are read and none take memory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from porting.adapters.blueprint import Blueprint


@dataclass(frozen=True)
class CountedWork:
    """What one call of a component costs."""

    parameters: int
    matrix_flops: int
    """Products of matrices, convolutions and attention; a multiplication and an addition are two."""
    attention_flops: int
    """The part of them that is attention's scores and their products with the values."""


class _AttentionCounter(TorchFunctionMode):
    """Counts scaled dot-product attention by its shapes and computes nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See `TorchFunctionMode`."""
        if function is not torch.nn.functional.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        query, key, value = named["query"], named["key"], named["value"]
        rows = math.prod(query.shape[:-1])
        self.flops += 2 * rows * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        return query.new_empty((*query.shape[:-1], value.shape[-1]))


def count_work(blueprint: Blueprint) -> dict[str, CountedWork]:
    """Component -> what a call of it costs. The blueprint's modules are moved to the meta device and stay there."""
    found = {}
    for spec in blueprint.program.components:
        module = blueprint.modules[spec.name].to("meta")
        given = [torch.empty(t.shape, dtype=getattr(torch, t.dtype), device="meta") for t in spec.inputs]
        counter, attention = FlopCounterMode(display=False), _AttentionCounter()
        with torch.no_grad(), counter, attention:
            made: Tensor | tuple[Tensor, ...] = module(*given)
        del made
        own = {id(parameter): parameter for parameter in module.parameters()}
        found[spec.name] = CountedWork(
            parameters=sum(parameter.numel() for parameter in own.values()),
            matrix_flops=counter.get_total_flops() + attention.flops,
            attention_flops=attention.flops,
        )
    return found
