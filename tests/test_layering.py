"""Imports in porting/ point downward only, and each backend is imported in its own modules only.

The table is DESIGN's. Imports inside functions and importlib.import_module("name") count as well.
"""

import ast
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "porting"


@dataclass(frozen=True)
class Row:
    """One row of the table: top-level names in porting/, and the layers that they may import."""

    layer: int
    names: tuple[str, ...]
    layers: frozenset[int]
    also: frozenset[str] = frozenset()


def up_to(layer: int) -> frozenset[int]:
    return frozenset(range(layer + 1))


ROWS = (
    Row(0, ("errors",), frozenset()),
    Row(1, ("tensor_spec", "escaping"), up_to(0)),
    Row(1, ("profile", "program"), up_to(0), also=frozenset({"tensor_spec"})),
    Row(1, ("record",), up_to(0), also=frozenset({"tensor_spec", "profile", "program"})),
    Row(2, ("bundle", "checkpoint", "content", "host", "devices", "tensorrt_log"), up_to(1)),
    Row(2, ("kernel_library",), up_to(1), also=frozenset({"content"})),
    Row(3, ("adapters",), up_to(2)),
    Row(4, ("export",), up_to(3)),
    # The triton backend compiles kernels, as the kernel library's own evidence does.
    Row(5, ("compilers", "runners"), up_to(2), also=frozenset({"kernel_compiler"})),
    Row(5, ("kernel_compiler",), up_to(2)),
    Row(5, ("rollout",), up_to(2), also=frozenset({"runners"})),
    Row(5, ("emulators",), up_to(1)),
    # Compiles a kernel file and has an emulator execute what came out.
    Row(6, ("emulation",), up_to(5)),
    # The reference is a rollout too: it is recorded by the engine that runs the port.
    Row(6, ("trace",), up_to(5)),
    Row(6, ("parity", "throughput", "roofline"), up_to(5), also=frozenset({"trace"})),
    Row(6, ("bisect",), up_to(5), also=frozenset({"trace", "parity"})),
    Row(6, ("comparison",), up_to(5), also=frozenset({"trace", "throughput"})),
    Row(6, ("planning",), up_to(5), also=frozenset({"roofline"})),
    Row(7, ("verdict", "gate", "report"), up_to(1)),
    Row(7, ("history",), up_to(1)),
    Row(8, ("pipeline", "farm", "cli", "pytest_plugin"), up_to(8)),
)
ROW_OF = {name: row for row in ROWS for name in row.names}

# Backend -> the modules that may import it, as patterns below porting.
BACKENDS = {
    "torch": (
        "adapters.*",
        "checkpoint",
        "checkpoint.*",
        "compilers.inductor*",
        "compilers.kernel_calls",
        "compilers.plugins",
        "compilers.triton",
        "emulation.*",
        "export",
        "export.*",
        "kernel_compiler.*",
        "kernel_library",
        "kernel_library.*",
        "runners.eager",
        "runners.exported",
        "runners.triton",
        "runners.inductor*",
        "runners.torch_device",
        "trace",
        "trace.*",
    ),
    # export.session: the state contract is proved by running the exported graph.
    "onnxruntime": ("compilers.onnxruntime*", "export.session", "runners.onnxruntime*"),
    "openvino": ("compilers.openvino*", "runners.openvino*"),
    "tensorrt": ("compilers.tensorrt", "compilers.tensorrt_plugins", "runners.tensorrt", "runners.tensorrt_plugins"),
    "tensorrt_rtx": ("compilers.tensorrt_rtx", "runners.tensorrt_rtx"),
    "triton": (
        "compilers.plugin*",
        "compilers.triton*",
        "emulation.*",
        "kernel_compiler.*",
        "kernel_library",
        "kernel_library.*",
        "runners.triton*",
    ),
    # Recognising a family imports none of these: only the family's own modules do, once a checkpoint of it is opened.
    "diffusers": ("adapters.*.*",),
    "transformers": ("adapters.*.*",),
    "migraphx": ("compilers.migraphx", "runners.migraphx"),
    "pynvml": ("devices.nvidia",),
    # Optional too: what keeps port records, searches them and hands them on.
    "sqlalchemy": ("history.*",),
    "psycopg": ("history.*",),
    "ruptures": ("history.*",),
    "mlflow": ("history.*",),
    "amdsmi": ("devices.amd",),
}


