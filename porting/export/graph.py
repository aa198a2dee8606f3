"""An exported program as an ONNX graph with the program's own names, written without a second copy of its weights."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.export import ExportedProgram

from porting.errors import ExportError, StateContractError
from porting.export.nearby import search_nearby
from porting.export.quiet import first_words, hush
from porting.program import ComponentSpec
from porting.tensor_spec import TensorSpec

EXTERNAL_DATA_BYTES = 64 * 2**20
"""Weights above this go to a file of their own, streamed. Embedding copies them twice, protobuf ends at 2 GiB."""
SMALLEST_EXTERNAL_BYTES = 1024
KEPT_METADATA = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy")
"""Which module a node comes from. The rest holds source lines and paths of the checkout."""
CHUNK_BYTES = 16 * 2**20
Translations = Mapping[Callable[..., Any], Callable[..., Any]]


def convert_program(
    program: ExportedProgram, spec: ComponentSpec, opset: int, translations: Translations | None = None
) -> tuple[ir.Model, ExportedProgram]:
    """The program as an ONNX model that still shares the weights' memory, and in the functional form that it came from.

    Args:
        program: the traced component.
        spec: its inputs and outputs, which the graph gets the names of.
        opset: of the standard ONNX domain.
        translations: operators of torch that torch cannot translate, each with what emits its node.

    Raises:
        ExportError: torch has no ONNX form for an operator, or there is no graph at that opset.
    """
    inputs, outputs = [tensor.name for tensor in spec.inputs], [tensor.name for tensor in spec.outputs]
    return make_model(program, spec.name, inputs, outputs, opset, translations)


def make_model(
    program: ExportedProgram,
    where: str,
    inputs: list[str],
    outputs: list[str],
    opset: int,
    translations: Translations | None = None,
) -> tuple[ir.Model, ExportedProgram]:
    """What `convert_program` makes, for any traced module.

    Raises:
        ExportError: torch has no ONNX form for an operator, or there is no graph at that opset.
    """
    try:
        with hush(), torch.no_grad(), search_nearby():
            made = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=opset,
                input_names=inputs,
                output_names=outputs,
                custom_translation_table=None if translations is None else dict(translations),
                verbose=False,
                optimize=True,
            )
    except (RuntimeError, ValueError, TypeError) as cause:
        raise ExportError(
            f"{where}: cannot become ONNX at opset {opset} ({first_words(cause)}); use another operator or opset"
        ) from cause
    if made is None or made.exported_program is None:
        raise ExportError(f"{where}: torch.onnx.export made no graph at opset {opset}; choose another opset")
    _strip_metadata(made.model)
    return made.model, made.exported_program


def check_graph(model: ir.Model, spec: ComponentSpec, opset: int) -> None:
    """Hold the graph's inputs, outputs and opset against what the program declares.

    Raises:
        ExportError: a name, an order, a shape or a dtype differs.
        StateContractError: an input reaches no output: what is ignored would vanish, or hide a mistake.
    """
    if model.opset_imports.get("") != opset:
        raise ExportError(
            f"{spec.name}: the graph is at opset {model.opset_imports.get('')}, not {opset}; ask for that"
        )
    for kind, values, tensors in (
        ("inputs", model.graph.inputs, spec.inputs),
        ("outputs", model.graph.outputs, spec.outputs),
    ):
        found, declared = [_describe(value) for value in values], [_declare(tensor) for tensor in tensors]
        if found != declared:
            raise ExportError(f"{spec.name}: the graph's {kind} are {found}; the program declares {declared}")
    for value in model.graph.inputs:
        if not value.uses():
            raise StateContractError(
                f"{spec.name}: input `{value.name}` does not reach any output; use it, or leave it out of the program"
            )


def count_operators(model: ir.Model) -> dict[str, int]:
    """How many nodes of each operator, subgraphs and functions included; operators of other domains as domain::name."""
    nodes = [*model.graph.all_nodes()]
    for function in model.functions.values():
        nodes += function.all_nodes()
    counts = Counter(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes)
    return dict(sorted(counts.items()))


def external_tensors(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """The initializers that go to a file of their own, by name; none when the weights are few."""
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    known = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    if sum(tensor.nbytes for tensor in known.values()) <= EXTERNAL_DATA_BYTES:
        return {}
    return {name: tensor for name, tensor in known.items() if tensor.nbytes > SMALLEST_EXTERNAL_BYTES}


def write_graph(model: ir.Model, path: Path) -> list[Path]:
    """Write the model, its weights to `<name>.data` where they are many; returns the files, the graph first.

    Raises:
        ExportError: what was written does not hold the weights.
    """
    external = external_tensors(model)
    if not external:
        ir.save(model, path)
        return [path]
    data = path.with_name(path.name + ".data")
    ir.save(model, path, external_data=data.name, size_threshold_bytes=SMALLEST_EXTERNAL_BYTES)
    _check_data(path, data, external)
    return [path, data]


def _check_data(path: Path, data: Path, external: dict[str, ir.TensorProtocol]) -> None:
    """Read the weights back, a piece at a time, and compare: the proof runs on those in memory."""
    written = {name: value.const_value for name, value in ir.load(path).graph.initializers.items()}
    with data.open("rb") as file:
        for name, tensor in external.items():
            stored = written.get(name)
            if not isinstance(stored, ir.ExternalTensor) or stored.length != tensor.nbytes:
                raise ExportError(f"{path.name}: weight {name!r} was not written to {data.name}; export again")
            file.seek(stored.offset or 0)
            content = np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8)
            for start in range(0, content.size, CHUNK_BYTES):
                chunk = content[start : start + CHUNK_BYTES]
                if file.read(chunk.size) != chunk.tobytes():
                    raise ExportError(f"{data.name}: weight {name!r} was written wrongly; check the disk, export again")


def _strip_metadata(model: ir.Model) -> None:
    """Drop whatever depends on where the checkout lies."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        graph.doc_string = None
        for node in graph.all_nodes():
            node.doc_string = None
            for key in [key for key in node.metadata_props if key not in KEPT_METADATA]:
                del node.metadata_props[key]
            for value in node.outputs:
                value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None


def _describe(value: ir.Value) -> str:
    shape = None if value.shape is None else tuple(side if isinstance(side, int) else str(side) for side in value.shape)
    return f"{value.name} {shape} {value.dtype.name if value.dtype is not None else None}"


def _declare(tensor: TensorSpec) -> str:
    names = {"float32": "FLOAT", "float64": "DOUBLE"}
    return f"{tensor.name} {tensor.shape} {names.get(tensor.dtype, tensor.dtype.upper())}"
