"""Exports one component: probe the module, trace it, write ONNX, prove the graph in closed loop, keep the files.

Nothing appears in the folder unless every check passed: the files are written in a hidden folder inside it and moved
out at the end.
"""

import os
import tempfile
import time
from pathlib import Path

from torch import nn

from porting.adapters.world_model import WorldModel
from porting.errors import BackendMissingError, ExportError
from porting.export.closed_loop import prove_contract
from porting.export.feeds import draw_example
from porting.export.graph import check_graph, convert_program, count_operators, write_graph
from porting.export.probe import probe_module
from porting.export.traced import check_functional, trace_module, write_program
from porting.program import ComponentSpec, Program
from porting.record import ComponentRecord, StateContract

FOLDER = "components"
"""Where a bundle keeps them; the record's path starts here."""
PROBED = ("eval mode", "written state", "written inputs", "random numbers", "repeated calls", "inputs reach outputs")


def export_component(world_model: WorldModel, component_name: str, out_dir: Path, opset: int) -> ComponentRecord:
    """Write `<component>.onnx` (weights above 64 MiB in `.onnx.data`) and `<component>.pt2`, contract proved.

    The same model and versions give the same bytes, from any folder. Beside the mapped weights, peak memory is
    twice the largest of them, and half a gigabyte.

    Args:
        world_model: its module is called, and left as it was.
        component_name: one of the program's components.
        out_dir: a bundle's `components`; made when missing, files of the same names are replaced.
        opset: of the standard ONNX domain.

    Raises:
        StateContractError: the module keeps, reads or draws something that it does not declare, or ignores an input.
        ExportError: the module cannot become an ONNX graph with the declared inputs and outputs.
        BackendMissingError: onnxruntime is not there to prove the graph with.
    """
    start = time.perf_counter()
    spec, module = find_component(world_model, component_name)
    others, example = (draw_example(world_model.program, spec, seed) for seed in (2, 1))
    probe_module(module, spec, example, others)
    program = trace_module(module, spec, example)
    model, functional = convert_program(program, spec, opset)
    check_functional(module, spec, functional)
    check_graph(model, spec, opset)
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".export-") as folder:
        path = Path(folder) / f"{component_name}.onnx"
        files = write_graph(model, path)
        contract = prove_graph(world_model.program, spec, module, path)
        files.append(write_program(program, path.with_suffix(".pt2")))
        move_files(files, out_dir)
    if len(files) == 2:  # an earlier export may have been larger
        (out_dir / f"{component_name}.onnx.data").unlink(missing_ok=True)
    operators = count_operators(model)
    parameters = {id(parameter): parameter for parameter in module.parameters()}.values()
    return ComponentRecord(
        name=component_name,
        path=f"{FOLDER}/{component_name}.onnx",
        opset=opset,
        nodes=sum(operators.values()),
        parameters=sum(parameter.numel() for parameter in parameters),
        weight_bytes=sum(parameter.nbytes for parameter in parameters),
        operators=operators,
        contract=contract,
        export_seconds=time.perf_counter() - start,
    )


def find_component(world_model: WorldModel, name: str) -> tuple[ComponentSpec, nn.Module]:
    """What the program declares of a component, and its module.

    Raises:
        ExportError: there is no such component, or no module of it.
    """
    names = [component.name for component in world_model.program.components]
    if name not in names or name not in world_model.modules:
        raise ExportError(f"{world_model.name}: has no component {name!r} with a module; there are {sorted(names)}")
    return world_model.program.component(name), world_model.modules[name]


def prove_graph(
    program: Program, spec: ComponentSpec, module: nn.Module, path: Path, frames: int | None = None
) -> StateContract:
    """Run the written graph against the module, see `prove_contract`; onnxruntime is asked for only here.

    Raises:
        StateContractError: an output differs at some step.
        BackendMissingError: onnxruntime is not installed.
    """
    try:
        from porting.export.session import GraphSession
    except ModuleNotFoundError as cause:
        raise BackendMissingError(
            f"{spec.name}: the state contract is proved by running the graph, and {cause.name} is not installed;"
            " pip install 'worldport[onnxruntime]'"
        ) from cause
    session = GraphSession(path, spec)
    return prove_contract(program, spec.name, module, session.run, PROBED, frames)


def move_files(files: list[Path], out_dir: Path) -> None:
    """Into the folder, the graph, which is the first, last: where it stands, its weights stand too."""
    for file in reversed(files):
        os.replace(file, out_dir / file.name)
