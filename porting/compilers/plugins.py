"""TensorRT plugins of a component's kernels, compiled ahead of time: Python source that registers them, PTX inside.

TensorRT launches such a plugin by itself: pointers of the inputs, then 32-bit integers, then pointers of the outputs. A
kernel takes its arguments in another order, floats among them, and Triton adds two pointers of scratch memory; so the
parameters of its entry point are put into TensorRT's order, and the result is assembled again as proof. Each plugin is
made for one use of a kernel and named like the ONNX function of that use. No GPU and no TensorRT is needed to make
them; the process compiles, with Triton's cache where the caller has set it.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.errors import TritonError
from triton.runtime.jit import JITFunction

from porting.compilers.base import CompileRequest
from porting.compilers.kernel_calls import KernelCall, make_stand_ins, name_architecture
from porting.compilers.plugin_ptx import assemble, rewrite_entry
from porting.errors import CompileError
from porting.kernel_compiler.offline import Launch, NamedTarget, make_target, recorded_launches
from porting.kernel_library.calls import OperatorCall

NAMESPACE = "worldport"
"""Of the plugins; TensorRT allows no dot in it."""
SUFFIX = ".plugins.py"
DTYPES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float8_e4m3fn: "fp8",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.uint8: "uint8",
    torch.bool: "bool",
}
"""As TensorRT's module names them."""
MODULE = '''"""TensorRT plugins of worldport's kernels for {architecture}: import this before the network is parsed."""

from typing import Tuple

import tensorrt as trt
import tensorrt.plugin as trtp

AotResult = Tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]
PLUGINS = {names}
'''
TEMPLATE = '''

PTX_{name} = r"""{ptx}"""


@trtp.register("{namespace}::{name}")
def describe_{name}({annotated}) -> Tuple[{returned}]:
    return ({described},)


@trtp.aot_impl("{namespace}::{name}")
def implement_{name}({inputs}, outputs, tactic) -> AotResult:
    # The kernel's own arguments, in this order: {parameters}.
    launch = trtp.KernelLaunchParams()
    launch.grid_x, launch.grid_y, launch.grid_z = {grid}
    launch.block_x = {threads}
    launch.shared_mem = {shared_bytes}
    integers = trtp.SymIntExprs({count})
    for place, value in enumerate({integers}):
        integers[place] = trtp.SymInt32(value)
    return "{symbol}", PTX_{name}, launch, integers
'''


@dataclass(frozen=True)
class Plugin:
    """One use of a kernel, ready to be registered with TensorRT."""

    call: OperatorCall
    symbol: str
    ptx: str
    parameters: tuple[str, ...]
    """Names of the kernel's arguments in the order in which TensorRT passes them."""
    integers: tuple[int, ...]
    """Values of those that are 32-bit integers."""
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int


def write_plugins(request: CompileRequest, calls: Sequence[KernelCall]) -> tuple[Path | None, str]:
    """Write `<component>.triton.plugins.py` for every kernel that the exported variant uses.

    Returns:
        The file, None when no use can be a plugin, and in words how many are in it and why the others are not: their
        functions stay in the graph and TensorRT computes those.

    Raises:
        CompileError: the architecture is not NVIDIA's.
    """
    architecture = name_architecture(request)
    if not architecture.startswith("cuda:"):
        raise CompileError(f"{request.where}: TensorRT has no plugins for {request.architecture}; leave them out")
    uses = {}
    for call in calls:
        names = [argument.name for argument in call.node.target._schema.arguments]  # type: ignore[union-attr]
        use = OperatorCall(call.kernel, dict(zip(names, make_stand_ins(call.node), strict=True)))
        uses[use.name] = use
    plugins, refused = [], {}
    for name, use in sorted(uses.items()):
        try:
            plugins.append(make_plugin(use, architecture))
        except CompileError as failure:
            refused[name] = str(failure)
    without = "".join(f"; {name} is none: {reason}" for name, reason in refused.items())
    said = f"{len(plugins)} of {len(uses)} uses of kernels, compiled here, not run{without}"
    if not plugins:
        return None, said
    path = request.artifact(SUFFIX)
    path.write_text(render_plugins(plugins, architecture), encoding="utf-8")
    return path, said


def make_plugin(call: OperatorCall, architecture: str) -> Plugin:
    """Compile one use of a kernel, put its parameters into TensorRT's order, and assemble the result.

    Raises:
        CompileError: it does not compile, or TensorRT could not launch it; the message says why.
    """
    where = f"{call.kernel.name} for {architecture}"
    launch, arguments, inputs, outputs = _compile(call, architecture, where)
    _require_plain_launch(launch, where)
    signature = launch.compiled.src.signature
    kinds = {name: str(kind) for name, kind in signature.items() if str(kind) != "constexpr"}
    try:
        parameters, constants = order_arguments(kinds, arguments, inputs, outputs)
        places = {name: index for index, name in enumerate(kinds)}
        symbol, ptx = rewrite_entry(
            launch.compiled.asm["ptx"],
            list(kinds.values()),
            [places.get(name) for name in parameters],
            {places[name]: value for name, value in constants.items()},
        )
        assemble(ptx)
    except CompileError as failure:
        raise CompileError(f"{where}: {failure}") from failure
    facts, (grid_x, grid_y, grid_z) = launch.compiled.metadata, (*launch.grid, 1, 1)[:3]
    return Plugin(
        call=call,
        symbol=symbol,
        ptx=ptx,
        parameters=tuple(parameters),
        integers=tuple(int(arguments[name]) for name in parameters if kinds.get(name) == "i32"),
        grid=(grid_x, grid_y, grid_z),
        threads=facts.num_warps * facts.target.warp_size,
        shared_bytes=facts.shared,
    )


