"""What ONNX Runtime's device providers have in common: a typed graph, opened strictly, looked into on the device.

Its builds name providers whose device or libraries are not there, and then run on the CPU without a word. So nothing is
written before the provider has run every node of the artifact on this host; a host without the device compiles nothing.
"""

import importlib.metadata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort

from porting.compilers.base import INTEGER, CompileRequest, require_precision, require_static
from porting.compilers.component_graph import load_graph, write_graph
from porting.compilers.onnxruntime_session import (
    Providers,
    count_operators,
    open_session,
    precision_of,
    profile_nodes,
    session_options,
)
from porting.compilers.retype import retype_graph
from porting.errors import CompileError
from porting.record import Attestation
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

CPU = "CPUExecutionProvider"
STRICT = {"session.disable_cpu_ep_fallback": "1"}
PRECISIONS: dict[ir.DataType, Precision] = {
    ir.DataType.DOUBLE: "fp64",
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
}


@dataclass(frozen=True)
class DeviceProvider:
    """One provider of a device."""

    name: str
    install: str
    """What to install where this build lacks it."""
    precisions: tuple[Precision, ...]
    options: dict[str, str] = field(default_factory=dict)
    then: tuple[str, ...] = ()
    """Providers of the same device for nodes that it leaves."""

    @property
    def providers(self) -> Providers:
        """What a session is given."""
        return [(self.name, self.options), *self.then]


def require_supported(request: CompileRequest, provider: DeviceProvider) -> None:
    """Refuse what the provider does not do on any host.

    Raises:
        CompileError: a precision or batch that it does not take.
    """
    require_precision(request, provider.precisions)
    require_static(request)


def require_provider(request: CompileRequest, provider: DeviceProvider) -> None:
    """Refuse a build of onnxruntime without the provider.

    Raises:
        CompileError: it is not among those that the build has.
    """
    built = ort.get_available_providers()
    if provider.name not in built:
        raise CompileError(
            f"{request.where}: this onnxruntime has {', '.join(built)} and no {provider.name};"
            f" pip install '{provider.install}'"
        )


def write_typed(request: CompileRequest) -> tuple[tuple[Path, ...], ir.Model]:
    """Write `<component>.<backend>.onnx` in the precision asked for; returns its files and the graph.

    Raises:
        CompileError: the component cannot be had in that precision.
    """
    model = load_graph(request)
    retype_graph(model, request.precision, request.where)
    return write_graph(model, request.artifact(".onnx")), model


def attest_profile(request: CompileRequest, provider: DeviceProvider, artifact: Path) -> Attestation:
    """Run the artifact on the device and count what ran, where, in what.

    Raises:
        CompileError: the provider does not start here, or leaves nodes to the CPU; the message names those.
    """
    try:
        nodes = profile_nodes(request, artifact, provider.providers, STRICT)
    except CompileError as cause:
        raise CompileError(f"{request.where}: {_explain(request, provider, artifact)}; {cause}") from cause
    placed = Counter(node["provider"] for node in nodes)
    elsewhere = set(placed) - {provider.name, *provider.then}
    if elsewhere or not placed:
        raise CompileError(f"{request.where}: nodes were placed on {dict(placed)}; try another backend")
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=dict(Counter(map(precision_of, nodes))),
        layers_by_backend=dict(placed),
        detail={"operators": count_operators(nodes), "version": _version()},
        read_from="onnxruntime profile",
    )


def count_typed(model: ir.Model) -> dict[str, int]:
    """The nodes of a typed graph by the coarsest floating type that each touches, Casts at the border aside."""
    return dict(Counter(_precision(node) for node in model.graph if node.op_type != "Cast"))


def _precision(node: ir.Node) -> str:
    kinds = {value.dtype for value in (*node.inputs, *node.outputs) if value is not None}
    floats = [PRECISIONS[kind] for kind in kinds if kind in PRECISIONS]
    return max(floats, key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)


def _explain(request: CompileRequest, provider: DeviceProvider, artifact: Path) -> str:
    """Why a strict session could not be opened: the provider does not start, or it leaves nodes to the CPU."""
    try:
        started = open_session(request, artifact, session_options(), provider.providers).get_providers()
        if provider.name not in started:
            return (
                f"{provider.name} does not start on this host, which would run it on {', '.join(started)};"
                " run `worldport compile BUNDLE` on the host that has the device, its driver and its libraries"
            )
        left = [node for node in profile_nodes(request, artifact, provider.providers) if node["provider"] == CPU]
    except CompileError as cause:
        return str(cause)
    return f"{provider.name} leaves to the CPU: {count_operators(left)}; use another backend or precision"


def _version() -> str:
    """The version with the distribution that has it: three of them have the same module."""
    for name in ("onnxruntime-gpu", "onnxruntime-migraphx", "onnxruntime-rocm", "onnxruntime"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return str(ort.__version__)
