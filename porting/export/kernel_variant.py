"""The variant of a component that computes by kernels, as a file of torch and as an ONNX graph.

Both are proved against the plain component in closed loop before they are written, their operators computed by the
kernels' references. Whether the kernels themselves compute that is proved by running them, not here.
"""

import copy
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from porting.adapters.world_model import WorldModel
from porting.errors import ExportError
from porting.export.closed_loop import RunGraph, prove_contract
from porting.export.component import PROBED, find_component, move_files, prove_graph
from porting.export.feeds import Array, draw_example
from porting.export.graph import check_graph, write_graph
from porting.export.local_functions import convert_with_functions
from porting.export.probe import call_module
from porting.export.traced import check_functional, trace_module, write_program
from porting.kernel_library.operators import computing_by
from porting.program import ComponentSpec
from porting.tensor_spec import FLOAT_OF_PRECISION, Precision

VARIANT_SUFFIX = ".triton.pt2"
GRAPH_SUFFIX = ".kernels.onnx"
GRAPH_FRAMES = 2
"""The second is the first to read what the graph wrote."""


def export_kernel_variant(
    world_model: WorldModel, component_name: str, out_dir: Path, precision: Precision = "fp32"
) -> Path:
    """Write `<component>.triton.pt2`, an exported program whose operators of kernels are opaque calls; returns it.

    The same model and versions give the same bytes, from any folder.

    Args:
        world_model: its family has a variant with kernels.
        component_name: one of the program's components.
        out_dir: a bundle's `components`; made when missing, a file of the same name is replaced.
        precision: what the weights are cast to, and the floating inputs on their way in; outputs stay what the program
            declares.

    Raises:
        ExportError: the family has no such variant, or it cannot be traced.
        StateContractError: it does not compute what the plain component computes.
    """
    spec, plain, variant = _find_variant(world_model, component_name)
    program = trace_module(variant, spec, draw_example(world_model.program, spec, 1))
    with computing_by("reference"):
        prove_contract(world_model.program, component_name, plain, _run_program(program, spec), PROBED)
    if precision != "fp32":
        program = _trace_cast(world_model, spec, variant, precision)
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".export-") as folder:
        written = write_program(program, Path(folder) / f"{component_name}{VARIANT_SUFFIX}")
        os.replace(written, out_dir / written.name)
    return out_dir / written.name


def export_kernel_graph(
    world_model: WorldModel, component_name: str, out_dir: Path, opset: int, precision: Precision = "fp32"
) -> tuple[Path, ...]:
    """Write `<component>.kernels.onnx` (many weights to `.data`), each operator a local function; returns the files.

    The graph computes what the file of torch does, which has passed the whole closed loop: it is run for a few frames
    in float32, which is what ONNX Runtime's CPU provider has every operator in, and written in the precision asked for.

    Raises:
        ExportError: the family has no such variant, or it cannot become a graph.
        StateContractError: the graph does not compute what the plain component computes.
        BackendMissingError: onnxruntime is not there to prove the graph with.
    """
    spec, plain, variant = _find_variant(world_model, component_name)
    program = trace_module(variant, spec, draw_example(world_model.program, spec, 1))
    model, functional = convert_with_functions(program, spec, opset)
    check_functional(variant, spec, functional)
    check_graph(model, spec, opset)
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".export-") as folder:
        path = Path(folder) / f"{component_name}{GRAPH_SUFFIX}"
        files = write_graph(model, path)
        prove_graph(world_model.program, spec, plain, path, GRAPH_FRAMES)
        if precision != "fp32":
            cast = _trace_cast(world_model, spec, variant, precision)
            model, _ = convert_with_functions(cast, spec, opset)
            check_graph(model, spec, opset)
            for file in files:
                file.unlink()
            files = write_graph(model, path)
        move_files(files, out_dir)
    return tuple(out_dir / file.name for file in files)


def _trace_cast(
    world_model: WorldModel, spec: ComponentSpec, variant: nn.Module, precision: Precision
) -> ExportedProgram:
    """The variant computing in another precision, traced."""
    cast = _AtPrecision(variant, spec, getattr(torch, FLOAT_OF_PRECISION[precision])).eval().requires_grad_(False)
    return trace_module(cast, spec, draw_example(world_model.program, spec, 1))


class _AtPrecision(nn.Module):
    """A component in another precision behind the same inputs and outputs."""

    def __init__(self, module: nn.Module, spec: ComponentSpec, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).to(dtype)
        self._dtype = dtype
        self._made = [getattr(torch, tensor.dtype) for tensor in spec.outputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The component's inputs and outputs, in the dtypes that the program declares."""
        made = self.module(*(x.to(self._dtype) if x.is_floating_point() else x for x in inputs))
        outputs = (made,) if isinstance(made, Tensor) else made
        return tuple(output.to(dtype) for output, dtype in zip(outputs, self._made, strict=True))


def _find_variant(world_model: WorldModel, name: str) -> tuple[ComponentSpec, nn.Module, nn.Module]:
    """The component's declaration, its plain module and the one that computes by kernels."""
    spec, plain = find_component(world_model, name)
    if world_model.use_kernels is None:
        raise ExportError(f"{name}: family {world_model.family} has no variant with kernels; leave out backend triton")
    return spec, plain, world_model.use_kernels(world_model.modules)[name]


def _run_program(program: ExportedProgram, spec: ComponentSpec) -> RunGraph:
    """The exported program as the proof wants it: fills output buffers from input buffers."""
    graph = program.module()

    def run(inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        for name, made in call_module(graph, spec, inputs).items():
            np.copyto(outputs[name], made.numpy())

    return run