def order_arguments(
    kinds: Mapping[str, str],
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
) -> tuple[list[str], dict[str, Any]]:
    """The kernel's arguments as TensorRT passes them, and those that it cannot pass: they become constants.

    Args:
        kinds: Triton's types of the kernel's run-time arguments, by name.
        arguments: what the launch gave for each.
        inputs: the operator's tensors by name; one that the kernel does not take keeps its own name in the order.
        outputs: what the launch returned.

    Raises:
        CompileError: the kernel takes a tensor that is neither, or one of them twice.
    """
    pointers: dict[int, str] = {}
    for name, kind in kinds.items():
        if not kind.startswith("*"):
            continue
        address = arguments[name].data_ptr()
        if address in pointers:
            raise CompileError(f"{name} and {pointers[address]} are one tensor; TensorRT passes each once")
        pointers[address] = name
    first = [pointers.pop(tensor.data_ptr(), name) for name, tensor in inputs.items()]
    last = [pointers.pop(tensor.data_ptr(), name) for name, tensor in outputs.items()]
    if pointers:
        raise CompileError(f"{', '.join(pointers.values())}: is no input and no output; TensorRT passes nothing else")
    if unwritten := [name for name in last if name in outputs]:
        raise CompileError(
            f"{', '.join(unwritten)}: is not given to the kernel; let its launch allocate each by itself"
        )
    integers = [name for name, kind in kinds.items() if kind == "i32"]
    scalars = {name: arguments[name] for name, kind in kinds.items() if not kind.startswith("*") and kind != "i32"}
    return [*first, *integers, *last], scalars


def _compile(
    call: OperatorCall, architecture: str, where: str
) -> tuple[Launch, dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """The one launch of a use, what it gave to the kernel by name, and the tensors that went in and came out."""
    triton.runtime.driver.set_active(NamedTarget(make_target(architecture)))
    given = {
        name: torch.zeros(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else value
        for name, value in call.inputs.items()
    }
    tuning = call.kernel.tuning_for(architecture, call.kernel.variant_of(tuple(given.values())))
    try:
        with recorded_launches() as launches, _noted_arguments() as noted, contextlib.redirect_stdout(io.StringIO()):
            made = call.kernel.launch(*given.values(), **tuning)
    except (RuntimeError, ValueError, TritonError) as cause:
        raise CompileError(f"{where}: does not compile ({type(cause).__name__}); see its record as a kernel") from cause
    if len(launches) != 1:
        raise CompileError(f"{where}: launches {len(launches)} kernels; a plugin launches one")
    inputs = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    several = (made,) if isinstance(made, Tensor) else made
    return launches[0], noted[0], inputs, dict(zip(call.output_names, several, strict=True))


@contextlib.contextmanager
def _noted_arguments() -> Iterator[list[dict[str, Any]]]:
    """What every launch inside gives to its kernel, by the names of its parameters."""
    noted: list[dict[str, Any]] = []
    run = JITFunction.run

    def note(self: Any, *arguments: Any, **options: Any) -> Any:
        noted.append({**dict(zip(self.arg_names, arguments, strict=False)), **options})
        return run(self, *arguments, **options)

    JITFunction.run = note
    try:
        yield noted
    finally:
        JITFunction.run = run


def _require_plain_launch(launch: Launch, where: str) -> None:
    """Refuse what TensorRT's launch parameters have no word for.

    Raises:
        CompileError: the kernel needs scratch memory, clusters, or programs that wait for one another.
    """
    facts = launch.compiled.metadata
    scratch = (facts.global_scratch_size or 0) + (facts.profile_scratch_size or 0)
    needs = {
        f"{scratch} bytes of scratch memory": scratch > 0,
        f"clusters of {facts.num_ctas} programs": facts.num_ctas > 1,
        "a cooperative launch": bool(facts.launch_cooperative_grid),
        "a dependent launch": bool(facts.launch_pdl),
    }
    if wanted := [what for what, needed in needs.items() if needed]:
        raise CompileError(f"{where}: needs {', '.join(wanted)}, which TensorRT does not give to a plugin")


def render_plugins(plugins: list[Plugin], architecture: str) -> str:
    """Python source that registers the plugins when it is imported.

    Raises:
        CompileError: TensorRT has no such dtype as an output's.
    """
    names = tuple(plugin.call.name for plugin in plugins)
    return MODULE.format(architecture=architecture, names=names) + "".join(map(_render, plugins))


def _render(plugin: Plugin) -> str:
    call = plugin.call
    for tensor in (*call.tensors.values(), *call.outputs):
        if tensor.dtype not in DTYPES:
            raise CompileError(f"{call.name}: TensorRT has no {tensor.dtype}; leave the kernel out")
    described = [f"trtp.from_shape_expr({tuple(out.shape)}, trt.{DTYPES[out.dtype]})" for out in call.outputs]
    return TEMPLATE.format(
        name=call.name,
        namespace=NAMESPACE,
        ptx=plugin.ptx,
        annotated=", ".join(f"{name}: trtp.TensorDesc" for name in call.tensors),
        returned=", ".join(["trtp.TensorDesc"] * len(call.outputs)),
        described=", ".join(described),
        inputs=", ".join(call.tensors),
        parameters=", ".join(plugin.parameters),
        grid=plugin.grid,
        threads=plugin.threads,
        shared_bytes=plugin.shared_bytes,
        count=len(plugin.integers),
        integers=plugin.integers,
        symbol=plugin.symbol,
    )
