"""The work of one frame: what the graphs cost, as often as the frame program calls them, and the host's own copies."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from porting.errors import ExportError
from porting.program import Program
from porting.record.limit import FrameWork
from porting.roofline.graph import count_graph
from porting.tensor_spec import FLOAT_OF_PRECISION, ITEM_BYTES, Precision, TensorSpec


def count_frame(
    program: Program, graphs: Mapping[str, Path | ir.Model], precision: Precision | None = None
) -> FrameWork:
    """The work of a frame after the session was opened.

    Args:
        program: its `frame` says what is called, and what is kept.
        graphs: component -> its ONNX graph; those that only open a session are not needed.
        precision: as for `count_graph`.

    Raises:
        ExportError: a component that the frame calls has no graph, or a file is not one.
    """
    calls = Counter(call.component for call in program.frame)
    if missing := sorted(calls.keys() - graphs.keys()):
        raise ExportError(f"{', '.join(missing)}: the frame program calls it and there is no graph; export it first")
    components = tuple(count_graph(graphs[name], name, amount, precision) for name, amount in calls.items())
    return FrameWork(components=components, **count_host_bytes(program, precision))


def count_host_bytes(program: Program, precision: Precision | None = None) -> dict[str, int]:
    """The host's share, by the names of `FrameWork`: slices into rings, states replaced, inputs taken, states held."""
    written = [
        program.state(sink.name) for call in program.frame for sink in call.outputs.values() if sink.kind == "state"
    ]
    rings = [state for state in written if state.update == "ring"]
    replaced = [state for state in written if state.update == "replace"]
    taken = [given.tensor for given in program.inputs if given.scope == "frame"]
    slices = [state.tensor.model_copy(update={"shape": state.slice_shape}) for state in rings]
    return {
        # A copy reads what it writes.
        "ring_bytes": 2 * sum(_nbytes(tensor, precision) for tensor in slices),
        "replaced_bytes": sum(_nbytes(state.tensor, precision) for state in replaced),
        "input_bytes": 2 * sum(_nbytes(tensor, precision) for tensor in taken),
        "state_bytes": sum(_nbytes(state.tensor, precision) for state in program.states),
    }


def _nbytes(tensor: TensorSpec, precision: Precision | None) -> int:
    if precision is None or "float" not in tensor.dtype:
        return tensor.nbytes
    return tensor.elements * ITEM_BYTES[FLOAT_OF_PRECISION[precision]]
