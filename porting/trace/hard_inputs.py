"""Hard inputs for a component, derived from what the frame program feeds it. No model is known here, only roles.

A random example hides a dropped epsilon, a lost mask or a swapped axis; a constant row, an empty ring or an old sink
does not.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from porting.program import Program, RingSpec, Source
from porting.trace.metrics import Array, is_float

Role = Literal["picture", "action", "value", "ring", "age", "constant"]
"""What an input is to a component: real frames, an action, a latent or carried features, ring slots, their ages, or a
constant of the program."""

OLD_CLOCK = 1_000_000
"""Frames behind an old sink: twelve hours at 24 fps."""
LARGE = 8.0
"""Latents have unit variance: eight times that is beyond what a rollout meets, within what a graph must stand."""


def find_roles(program: Program, component: str) -> dict[str, Role]:
    """The role of each of a component's inputs over all of its calls; "constant" only where all feed one."""
    found: dict[str, set[Role]] = {t.name: set() for t in program.component(component).inputs}
    for _, _, call in program.calls():
        if call.component == component:
            for name, source in call.inputs.items():
                found[name].add(_role(program, source))
    strongest: tuple[Role, ...] = ("age", "ring", "action", "value", "picture", "constant")
    return {name: next((r for r in strongest if r in roles), "constant") for name, roles in found.items()}


def _role(program: Program, source: Source) -> Role:
    match source.kind:
        case "age":
            return "age"
        case "constant":
            return "constant"
        case "state":
            return "ring" if program.state(source.name).ring is not None else "value"
        case "input":
            kind = program.input(source.name).kind
            roles: dict[str, Role] = {"context": "picture", "action": "action"}
            return roles.get(kind, "value")
        case "value":
            return "picture" if source.name == program.frame_value else "value"


def ages_at(ring: RingSpec, clock: int) -> npt.NDArray[np.int64]:
    """Age of every slot (window,) once `clock` frames were committed; 0 for a slot that was never written."""
    slots = np.arange(ring.window, dtype=np.int64)
    period = ring.window - ring.sink
    newest = np.where(slots < ring.sink, slots, slots + (clock - 1 - slots) // period * period)
    return np.where(slots < clock, clock - newest, 0)


def make_hard_inputs(
    program: Program, component: str, base: Mapping[str, Array]
) -> Iterator[tuple[str, dict[str, Array]]]:
    """(name, every input of the component), each made from one recorded call `base`; constants of the program stay."""
    roles = find_roles(program, component)
    changed: dict[str, dict[Role, Callable[[Array], Array]]] = {
        "constant rows": {"picture": _constant, "value": _constant, "ring": _constant, "action": _constant},
        "zeros": {"picture": _zero, "value": _zero, "ring": _zero, "action": _zero},
        "large values": {"picture": _saturate, "value": _enlarge},
        "one-hot action": {"action": _one_hot},
        "extreme action": {"action": _extreme},
    }
    for name, change in changed.items():
        if any(roles[i] in change and is_float(base[i]) for i in base):
            yield name, {i: change[roles[i]](a) if roles[i] in change and is_float(a) else a for i, a in base.items()}
    if "age" in roles.values():
        yield "empty ring", {i: np.zeros_like(a) if roles[i] == "age" else a for i, a in base.items()}
        old = {i: ages_at(_ring_of(program, component, i), OLD_CLOCK) for i in base if roles[i] == "age"}
        yield "full ring with old sink", {**base, **old}


def _ring_of(program: Program, component: str, name: str) -> RingSpec:
    """The ring whose ages feed an input."""
    sources = (call.inputs[name] for _, _, call in program.calls() if call.component == component)
    return program.ring(next(source.name for source in sources if source.kind == "age"))


def _constant(array: Array) -> Array:
    """The array's root mean square everywhere: a value of the size that the component meets."""
    exact = array.astype(np.float64)
    size = float(np.sqrt(np.mean(exact**2))) if exact.size else 0.0
    return np.full(array.shape, size or 1.0).astype(array.dtype)


def _zero(array: Array) -> Array:
    return np.zeros_like(array)


def _enlarge(array: Array) -> Array:
    return (array.astype(np.float64) * LARGE).astype(array.dtype)


def _saturate(array: Array) -> Array:
    """Black and white: a picture cannot be larger than 1."""
    exact = array.astype(np.float64)
    return (exact > np.median(exact)).astype(array.dtype)


def _one_hot(array: Array) -> Array:
    hot = np.zeros(array.shape)
    hot[..., 0] = 1.0
    return hot.astype(array.dtype)


def _extreme(array: Array) -> Array:
    """Signs alternate, four times the largest action recorded here or four."""
    size = LARGE / 2 * max(1.0, float(np.abs(array.astype(np.float64)).max(initial=0.0)))
    signs = np.where(np.arange(array.size) % 2, -1.0, 1.0).reshape(array.shape)
    return (signs * size).astype(array.dtype)
