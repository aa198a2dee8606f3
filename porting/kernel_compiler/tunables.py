"""The TUNABLES block of a kernel file: made from choices, and written in place of the one that is there."""

import ast
import tempfile
from collections.abc import Mapping
from pathlib import Path

from porting.errors import KernelError
from porting.kernel_library import Kernel, load_kernel

Tunables = dict[str, dict[str, int]]
WIDTH = 120


def make_tunables(kernel: Kernel, chosen: Mapping[tuple[str, str], Mapping[str, int]]) -> Tunables:
    """The smallest table from which `Kernel.tuning_for` gives every chosen tuning; without "default", which stays.

    Args:
        kernel: whose default the entries differ from.
        chosen: architecture and variant -> tuning. Entries of other architectures are kept.
    """
    default = kernel.tunables["default"]
    architectures = dict.fromkeys(architecture for architecture, _ in chosen)
    tunables = {
        key: dict(tuning)
        for key, tuning in kernel.tunables.items()
        if key != "default" and key.partition(" ")[0] not in architectures
    }
    for architecture in architectures:
        own = {variant: dict(tuning) for (other, variant), tuning in chosen.items() if other == architecture}
        # What most variants take stands for the architecture, the first of those that are as many.
        ways = list(own.values())
        common = max(ways, key=ways.count)
        tunables[architecture] = _difference(common, default)
        for variant, tuning in own.items():
            if tuning != common:
                tunables[f"{architecture} {variant}"] = _difference(tuning, {**default, **tunables[architecture]})
    return {key: tunables[key] for key in sorted(tunables, key=_order) if tunables[key]}


def _difference(tuning: Mapping[str, int], base: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in tuning.items() if base.get(name) != value}


def _order(key: str) -> tuple[str, int, str]:
    """NVIDIA before AMD, chips by their number, an architecture before its variants."""
    backend, _, rest = key.partition(":")
    chip, _, variant = rest.partition(" ")
    return backend, int(chip.removeprefix("gfx"), 16 if chip.startswith("gfx") else 10), variant


def render_tunables(default: str, tunables: Tunables) -> str:
    """The statement as Python; `default` is the source text of the default's value."""
    lines = ["TUNABLES = {", f'    "default": {default},']
    for key, tuning in tunables.items():
        entries = ", ".join(f'"{name}": {value}' for name, value in tuning.items())
        lines.append(f'    "{key}": {{{entries}}},')
    return "\n".join([*lines, "}"])


def write_tunables(path: Path, tunables: Tunables) -> bool:
    """Replace the block in the file, whole or not at all; every other line stays as it is.

    Returns:
        Whether the file changed.

    Raises:
        KernelError: the file has no such block, or is no sound kernel with the new one.
    """
    source = path.read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == ["TUNABLES"]:
            break
    else:
        raise KernelError(f"{path}: has no statement TUNABLES = {{...}}; add one with a default")
    default = _default_source(path, source, node.value)
    lines = source.splitlines(keepends=True)
    block = render_tunables(default, tunables) + "\n"
    changed = "".join([*lines[: node.lineno - 1], block, *lines[node.end_lineno :]])
    if changed == source:
        return False
    # Tried elsewhere: whoever looks for kernels in this folder meanwhile finds the old one or the new one.
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(changed, encoding="utf-8")
        load_kernel(trial)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(changed, encoding="utf-8")
    partial.replace(path)
    return True


def _default_source(path: Path, source: str, table: ast.expr) -> str:
    """How the file writes the default."""
    if isinstance(table, ast.Dict):
        for key, value in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "default":
                return ast.get_source_segment(source, value) or ""
    raise KernelError(f'{path}: TUNABLES is no table that names "default"; write it as one')
