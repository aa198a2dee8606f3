"""What TensorRT and TensorRT-RTX build alike: parse a typed graph strictly, give it its shapes, serialize the engine.

Both bindings have the same classes here, so the module is given as `trt` and imported by its own compiler only. Of
devices, precisions and what is in an engine it knows nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from porting.compilers.base import BatchRange
from porting.errors import CompileError

MESSAGE_CHARACTERS = 600
"""Of TensorRT's own words, in an error: some hold the whole call stack."""


def make_logger(trt: Any) -> Any:
    """A logger of that binding that keeps warnings and errors in `lines`; one serves a whole process."""

    class KeepingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.lines.append(message.strip())

    return KeepingLogger()


def parse_network(trt: Any, builder: Any, logger: Any, graph: Path, where: str) -> Any:
    """The strongly typed network of an ONNX file: TensorRT computes in the types that the graph has, in no other.

    Raises:
        CompileError: the parser does not take it; the message names the node.
    """
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        said = "; ".join(f"{error.node_name() or 'the graph'}: {error.desc()}" for error in errors)
        raise CompileError(f"{where}: the parser refuses {shorten(said or last_words(logger))}; use another operator")
    return network


def add_batch_profile(builder: Any, network: Any, config: Any, batch: BatchRange | None, where: str) -> None:
    """Give every input whose first side is open its range; a static network gets no profile.

    Raises:
        CompileError: a side is open but no batch was asked for, or TensorRT refuses the range.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    open_inputs = {name: shape for name, shape in shapes.items() if -1 in shape}
    if not open_inputs:
        return
    if batch is None or any(-1 in shape[1:] for shape in open_inputs.values()):
        raise CompileError(f"{where}: {sorted(open_inputs)} have open sides; export it with static shapes")
    profile = builder.create_optimization_profile()
    for name, shape in open_inputs.items():
        least, usual, most = ((side, *shape[1:]) for side in (batch.least, batch.usual, batch.most))
        profile.set_shape(name, least, usual, most)
    if config.add_optimization_profile(profile) < 0:
        raise CompileError(f"{where}: batches {batch.least} to {batch.most} are refused; ask for others")


def serialize_engine(builder: Any, network: Any, config: Any, logger: Any, where: str) -> bytes:
    """The engine's bytes.

    Raises:
        CompileError: nothing was built.
    """
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise CompileError(f"{where}: no engine could be built ({shorten(last_words(logger))}); try another precision")
    return bytes(plan)


def last_words(logger: Any) -> str:
    """The last error that TensorRT logged."""
    lines: Sequence[str] = logger.lines
    return lines[-1] if lines else "it said nothing"


def shorten(text: str) -> str:
    """The beginning of a long message, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_CHARACTERS else f"{line[:MESSAGE_CHARACTERS]}..."
