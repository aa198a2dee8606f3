"""A module as an exported program of torch, held against the half of the state contract that a graph shows.

Random numbers and values read into Python show at once, written buffers and inputs in functional form. Source lines are
stripped, so that every checkout gives the same bytes.
"""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.pt2_archive import _package

from porting.errors import ExportError, StateContractError
from porting.export.probe import ADVICE
from porting.export.quiet import first_words, hush
from porting.export.snapshot import describe_module
from porting.program import ComponentSpec

READS_INTO_PYTHON = ("aten._local_scalar_dense.default", "aten.item.default")


def trace_module(
    module: nn.Module, spec: ComponentSpec, inputs: Mapping[str, npt.NDArray[np.generic]]
) -> ExportedProgram:
    """Trace the module with static shapes and check every operator.

    Args:
        module: what `probe_module` found nothing against.
        spec: its inputs and outputs.
        inputs: example values of every input.

    Raises:
        StateContractError: it draws random numbers.
        ExportError: it cannot be traced, or depends on values read into Python.
    """
    arguments = tuple(torch.from_numpy(inputs[tensor.name].copy()) for tensor in spec.inputs)
    try:
        with hush(), torch.no_grad():
            program = torch.export.export(module, arguments)
    except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError) as cause:
        raise ExportError(f"{spec.name}: {_explain(module, cause)}") from cause
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            if node.op == "call_function":
                _check_node(module, spec, node)
            node.meta.pop("stack_trace", None)
    return program


def check_functional(module: nn.Module, spec: ComponentSpec, program: ExportedProgram) -> None:
    """Hold a traced program in functional form, as the ONNX exporter makes it, against the contract.

    Raises:
        StateContractError: it writes a buffer or an input.
    """
    signature = program.graph_signature
    for buffer in (signature.buffers_to_mutate | getattr(signature, "parameters_to_mutate", {})).values():
        path, _, name = buffer.rpartition(".")
        owner = describe_module(path, module.get_submodule(path))
        raise StateContractError(f"{spec.name}: buffer `{name}` of {owner} is written in place; {ADVICE}")
    names = dict(zip(signature.user_inputs, [tensor.name for tensor in spec.inputs], strict=True))
    for written in signature.user_inputs_to_mutate.values():
        raise StateContractError(
            f"{spec.name}: input `{names[written]}` is written in place; clone it first, and return what is to be kept"
        )


SHARED = (Tensor, torch.nn.Parameter)
"""Plain tensors, whose storage holds their values; a fake one's does not."""


def write_program(program: ExportedProgram, path: Path) -> Path:
    """Write a `.pt2`, weight by weight: what the inductor compiler and PyTorch's own runs read; returns the path."""
    # torch saves whole storages: a weight that is a slice of a larger one, or of a mapped file, would drag it along.
    made: dict[Hashable, Tensor] = {}
    for tensors in (program.state_dict, program.constants):
        tensors.update(
            {name: _own_storage(value, made) for name, value in tensors.items() if isinstance(value, Tensor)}
        )
    with hush(), torch.no_grad(), _writing_without_copies():
        torch.export.save(program, path)
    return path


@contextmanager
def _writing_without_copies() -> Iterator[None]:
    """Torch's archive gets each weight's own memory.

    Torch 2.13 copies a weight to bytes while it still holds the bytes of the one before: two copies of the largest
    weights beside the weights themselves.
    """
    make_bytes, write_bytes = _package._get_raw_tensor_bytes, _package.PT2ArchiveWriter.write_bytes

    def share(value: Tensor) -> bytes | torch.UntypedStorage:
        # What has no memory of its own here, torch turns into bytes as it does.
        return (
            value.untyped_storage() if type(value) in SHARED and value.is_cpu and value.numel() else make_bytes(value)
        )

    def write(writer: Any, name: str, data: bytes | torch.UntypedStorage) -> None:
        if isinstance(data, bytes):
            write_bytes(writer, name, data)
        else:
            writer.archive_file.write_record(name, data, data.nbytes())

    archive: Any = _package
    try:
        archive._get_raw_tensor_bytes, archive.PT2ArchiveWriter.write_bytes = share, write
        yield
    finally:
        archive._get_raw_tensor_bytes, archive.PT2ArchiveWriter.write_bytes = make_bytes, write_bytes


def _own_storage(tensor: Tensor, made: dict[Hashable, Tensor]) -> Tensor:
    """The same memory as a storage of its own, when it is part of a larger one; tied weights stay tied."""
    plain = tensor.detach()
    if plain.untyped_storage().nbytes() == plain.nbytes:
        return tensor
    key = (plain.data_ptr(), tuple(plain.shape), plain.stride(), plain.dtype)
    if key not in made:
        content = torch.from_numpy(plain.contiguous().flatten().view(torch.uint8).numpy())
        alone = content.view(plain.dtype).view(plain.shape)
        made[key] = nn.Parameter(alone, requires_grad=False) if isinstance(tensor, nn.Parameter) else alone
    return made[key]


def _check_node(module: nn.Module, spec: ComponentSpec, node: fx.Node) -> None:
    if _draws(node):
        raise StateContractError(
            f"{spec.name}: {_where(module, node)} draws random numbers ({node.target}); take the noise as an input"
        )
    if str(node.target) in READS_INTO_PYTHON:
        raise ExportError(
            f"{spec.name}: {_where(module, node)} reads a number out of a tensor (.item() or a slice bound);"
            " shapes must be static: index with the tensor, or mask by it"
        )


def _draws(node: fx.Node) -> bool:
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    if not isinstance(node.target, torch._ops.OpOverload):
        return True
    # Attention and dropout carry the tag for a probability that is zero, or a training flag that is off, in eval mode.
    named = {argument.name: argument.default_value for argument in node.target._schema.arguments}
    named |= dict(zip(named, node.args, strict=False)) | node.kwargs
    return not (named.get("dropout_p", None) == 0.0 or named.get("train", None) is False)


def _where(module: nn.Module, node: fx.Node) -> str:
    """The innermost module that made the node."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    parts = dict(module.named_modules())
    return describe_module(path, parts.get(path, module))


def _explain(module: nn.Module, cause: Exception) -> str:
    """Which module torch.export stumbled in, at which line, and its first words."""
    names = {id(part): (path, part) for path, part in module.named_modules()}
    place = describe_module("", module)
    trace = cause.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if id(owner) in names and trace.tb_frame.f_code.co_name not in {"_call_impl", "_wrapped_call_impl"}:
            place = f"{describe_module(*names[id(owner)])}, `{trace.tb_frame.f_code.co_name}` line {trace.tb_lineno},"
        trace = trace.tb_next
    words = first_words(cause)
    if "data-dependent" in str(cause) or "DataDependent" in type(cause).__name__:
        return (
            f"{place} takes a decision on a tensor's value ({words}); shapes and branches must be static:"
            " index with the tensor, or mask by it"
        )
    return f"{place} cannot be traced by torch.export ({type(cause).__name__}: {words})"