def module_name(path: Path) -> str:
    """The name below porting: "" for the package itself, "adapters.gwm" for adapters/gwm.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import; `from a import b` gives a.b, as b may be a module."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)
            case ast.ImportFrom(module=module, names=names):
                yield from ((node.lineno, f"porting.<relative>.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def check_import(importer: str, imported: str) -> str | None:
    """What is wrong when module `importer` (below porting) imports `imported`, or None."""
    top, _, rest = imported.partition(".")
    if top in BACKENDS:
        if any(fnmatch.fnmatch(importer, pattern) for pattern in BACKENDS[top]):
            return None
        return f"imports {top}, which only {', '.join(BACKENDS[top])} may import"
    if top != "porting":
        return None
    own = importer.partition(".")[0]
    target = rest.partition(".")[0]
    if target in {"", own, "__version__"}:
        return None
    if target not in ROW_OF:
        return f"imports {imported}, which is in no row of the layer table"
    if own == "":
        return f"the package itself imports {imported}; it imports nothing of porting"
    row = ROW_OF[own]
    if ROW_OF[target].layer in row.layers or target in row.also:
        return None
    return f"layer {row.layer} imports {imported} of layer {ROW_OF[target].layer}"


def ends_or_prints(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every print, exit or quit, sys.exit, os._exit and raise SystemExit."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "exit" | "quit" as name)):
                yield node.lineno, name
            case ast.Attribute(value=ast.Name(id="sys" | "os"), attr="exit" | "_exit" as name):
                yield node.lineno, name
            case ast.ImportFrom(module="sys" | "os", names=names):
                for alias in names:
                    if alias.name in {"exit", "_exit"}:
                        yield node.lineno, alias.name
            case ast.Name(id="SystemExit", ctx=ast.Load()):
                yield node.lineno, "SystemExit"


def violations(importer: str, source: str) -> list[str]:
    """Every break of the rules in the source of one module, each with its line."""
    own = importer.partition(".")[0]
    if own not in {"", *ROW_OF}:
        return [f"porting.{importer}: is in no row of the layer table; add it to DESIGN and ROWS"]
    tree = ast.parse(source)
    found = [
        (line, problem) for line, name in imported_names(tree) if (problem := check_import(importer, name)) is not None
    ]
    if own != "cli":
        found += [(line, f"{name}: only cli prints or exits") for line, name in ends_or_prints(tree)]
    return [f"porting.{importer}:{line}: {problem}" for line, problem in sorted(found)]


def test_every_module_keeps_to_its_layer() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert PACKAGE / "errors.py" in paths
    broken = [line for path in paths for line in violations(module_name(path), path.read_text(encoding="utf-8"))]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_is_imported_in_its_own_modules_only(backend: str) -> None:
    importers = {
        module_name(path)
        for path in PACKAGE.rglob("*.py")
        for _, name in imported_names(ast.parse(path.read_text(encoding="utf-8")))
        if name.partition(".")[0] == backend
    }
    strangers = {
        importer
        for importer in importers
        if not any(fnmatch.fnmatch(importer, pattern) for pattern in BACKENDS[backend])
    }
    assert not strangers


@pytest.mark.parametrize(
    ("importer", "source", "words"),
    [
        ("errors", "import porting.record", "layer 0"),
        ("record", "from porting.bundle import Bundle", "layer 1 imports porting.bundle.Bundle"),
        ("record", "from porting import bundle", "layer 1 imports porting.bundle"),
        ("compilers.openvino", "from porting import export", "layer 5"),
        ("compilers.openvino", "def f():\n    import porting.runners.openvino", ":2: layer 5"),
        ("runners.openvino", "import porting.rollout", "layer 5"),
        ("emulators.ptx", "import porting.bundle", "layer 5"),
        ("report.html", "from porting.bundle import Bundle", "layer 7"),
        ("gate", "from porting import parity", "layer 7"),
        ("parity", "from porting.cli import main", "layer 6"),
        ("", "from porting.errors import PortingError", "the package itself"),
        ("record", "from porting.helpers import x", "no row"),
        ("helpers", "", "no row"),
        ("record", "from .errors import PortingError", "no row"),
        ("rollout", "import torch", "imports torch"),
        ("rollout", "def f():\n    from torch.nn import Module", "imports torch"),
        ("rollout", "import importlib\nimportlib.import_module('torch')", ":2: imports torch"),
        ("runners.openvino", "import onnxruntime as ort", "imports onnxruntime"),
        ("compilers.tensorrt", "import tensorrt_rtx", "imports tensorrt_rtx"),
        ("parity", "print(1)", "print: only cli"),
        ("parity", "import sys\nsys.exit(1)", "exit: only cli"),
        ("parity", "from sys import exit", "exit: only cli"),
        ("parity", "raise SystemExit(2)", "SystemExit: only cli"),
    ],
)
def test_a_break_of_the_rules_is_noticed(importer: str, source: str, words: str) -> None:
    (line,) = violations(importer, source)
    assert words in line


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("record", "from porting.errors import RecordError"),
        ("adapters.gwm", "import torch\nfrom porting.adapters.world_model import WorldModel"),
        ("checkpoint", "def f():\n    import torch"),
        ("rollout", "from porting.runners import load_runner"),
        ("runners.onnxruntime", "import onnxruntime\nfrom porting.program import FrameProgram"),
        ("verdict", "from porting import record"),
        ("cli", "import sys\nfrom porting import __version__, pipeline\nprint(1)\nsys.exit(0)"),
    ],
)
def test_what_the_table_allows_passes(importer: str, source: str) -> None:
    assert violations(importer, source) == []
