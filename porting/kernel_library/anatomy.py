"""What a kernel file must hold, as checks that name the file and the part that lacks or does not fit.

Parts are checked against one another: what `launch` takes against what `reference` takes, sizes against `example`,
tuning against the parameters of `kernel`. Whether the kernel is right is proved by running it, not here.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from porting.errors import KernelError

FUNCTIONS = ("kernel", "reference", "launch", "example")
TABLES = ("EXAMPLES", "TYPICAL", "TENSOR_CORES", "TUNABLES", "SEARCH")
FORMATS = ("fp8", "mxfp8", "nvfp4", "mxfp4")
IMPORTS = frozenset({"torch", "triton", *sys.stdlib_module_names})
ARCHITECTURE = re.compile(r"cuda:[1-9]\d{1,2}|hip:gfx[0-9a-f]{3,4}")
"""Any number that a chip may have, not a list of chips: a new target is one profile, and no kernel refuses it."""
LAUNCH_OPTIONS = frozenset({"num_warps", "num_stages", "num_ctas", "maxnreg", "waves_per_eu", "matrix_instr_nonkdim"})
"""Tuning that is Triton's and not a parameter of the kernel."""
SCALARS = (float, int, bool, str)


def check_architecture(architecture: str, where: str) -> None:
    """Refuse what is not "cuda:<number>" or "hip:gfx<number>".

    Raises:
        KernelError: it is something else.
    """
    if not ARCHITECTURE.fullmatch(architecture):
        raise KernelError(f"{where}: {architecture!r} is no architecture; write it as 'cuda:100' or 'hip:gfx950'")


def check_file(path: Path, source: bytes) -> None:
    """What can be said before a line of the file runs: its name, its docstring, its imports.

    Raises:
        KernelError: one of them does not fit.
    """
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise KernelError(f"{path}: its name is no Python name; call it NAME.py")
    # As a script, the file's folder heads sys.path, and its neighbours would import the kernel instead.
    if path.stem in IMPORTS:
        raise KernelError(f"{path}: is named like the module {path.stem}; rename it")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as cause:
        raise KernelError(f"{path}: is not Python ({cause}); correct the file") from cause
    if not ast.get_docstring(tree):
        raise KernelError(f"{path}: has no docstring; state formula, accumulation dtype, shapes and source")
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imported = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                imported = [module]
            case ast.ImportFrom():
                imported = ["."]
            case _:
                continue
        for name in imported:
            if name.partition(".")[0] not in IMPORTS:
                raise KernelError(
                    f"{path}:{node.lineno}: imports {name}; a kernel file imports torch, triton and the standard"
                    " library only"
                )


def check_parts(path: Path, module: ModuleType) -> None:
    """Every part of an executed kernel file, on its own and against the others.

    Raises:
        KernelError: a part is missing or does not fit.
    """
    missing = [name for name in (*FUNCTIONS, *TABLES) if not hasattr(module, name)]
    if hasattr(module, "DTYPES") == hasattr(module, "FORMATS"):
        missing.append("DTYPES or FORMATS (one of the two)")
    if missing:
        raise KernelError(f"{path}: lacks {', '.join(missing)}; docs/kernels.md says what each of them is")
    _check_kernel(path, module.kernel)
    _check_signatures(path, module.reference, module.launch)
    _check_variants(path, module)
    _check_sizes(path, module)
    _check_tuning(path, module)
    _check_unsupported(path, module)


def _check_kernel(path: Path, kernel: Any) -> None:
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    # No autotuner: what a launch compiles follows from shapes, dtypes and tuning alone.
    if not isinstance(kernel, JITFunction | InterpretedFunction):
        raise KernelError(f"{path}: kernel is {type(kernel).__name__}; decorate a function with @triton.jit only")
    _require_docstring(path, "kernel", kernel.fn)


def _require_docstring(path: Path, name: str, function: Callable[..., Any]) -> None:
    if not inspect.isfunction(function):
        raise KernelError(f"{path}: {name} is {type(function).__name__}; make it a function")
    if not inspect.getdoc(function):
        raise KernelError(f"{path}: {name} has no docstring; say what it takes and what comes back")


def _check_signatures(path: Path, reference: Callable[..., Any], launch: Callable[..., Any]) -> None:
    """The same inputs by name, order and type: tensors, then scalars; `launch` also takes its tuning."""
    for name, function in (("reference", reference), ("launch", launch)):
        _require_docstring(path, name, function)
    expected, found = _inputs(path, "reference", reference), _inputs(path, "launch", launch)
    taken = ", ".join(f"{name}: {getattr(kind, '__name__', kind)}" for name, kind in expected.items())
    if [*expected.items()] != [*found.items()]:
        also = ", ".join(f"{name}: {getattr(kind, '__name__', kind)}" for name, kind in found.items())
        raise KernelError(f"{path}: launch takes ({also}), reference ({taken}); give both the same inputs")
    kinds = [kind in SCALARS for kind in expected.values()]
    if not kinds or kinds[0] or kinds != sorted(kinds):
        raise KernelError(f"{path}: reference takes ({taken}); put tensors first, then float, int, bool or str")
    last = [*inspect.signature(launch).parameters.values()][-1]
    if last.kind is not inspect.Parameter.VAR_KEYWORD:
        raise KernelError(f"{path}: launch takes no tuning; end its parameters with **tuning: int")
    returns = [get_type_hints(function).get("return") for function in (reference, launch)]
    if returns[0] is None or returns[0] != returns[1]:
        raise KernelError(f"{path}: reference returns {returns[0]}, launch {returns[1]}; annotate both with the same")


