"""TensorRT with the component's own kernels: an engine of the graph in which they are calls, each call a plugin.

The plugins were compiled ahead of time, on any host, by the triton backend; TensorRT puts their code into the engine,
so nothing of them is needed where it runs. A call without a plugin keeps its function's body. TensorRT's parser takes a
plugin for a node when names agree and the node's attribute `plugin_namespace` is the plugin's; it would take a function
of that name in its place without a word, so those functions are left out of the graph that it gets. Written against the
documented interface; this module has run on no device.
"""

import importlib
import importlib.util
from collections import Counter
from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as passes
import tensorrt as trt
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from porting.compilers import tensorrt
from porting.compilers.base import CompileRequest, require_precision, require_static
from porting.compilers.device_host import require_device
from porting.compilers.retype import Retyped
from porting.compilers.tensorrt_network import PRECISIONS, TypedGraph, describe_build
from porting.errors import CompileError
from porting.record import Attestation

DOMAIN = "worldport.kernels"
"""Of the functions, in the graphs that the export writes."""
NAMESPACE = "worldport"
"""Of the plugins: TensorRT allows no dot in it."""
VERSION = "1"
"""Of every plugin that is made of decorated functions."""


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.tensorrt_plugins.plan` and a .json that says what it was built for.

    Raises:
        CompileError: this host has not the device, there are no plugins, TensorRT refuses them or the graph, or the
            engine cannot be looked into.
    """
    require_precision(request, PRECISIONS)
    require_static(request)
    require_device(request)
    names = register_plugins(request)
    graph, calls = prepare_calls(request, names)
    built = tensorrt.build_from(request, graph)
    told = ", ".join(f"{name} {count}" for name, count in sorted(calls.items()))
    detail = {**describe_build(built, "no attention is rewritten beside plugins"), "plugins": told}
    return tensorrt.write_engine(request, built), tensorrt.attest(request, built.reading, detail)


def register_plugins(request: CompileRequest) -> frozenset[str]:
    """Run the file that registers the plugins with TensorRT; the names that it says it has.

    Raises:
        CompileError: there is no such file, or this TensorRT does not take it.
    """
    path = request.plugins
    if path is None or not path.is_file():
        raise CompileError(
            f"{request.where}: there are no plugins; name triton in the profile's backends too and compile for it, on"
            " any host"
        )
    spec = importlib.util.spec_from_file_location(f"worldport_plugins_{request.component.name}", path)
    if spec is None or spec.loader is None:
        raise CompileError(f"{request.where}: {path.name} is no Python file; compile triton again")
    module = importlib.util.module_from_spec(spec)
    try:
        importlib.import_module("tensorrt.plugin")
        spec.loader.exec_module(module)
        return frozenset(module.PLUGINS)
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as cause:
        raise CompileError(
            f"{request.where}: TensorRT {trt.__version__} does not take the plugins of {path.name} ({cause});"
            " install TensorRT 11, or compile triton again"
        ) from cause


def prepare_calls(request: CompileRequest, names: frozenset[str]) -> tuple[TypedGraph, dict[str, int]]:
    """The graph with every call of a plugin as a node for the parser; and how often each plugin is called.

    Raises:
        CompileError: there is no such graph, or it calls none of the plugins.
    """
    source = request.source(".kernels.onnx")
    try:
        model = ir.load(source)
    except (OSError, ValueError, RuntimeError, DecodeError) as cause:
        raise CompileError(f"{request.where}: {source.name} is no ONNX graph ({cause}); export it again") from cause
    passes.InlinePass(criteria=lambda function: function.name not in names)(model)
    calls = Counter(node.op_type for node in model.graph if node.domain == DOMAIN)
    if not calls:
        raise CompileError(f"{request.where}: {source.name} calls none of the plugins; use backend tensorrt")
    for node in model.graph:
        if node.domain == DOMAIN:
            node.attributes["plugin_namespace"] = ir.AttrString("plugin_namespace", NAMESPACE)
            node.attributes["plugin_version"] = ir.AttrString("plugin_version", VERSION)
    model.functions.clear()
    return TypedGraph(model, 0, Retyped()), dict(calls)
