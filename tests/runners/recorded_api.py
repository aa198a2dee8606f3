"""The interfaces of bindings that are not installed here, as recorded from those that were published."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TENSORRT = HERE.parent / "compilers" / "tensorrt_api.txt"
CUDA = HERE / "cuda_api.txt"
METHOD = re.compile(r"^(\w+)\.(\w+)\((.*)\) -> .*$")


@dataclass(frozen=True)
class Overload:
    """One way to call a method."""

    parameters: list[str]
    required: int
    """Of the parameters, those without a default come first."""

    def takes(self, given: list[str]) -> bool:
        """Whether it may be called with exactly these."""
        return given == self.parameters[: len(given)] and len(given) >= self.required


def recorded_tensorrt() -> dict[str, dict[str, list[Overload]]]:
    """Class -> member -> its overloads; a property, or an enum's member, has none."""
    classes: dict[str, dict[str, list[Overload]]] = {}
    for line in _lines(TENSORRT):
        if line.startswith("enum "):
            name, _, members = line.removeprefix("enum ").partition(": ")
            classes[name] = {member: [] for member in members.split(", ")}
        elif (method := METHOD.match(line)) is not None:
            overloads = classes.setdefault(method[1], {}).setdefault(method[2], [])
            names = [name for name in _names(method[3]) if name != "self"]
            overloads.append(Overload(names, len(names) - _flat(method[3]).count("=")))
        else:
            owner, _, member = line.partition(".")
            classes.setdefault(owner, {}).setdefault(member, [])
    return classes


def recorded_cuda() -> dict[str, list[str] | None]:
    """Name -> the parameters of a function; None for constants, enums and their members (by their own name)."""
    found: dict[str, list[str] | None] = {}
    for line in _lines(CUDA):
        name, bracket, rest = line.partition("(")
        if bracket:
            found[name] = list(_names(rest.removesuffix(")")))
        else:
            found[name.removeprefix("enum ").partition(" = ")[0].rpartition(".")[2]] = None
    return found


def parameters_of(function: Any) -> list[str]:
    """Names of a function's parameters but self."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def _names(parameters: str) -> list[str]:
    """Names in a signature's text."""
    return [p.partition(":")[0].partition("=")[0].strip() for p in _flat(parameters).split(",") if p.strip()]


def _flat(parameters: str) -> str:
    """The text without what stands in brackets, whose commas and signs separate nothing."""
    return re.sub(r"<[^>]*>|\[[^\]]*\]", "", parameters)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
