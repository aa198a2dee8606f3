"""Finds kernel files and loads them by path, never by import: adding a kernel is adding one file to a folder.

Finding files needs neither torch nor triton, loading one needs both. Knows no device and no compiler, and does not
judge whether a kernel computes what its reference says.
"""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from porting import content
from porting.errors import KernelError
from porting.kernel_library.anatomy import check_architecture, check_file, check_parts

if TYPE_CHECKING:
    import torch

Variant: TypeAlias = "torch.dtype | str"
"""What a kernel's examples vary over: the dtype of its main input, or the name of a block-scaled format."""


@dataclass(frozen=True)
class Kernel:
    """One checked kernel file. The parts are the file's own; `docs/kernels.md` says what each of them is."""

    name: str
    """The file's name without `.py`."""
    path: Path
    digest: str
    """sha256 of the source, in hexadecimal."""
    docstring: str
    module: ModuleType
    kernel: Any
    """The `@triton.jit` function: launched with `kernel[grid](...)`."""
    reference: Callable[..., "torch.Tensor | tuple[torch.Tensor, ...]"]
    launch: Callable[..., "torch.Tensor | tuple[torch.Tensor, ...]"]
    example: Callable[..., tuple[Any, ...]]
    examples: tuple[tuple[int, ...], ...]
    typical: tuple[int, ...]
    dtypes: tuple["torch.dtype", ...]
    """Empty for a kernel of block-scaled formats."""
    formats: tuple[str, ...]
    """Empty for a kernel of dtypes."""
    tensor_cores: bool
    tunables: dict[str, dict[str, int]]
    search: dict[str, tuple[int, ...]]
    unsupported: dict[str, str]

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The dtypes or the formats that the kernel claims; never empty."""
        return self.dtypes or self.formats

    def inputs(self, sizes: tuple[int, ...], variant: Variant) -> tuple[Any, ...]:
        """Inputs for `launch` and `reference` from the file's own example; the caller seeds torch."""
        return self.example(*sizes, **{"format" if self.formats else "dtype": variant})

    def tuning_for(self, architecture: str, variant: "Variant | None" = None) -> dict[str, int]:
        """What `launch` takes for an architecture such as "cuda:100": the default, and what differs from it there.

        A variant may differ further: its entry in TUNABLES is named "cuda:100 float32".

        Raises:
            KernelError: that is no architecture.
        """
        check_architecture(architecture, str(self.path))
        cell = f"{architecture} {str(variant).removeprefix('torch.')}"
        return {
            **self.tunables["default"],
            **self.tunables.get(architecture, {}),
            **(self.tunables.get(cell, {}) if variant is not None else {}),
        }

    def variant_of(self, inputs: tuple[Any, ...]) -> "Variant | None":
        """Which variant these inputs are: the dtype of the first, or the value of the parameter `format`."""
        if self.dtypes:
            return cast(Variant, inputs[0].dtype)
        names = [*inspect.signature(self.reference).parameters]
        return cast(Variant, inputs[names.index("format")]) if "format" in names else None


def kernel_paths(folders: Iterable[Path] | None = None) -> dict[str, Path]:
    """Name -> file of every kernel in the folders, by default the project's own; sorted, nothing is loaded.

    Raises:
        KernelError: a folder is missing, has an `__init__.py`, or two files have one name.
    """
    paths: dict[str, Path] = {}
    for folder in (content.folder("kernels"),) if folders is None else folders:
        if not folder.is_dir():
            raise KernelError(f"{folder}: no such folder of kernels; create it or leave it out")
        # With it, this folder would be a package that hides the distribution named like the folder.
        if (folder / "__init__.py").exists():
            raise KernelError(f"{folder}/__init__.py: a folder of kernels is no package; remove the file")
        for path in sorted(folder.glob("*.py")):
            first = paths.setdefault(path.stem, path)
            if first.resolve() != path.resolve():
                raise KernelError(f"{path}: {first} has the same name; rename one of the two")
    return dict(sorted(paths.items()))


def find_kernels(folders: Iterable[Path] | None = None) -> dict[str, Kernel]:
    """Name -> kernel of every file in the folders, by default the project's own; loaded and checked.

    Raises:
        KernelError: what `kernel_paths` and `load_kernel` refuse.
    """
    return {name: load_kernel(path) for name, path in kernel_paths(folders).items()}


def load_kernel(path: Path) -> Kernel:
    """Execute one kernel file and check every part of its anatomy.

    The module's name holds the digest of its source and not its path, so that two checkouts compile the same. A file
    that is loaded twice unchanged is one module.

    Raises:
        KernelError: the file is not there, cannot be executed, or a part of it is missing or does not fit; the message
            names the file and the part.
    """
    path = path.resolve()
    try:
        source = path.read_bytes()
    except OSError as cause:
        raise KernelError(f"{path}: cannot be read ({cause}); give the path of a kernel file") from cause
    check_file(path, source)
    digest = hashlib.sha256(source).hexdigest()
    module = _execute(path, source, f"worldport_kernel_{path.stem}_{digest[:16]}")
    check_parts(path, module)
    return Kernel(
        name=path.stem,
        path=path,
        digest=digest,
        docstring=module.__doc__ or "",
        module=module,
        kernel=module.kernel,
        reference=module.reference,
        launch=module.launch,
        example=module.example,
        examples=module.EXAMPLES,
        typical=module.TYPICAL,
        dtypes=getattr(module, "DTYPES", ()),
        formats=getattr(module, "FORMATS", ()),
        tensor_cores=module.TENSOR_CORES,
        tunables=module.TUNABLES,
        search=module.SEARCH,
        unsupported=getattr(module, "UNSUPPORTED", {}),
    )


def _execute(path: Path, source: bytes, name: str) -> ModuleType:
    """The module of that source, in sys.modules as pickle and inspect want it; what fails is not left there."""
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise KernelError(f"{path}: Python has no loader for it; name it NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Not the loader's bytecode of a moment ago, which Python tells from the source by size and second only.
        exec(compile(source, path, "exec"), module.__dict__)
    except ModuleNotFoundError as cause:
        del sys.modules[name]
        raise KernelError(f"{path}: imports {cause.name}, which is not installed; install worldport[triton]") from cause
    except (ArithmeticError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError) as cause:
        del sys.modules[name]
        raise KernelError(f"{path}: cannot be executed ({type(cause).__name__}: {cause}); correct the file") from cause
    return module
