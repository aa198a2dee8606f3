"""Reads a profile's file, and refuses one that could not serve: a profile is written by hand, once.

A source that a file gives often is named once, in its table `[sources]`, and cited as "[NAME]" where it is meant.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from porting.errors import ProfileError
from porting.profile.target import Profile

BACKEND_KINDS: dict[str, frozenset[str]] = {
    "onnxruntime": frozenset({"cpu"}),
    "openvino": frozenset({"cpu"}),
    "inductor": frozenset({"cpu", "cuda", "hip"}),
    "tensorrt": frozenset({"cuda"}),
    "tensorrt_plugins": frozenset({"cuda"}),
    "tensorrt_rtx": frozenset({"cuda"}),
    "triton": frozenset({"cuda", "hip"}),
    "onnxruntime_tensorrt": frozenset({"cuda"}),
    "onnxruntime_cuda": frozenset({"cuda"}),
    "migraphx": frozenset({"hip"}),
}
"""Every backend that a profile may name -> the kinds of device that it makes something for."""


def read_profile(path: Path) -> Profile:
    """Read one profile.

    Raises:
        ProfileError: the file is missing, is not TOML, or has a missing, unknown or impossible value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        profile = Profile.model_validate(_resolve_citations(path, table))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ProfileError(f"{path}: cannot be read as TOML ({cause})") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ProfileError(
            f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}; see profiles/cpu.toml"
        ) from cause
    if profile.name != path.stem:
        raise ProfileError(f"{path}: name is {profile.name!r}; name the file {profile.name}.toml")
    problem = _find_problem(profile)
    if problem is not None:
        raise ProfileError(f"{path}: {problem}")
    return profile


def _resolve_citations(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """The table without `sources`, each citation replaced by what it stands for.

    Raises:
        ProfileError: a citation of nothing, or a source that nothing cites.
    """
    sources, cited = table.get("sources", {}), set()

    def expand(match: re.Match[str]) -> str:
        if match[1] not in sources:
            raise ProfileError(f"{path}: source [{match[1]}] is not in [sources]; add it there")
        cited.add(match[1])
        return str(sources[match[1]])

    def resolve(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: resolve(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [resolve(inner) for inner in value]
        return re.sub(r"\[([A-Za-z0-9]+)\]", expand, value) if key == "source" and isinstance(value, str) else value

    resolved = {name: resolve(value, name) for name, value in table.items() if name != "sources"}
    unused = sorted(set(sources) - cited)
    if unused:
        raise ProfileError(f"{path}: sources.{unused[0]}: nothing cites it; drop it or cite it as [{unused[0]}]")
    return resolved


def _find_problem(profile: Profile) -> str | None:
    """What of the file contradicts itself, as "key: what; what to do"; None for a profile that can serve."""
    device, choice = profile.device, profile.compile
    for backend in choice.backends:
        if backend not in BACKEND_KINDS:
            return f"compile.backends: {backend!r}: no such backend; there are {', '.join(sorted(BACKEND_KINDS))}"
        if device.kind not in BACKEND_KINDS[backend]:
            fitting = sorted(name for name, kinds in BACKEND_KINDS.items() if device.kind in kinds)
            return f"compile.backends: {backend!r} makes nothing for {device.kind}; choose from {', '.join(fitting)}"
    for backend, chips in choice.chips.items():
        if backend not in choice.backends:
            return f"compile.chips: {backend!r} is not among the backends; add it there or drop it here"
        if device.architecture not in chips:
            return f"compile.chips: {backend} does not serve {device.architecture} itself; add it"
    for key, values in (("backends", choice.backends), ("precisions", choice.precisions)):
        if len(set(values)) != len(values):
            return f"compile.{key}: {', '.join(values)} names one twice; name each once"
    if device.kind != "cpu" and device.architecture is None:
        return f"device.architecture: is missing; a compiler for {device.kind} must be told one, as sm_100 or gfx950"
    if device.kind != "cpu" and device.warp_size is None:
        return "device.warp_size: is missing; kernels cannot be compiled without it"
    return None
