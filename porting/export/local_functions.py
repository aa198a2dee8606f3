"""Kernels in ONNX graphs: each use of an operator is a call of a local function, whose body is the kernel's reference.

A function is made for the very shapes, dtypes and scalars of a call, and named by them: calls that agree in all share
one. A backend that has the kernel replaces the call, any other runs or inlines the body. It does not know which modules
use operators, nor which backend reads the graph.
"""

import inspect
import json
from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import InlinePass
from onnxscript import values
from torch import Tensor, nn
from torch.export import ExportedProgram

from porting.errors import ExportError
from porting.export.graph import convert_program, make_model
from porting.export.quiet import first_words, hush
from porting.kernel_library import Kernel
from porting.kernel_library.calls import OperatorCall
from porting.kernel_library.operators import NAMESPACE, register_operators, registered_kernel
from porting.program import ComponentSpec

DOMAIN = "worldport.kernels"
VERSION = 1
METADATA = "worldport.kernels"
"""Key of the model's metadata: for each function, as JSON, its kernel, that file's sha256, and what it was made for."""
ONNX_TYPES = {
    torch.float64: ir.DataType.DOUBLE,
    torch.float32: ir.DataType.FLOAT,
    torch.float16: ir.DataType.FLOAT16,
    torch.bfloat16: ir.DataType.BFLOAT16,
    torch.float8_e4m3fn: ir.DataType.FLOAT8E4M3FN,
    torch.float8_e5m2: ir.DataType.FLOAT8E5M2,
    torch.int64: ir.DataType.INT64,
    torch.int32: ir.DataType.INT32,
    torch.uint8: ir.DataType.UINT8,
    torch.bool: ir.DataType.BOOL,
}
_MADE: dict[tuple[str, str, int], onnx.FunctionProto] = {}
"""Of this process: name, digest of the kernel's file, and opset -> the function."""
TORCH_TYPES = {onnx_type: torch_type for torch_type, onnx_type in ONNX_TYPES.items()}


def convert_with_functions(
    program: ExportedProgram, spec: ComponentSpec, opset: int
) -> tuple[ir.Model, ExportedProgram]:
    """A program that uses operators as an ONNX model with a local function for each; see `convert_program`.

    Raises:
        ExportError: torch has no ONNX form for the program or for a kernel's reference, or there is no graph.
    """
    calls: dict[str, OperatorCall] = {}
    kernels = [registered_kernel(node.target) for node in program.graph.nodes if node.op == "call_function"]
    used = {kernel.name: kernel for kernel in kernels if kernel is not None}
    register_operators(used)
    table = {_operator(name): _make_translation(kernel, calls) for name, kernel in used.items()}
    model, functional = convert_program(program, spec, opset, table)
    for name, call in sorted(calls.items()):
        function = ir.serde.deserialize_function(_make_function(name, call, opset))
        model.functions[function.identifier()] = function
    if calls:
        model.opset_imports[DOMAIN] = VERSION
        described = {name: call.describe() for name, call in sorted(calls.items())}
        model.metadata_props[METADATA] = json.dumps(described, sort_keys=True)
    return model, functional


def inline_functions(model: ir.Model) -> ir.Model:
    """The same model in standard operators alone, for backends that have no kernel and take no function. In place."""
    InlinePass()(model)
    model.opset_imports.pop(DOMAIN, None)
    model.metadata_props.pop(METADATA, None)
    return model


class _Body(nn.Module):
    """A kernel's reference on its tensors alone, rounded to what the kernel makes."""

    def __init__(self, call: OperatorCall) -> None:
        super().__init__()
        self._call = call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs of `launch`, computed by `reference`."""
        given = dict(zip(self._call.tensors, tensors, strict=True))
        made = self._call.kernel.reference(*({**self._call.inputs, **given}.values()))
        several = (made,) if isinstance(made, Tensor) else made
        return tuple(value.to(output.dtype) for value, output in zip(several, self._call.outputs, strict=True))


def _operator(name: str) -> Callable[..., Any]:
    operator: Callable[..., Any] = getattr(getattr(torch.ops, NAMESPACE), name).default
    return operator


def _make_translation(kernel: Kernel, calls: dict[str, OperatorCall]) -> Callable[..., Any]:
    """What torch's exporter calls for each use of an operator: notes the call, emits one node."""
    signature = inspect.signature(kernel.reference)

    def translate(*args: Any, **kwargs: Any) -> Any:
        inputs = dict.fromkeys(signature.parameters) | signature.bind_partial(*args, **kwargs).arguments
        call = OperatorCall(kernel, {name: _as_meta(value) for name, value in inputs.items()})
        calls.setdefault(call.name, call)
        emit = values.Op(values.Opset(DOMAIN, VERSION), call.name, _make_schema(call))
        return emit(*(inputs[name] for name in call.tensors))

    # The exporter reads from the signature which arguments are tensors, and which are attributes.
    translate.__signature__ = signature.replace(return_annotation=inspect.Signature.empty)  # type: ignore[attr-defined]
    translate.__annotations__ = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.annotation in (float, int, bool, str)
    }
    return translate


def _make_function(name: str, call: OperatorCall, opset: int) -> onnx.FunctionProto:
    """The local function of one call; torch takes about a second for one, and components have many in common.

    Raises:
        ExportError: torch cannot trace the reference, or has no ONNX form for it.
    """
    key = (name, call.kernel.digest, opset)
    if key in _MADE:
        return _MADE[key]
    where = f"{call.kernel.path}: reference"
    arguments = tuple(torch.zeros(tensor.shape, dtype=tensor.dtype) for tensor in call.tensors.values())
    try:
        with hush(), torch.no_grad():
            program = torch.export.export(_Body(call), arguments)
    except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError) as cause:
        raise ExportError(
            f"{where}: cannot be traced by torch.export ({first_words(cause)}); use standard operators only"
        ) from cause
    model, _ = make_model(program, where, list(call.tensors), call.output_names, opset)
    graph = model.graph
    for initializer, value in list(graph.initializers.items()):
        if value.const_value is not None:  # a function has no initializers: constants are nodes
            del graph.initializers[initializer]
            constant = ir.Node("", "Constant", [], [ir.AttrTensor("value", value.const_value)], outputs=[value])
            graph.insert_before(graph[0], constant)
    graph.opset_imports.clear()
    graph.opset_imports[""] = opset
    _MADE[key] = ir.to_proto(ir.Function(DOMAIN, name, graph=graph, attributes=[]))
    return _MADE[key]


def _make_schema(call: OperatorCall) -> onnx.defs.OpSchema:
    """What onnxscript wants to know before it emits the node."""
    parameter = onnx.defs.OpSchema.FormalParameter
    named = zip(call.output_names, call.outputs, strict=True)
    return onnx.defs.OpSchema(
        call.name,
        DOMAIN,
        VERSION,
        inputs=[parameter(name, _type_string(tensor)) for name, tensor in call.tensors.items()],
        outputs=[parameter(name, _type_string(tensor)) for name, tensor in named],
    )


def _as_meta(value: Any) -> Any:
    """A value of the exporter as a tensor without memory; anything else as it is."""
    if not hasattr(value, "shape"):
        return value
    shape = [int(side) for side in value.shape]
    return torch.empty(shape, dtype=TORCH_TYPES[ir.DataType(value.dtype)], device="meta")


def _type_string(tensor: Tensor) -> str:
    return f"tensor({ONNX_TYPES[tensor.dtype].name.lower()})"
