"""The launches of kernels in an exported graph: which nodes they are, on what, and for which architecture."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from porting.compilers.base import CompileRequest, require_architecture
from porting.errors import CompileError
from porting.kernel_library import Kernel
from porting.kernel_library.operators import registered_kernel


@dataclass(frozen=True)
class KernelCall:
    """One node of the graph that launches a kernel."""

    kernel: Kernel
    node: fx.Node


def name_architecture(request: CompileRequest) -> str:
    """The request's architecture as kernels name it: sm_120 is "cuda:120", gfx950 is "hip:gfx950".

    Raises:
        CompileError: it is neither.
    """
    asked = require_architecture(request)
    if found := re.fullmatch(r"sm_(\d{2,3})[a-z]?", asked):
        return f"cuda:{found[1]}"
    if re.fullmatch(r"gfx[0-9a-f]{3,4}", asked):
        return f"hip:{asked}"
    raise CompileError(f"{request.where}: triton knows no architecture {asked!r}; name it sm_100 or gfx950")


def find_kernel_calls(program: ExportedProgram) -> list[KernelCall]:
    """Every node of an exported graph that launches a kernel, in the graph's order."""
    found = [(registered_kernel(node.target), node) for node in program.graph.nodes if node.op == "call_function"]
    return [KernelCall(kernel, node) for kernel, node in found if kernel is not None]


def make_stand_ins(node: fx.Node) -> tuple[Any, ...]:
    """Inputs for the node's operator: what the graph knows of each tensor, with memory behind it."""

    def stand_in(argument: fx.Node) -> Tensor:
        described: Tensor = argument.meta["val"]
        extents = [(size - 1) * step for size, step in zip(described.shape, described.stride(), strict=True)]
        elements = int(described.storage_offset()) + sum(extents) + 1 if described.numel() else 0
        memory = torch.zeros(elements, dtype=described.dtype)
        return memory.as_strided(described.shape, described.stride(), described.storage_offset())

    return tuple(fx.node.map_arg(node.args, stand_in))
