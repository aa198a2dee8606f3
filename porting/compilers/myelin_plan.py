"""What TensorRT-RTX put into an engine, read from the text in its plan file: kernels, what was fused, in which types.

The engine inspector, which would tell the same, loads the engine and so needs a device. The text is not documented: it
is read for the one version of the format that was looked at, and any other version says so instead of guessing.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from porting.compilers.base import INTEGER
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

KNOWN_VERSION = 5
"""Of the graphs inside plans of TensorRT-RTX 1.7."""
GRAPH = re.compile(rb"header \{\n[\t\n\x1b-\x7e]+")
VERSION = re.compile(r"^  version = (\d+)$", re.MULTILINE)
ARCHITECTURES = re.compile(r"^  accelerators=\{([^}]*)\}", re.MULTILINE)
TF32 = re.compile(r"^  tf32=(\d)$", re.MULTILINE)
TENSOR = re.compile(r'^  (?:sub_)?tensor=\{.* name="([^"]+)".* type=(\w+) \}$', re.MULTILINE)
KERNEL = re.compile(r"^  (\w+)=\{ name=(\S+)", re.MULTILINE)
OPERANDS = re.compile(r"\b(?:input_args|output_args|input|output)=\{([^}]*)\}")
SOURCE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")

PRECISIONS: dict[str, Precision] = {
    "double": "fp64",
    "float": "fp32",
    "half": "fp16",
    "bf16": "bf16",
}
WHOLE = {"int8", "uint8", "int32", "int64", "bool"}
KINDS = {
    "function": "generated kernel",
    "fully_connected": "matrix product",
    "corrltn": "convolution",
    "shape_call": "computation of shapes",
    "runtime_fusion": "product or convolution with what follows",
}
"""Kinds of an entry, in a reader's words; others keep the plan's."""
ATTENTION = "_gemm_mha"
"""Begins the name of a kernel that is a whole attention."""
ATTENTION_KIND = "fused attention"
ANY_ARCHITECTURE = "*"
"""Of the small graphs that describe one fusion each; their kernel is in the main graph."""


@dataclass(frozen=True)
class PlanKernel:
    """One kernel launch of the engine."""

    name: str
    kind: str
    precision: str
    """The coarsest floating type among what it reads and writes; `integer`, or the plan's word for a type not known."""
    sources: tuple[str, ...]
    """The ONNX nodes that it computes."""


@dataclass(frozen=True)
class PlanReading:
    """Everything that was understood of a plan; without kernels when its format is another one."""

    versions: tuple[int, ...]
    architectures: tuple[str, ...]
    tf32: bool
    kernels: tuple[PlanKernel, ...]

    @property
    def known(self) -> bool:
        """Whether the format is the one that this module reads, and there was something to read."""
        return bool(self.kernels) and set(self.versions) == {KNOWN_VERSION}

    def count(self, field: str) -> dict[str, int]:
        """How many kernels there are of each `kind` or `precision`."""
        return dict(Counter(getattr(kernel, field) for kernel in self.kernels))


def read_plan(plan: bytes) -> PlanReading:
    """Read the text of a serialized engine."""
    graphs = [match.group().decode("ascii") for match in GRAPH.finditer(plan)]
    mains = [graph for graph in graphs if _architectures(graph) != [ANY_ARCHITECTURE]]
    versions = {int(found) for graph in mains for found in VERSION.findall(graph)}
    kernels: list[PlanKernel] = []
    if versions == {KNOWN_VERSION}:
        kernels = [kernel for graph in mains for kernel in _read_kernels(graph)]
    return PlanReading(
        versions=tuple(sorted(versions)),
        architectures=tuple(sorted({name for graph in mains for name in _architectures(graph)})),
        tf32=any(found != "0" for graph in mains for found in TF32.findall(graph)),
        kernels=tuple(kernels),
    )


def _architectures(graph: str) -> list[str]:
    return [name for found in ARCHITECTURES.findall(graph) for name in found.split()]


def _read_kernels(graph: str) -> Iterable[PlanKernel]:
    """Every entry of the graph's program, up to the one that computes shapes on the host."""
    types = dict(TENSOR.findall(graph))
    _, _, rest = graph.partition("\nmain {")
    program, _, _ = rest.partition("\nshape_main {")
    starts = [*KERNEL.finditer(program)]
    for index, start in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(program)
        text = program[start.start() : end]
        name = start.group(2).strip('"')
        operands = [o for found in OPERANDS.findall(text) for o in re.findall(r'"([^"]+)"', found)]
        yield PlanKernel(
            name=name,
            kind=ATTENTION_KIND if name.startswith(ATTENTION) else KINDS.get(start.group(1), start.group(1)),
            precision=_coarsest([types.get(operand, "of unknown type") for operand in operands]),
            sources=tuple(dict.fromkeys(SOURCE.findall(text))),
        )


def _coarsest(types: list[str]) -> str:
    """The precision of a kernel; a type that is not known decides, so that it cannot hide."""
    strange = sorted({kind for kind in types if kind not in PRECISIONS and kind not in WHOLE})
    if strange:
        return strange[0]
    floats = {PRECISIONS[kind] for kind in types if kind in PRECISIONS}
    return max(floats, key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)
