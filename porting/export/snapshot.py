"""What a module remembers: every parameter, buffer, attribute, closure and global that its forward could write.

Two snapshots around a real call tell whether the call left anything behind, and where. Nothing is copied: tensors are
marked by identity, address and checksum, so that gigabytes of weights cost a read and no memory.
"""

import random
import types
import zlib
from collections import deque
from collections.abc import Hashable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

MAX_DEPTH = 8
"""Objects inside objects are followed this far; deeper ones count by identity."""
OWN_FIELDS = frozenset(vars(nn.Module())) - {"training"}
"""What nn.Module itself keeps: parameters, buffers and modules are walked by name, hooks belong to the caller."""
OPAQUE = (types.ModuleType, type, torch.dtype, torch.device, torch.layout)

Snapshot = dict[str, Hashable]


def take_snapshot(module: nn.Module) -> Snapshot:
    """Mark everything that a call of the module could have written, keyed by a phrase that names it."""
    marks: Snapshot = {}
    seen_classes: set[type] = set()
    for path, part in module.named_modules():
        owner = describe_module(path, part)
        for name, parameter in part.named_parameters(recurse=False):
            marks[f"parameter `{name}` of {owner}"] = mark(parameter)
        for name, buffer in part.named_buffers(recurse=False):
            marks[f"buffer `{name}` of {owner}"] = mark(buffer)
        for name, value in vars(part).items():
            if name not in OWN_FIELDS:
                marks[f"attribute `{name}` of {owner}"] = mark(value)
        if type(part) not in seen_classes:
            seen_classes.add(type(part))
            marks.update(_mark_class(type(part), owner))
    return marks


def compare_snapshots(before: Snapshot, after: Snapshot) -> list[str]:
    """The phrases whose marks differ, appeared or vanished; the most telling kind first."""
    return [name for name in (before | after) if before.get(name, "absent") != after.get(name, "absent")]


def describe_module(path: str, module: nn.Module) -> str:
    """For example: module `blocks.0.attention` (RingAttention)."""
    return f"module `{path or '<root>'}` ({type(module).__name__})"


def mark_random_sources() -> Hashable:
    """The states of the global random number generators of torch, numpy and Python."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return (
        zlib.crc32(torch.get_rng_state().numpy().tobytes()),
        zlib.crc32(np.asarray(keys).tobytes()),
        repr(rest),
        hash(random.getstate()),
    )


def mark(value: object, depth: int = 0, seen: frozenset[int] = frozenset()) -> Hashable:
    """Something hashable that changes when the value, or anything that it holds, changes."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return (type(value).__name__, repr(value))
    if isinstance(value, Tensor):
        return _mark_tensor(value)
    if isinstance(value, np.ndarray):
        return ("array", id(value), value.shape, str(value.dtype), zlib.crc32(value.tobytes()))
    if isinstance(value, torch.Generator):
        return ("generator", zlib.crc32(value.get_state().numpy().tobytes()))
    if isinstance(value, (np.random.Generator, random.Random)):
        state = value.getstate() if isinstance(value, random.Random) else value.bit_generator.state
        return ("generator", repr(state))
    if depth >= MAX_DEPTH or id(value) in seen or isinstance(value, (*OPAQUE, nn.Module)):
        return (type(value).__name__, id(value))
    parts = [(key, mark(part, depth + 1, seen | {id(value)})) for key, part in _parts(value)]
    return (type(value).__name__, id(value), tuple(parts))


def _parts(value: object) -> Iterator[tuple[Hashable, object]]:
    """What a container, function or object holds."""
    match value:
        case dict():
            yield from ((repr(key), part) for key, part in value.items())
        case list() | tuple() | deque() | set() | frozenset():
            yield from enumerate(value)
        case types.MethodType():
            yield "function", value.__func__
        case types.FunctionType():
            yield from _function_parts(value)
        case _:
            yield from getattr(value, "__dict__", {}).items()


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """What a function can write without an argument: variables that it closes over, and its defaults."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a variable that is not assigned yet
            yield name, None
    yield "__defaults__", function.__defaults__
    yield "__kwdefaults__", function.__kwdefaults__


def _mark_class(kind: type, owner: str) -> Iterator[tuple[str, Hashable]]:
    """Class attributes, and the closures and globals of the class's methods."""
    for base in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        for name, member in vars(base).items():
            value = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            value = value.fget if isinstance(value, property) else value
            if isinstance(value, types.FunctionType):
                yield from _mark_function(value, owner)
            elif not name.startswith("__") and not callable(value):
                yield f"class attribute `{name}` of {owner}", mark(value)


def _mark_function(function: types.FunctionType, owner: str) -> Iterator[tuple[str, Hashable]]:
    for name, value in _function_parts(function):
        if name != "__class__":
            yield f"variable `{name}` that `{function.__name__}` of {owner} closes over", mark(value)
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if value is not None and not callable(value) and not isinstance(value, OPAQUE):
            yield f"global `{name}` that `{function.__name__}` of {owner} uses", mark(value)


def _mark_tensor(tensor: Tensor) -> Hashable:
    kind = (id(tensor), tuple(tensor.shape), str(tensor.dtype))
    if tensor.device.type != "cpu":
        return ("tensor", *kind, tensor._version)
    plain = tensor.detach()
    content = plain.contiguous().flatten().view(torch.uint8).numpy()
    return ("tensor", *kind, plain.data_ptr(), zlib.crc32(content.data))