def _inputs(path: Path, name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Name -> type of what goes into the function, tuning left out."""
    import torch

    hints = get_type_hints(function)
    inputs: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and name == "launch":
            continue
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise KernelError(f"{path}: {name} takes {parameter}; name every input")
        if parameter.default is not inspect.Parameter.empty:
            raise KernelError(f"{path}: {name} has a default for {parameter.name}; the caller states every value")
        kind = hints.get(parameter.name)
        if kind not in (torch.Tensor, torch.Tensor | None, *SCALARS):
            raise KernelError(f"{path}: {name} takes {parameter.name} as {kind}; annotate it Tensor or a plain scalar")
        inputs[parameter.name] = kind
    return inputs


def _check_variants(path: Path, module: ModuleType) -> None:
    import torch

    if hasattr(module, "DTYPES"):
        name, variants = "DTYPES", module.DTYPES
        fits = isinstance(variants, tuple) and all(isinstance(variant, torch.dtype) for variant in variants)
    else:
        name, variants = "FORMATS", module.FORMATS
        fits = isinstance(variants, tuple) and set(variants) <= set(FORMATS)
    if not fits or not variants or len(set(variants)) != len(variants):
        raise KernelError(f"{path}: {name} is {variants}; make it a tuple of torch dtypes, or of {', '.join(FORMATS)}")


def _check_sizes(path: Path, module: ModuleType) -> None:
    """EXAMPLES and TYPICAL fit `example`, and one example needs every mask."""
    _require_docstring(path, "example", module.example)
    parameters = [*inspect.signature(module.example).parameters]
    varies = "dtype" if hasattr(module, "DTYPES") else "format"
    if len(parameters) < 2 or parameters[-1] != varies:
        raise KernelError(f"{path}: example takes {parameters}; make it sizes and then {varies}")
    examples, typical = module.EXAMPLES, module.TYPICAL
    if not isinstance(examples, tuple) or not examples:
        raise KernelError(f"{path}: EXAMPLES is {examples}; make it a tuple of at least one tuple of sizes")
    for name, sizes in [("TYPICAL", typical), *(("EXAMPLES", sizes) for sizes in examples)]:
        whole = isinstance(sizes, tuple) and all(type(size) is int and size >= 0 for size in sizes)
        if not whole or len(sizes) != len(parameters) - 1:
            raise KernelError(f"{path}: {name} has {sizes}; example wants whole numbers {tuple(parameters[:-1])}")
    if all(size & (size - 1) == 0 for sizes in examples for size in sizes):
        raise KernelError(f"{path}: EXAMPLES is {examples}, powers of two only; add sizes that need every mask")
    if type(module.TENSOR_CORES) is not bool:
        raise KernelError(f"{path}: TENSOR_CORES is {module.TENSOR_CORES!r}; make it True or False")


def _check_tuning(path: Path, module: ModuleType) -> None:
    """TUNABLES and SEARCH name what the kernel takes, for architectures, or an architecture and a variant."""
    tunables, search = module.TUNABLES, module.SEARCH
    if not isinstance(tunables, dict) or "default" not in tunables:
        raise KernelError(f'{path}: TUNABLES lacks "default"; give the tuning for an unknown architecture')
    for architecture, tuning in tunables.items():
        if architecture != "default":
            _check_cell(path, module, "TUNABLES", architecture)
        if not isinstance(tuning, dict) or not all(type(value) is int for value in tuning.values()):
            raise KernelError(f"{path}: TUNABLES[{architecture!r}] is {tuning}; make it names and whole numbers")
    _check_tuning_names(path, module, "TUNABLES", {name for tuning in tunables.values() for name in tuning})
    if not isinstance(search, dict) or not all(isinstance(values, tuple) and values for values in search.values()):
        raise KernelError(f"{path}: SEARCH is {search}; make it names and tuples of values worth trying")
    _check_tuning_names(path, module, "SEARCH", search)


def _check_tuning_names(path: Path, module: ModuleType, table: str, names: Iterable[str]) -> None:
    known = {*module.kernel.arg_names, *LAUNCH_OPTIONS}
    if unknown := sorted(set(names) - known):
        raise KernelError(f"{path}: {table} has {', '.join(unknown)}; neither the kernel nor Triton takes that")


def _check_unsupported(path: Path, module: ModuleType) -> None:
    """UNSUPPORTED's keys are architectures, or an architecture and a variant; each has a reason."""
    for key, reason in getattr(module, "UNSUPPORTED", {}).items():
        _check_cell(path, module, "UNSUPPORTED", key)
        if not isinstance(reason, str) or not reason.strip():
            raise KernelError(f"{path}: UNSUPPORTED[{key!r}] has no reason; say what the architecture lacks")


def _check_cell(path: Path, module: ModuleType, table: str, key: str) -> None:
    """A key is "backend:arch", or that and one of the file's own variants."""
    claimed = module.DTYPES if hasattr(module, "DTYPES") else module.FORMATS
    variants = {str(variant).removeprefix("torch.") for variant in claimed}
    architecture, _, variant = key.partition(" ")
    check_architecture(architecture, f"{path}: {table}")
    if variant and variant not in variants:
        raise KernelError(f"{path}: {table} has {key!r}; the kernel's own are {', '.join(sorted(variants))}")
