"""Sessions to prove a port on: those stored beside a checkpoint, or seeded random ones made from the program's inputs.

A stored session is `sample.safetensors`: every session input as (sessions, *shape), every frame input that is not noise
as (sessions, frames, *shape), under the program's own names.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from porting.adapters.world_model import SampleSession
from porting.checkpoint import Checkpoint, open_checkpoint
from porting.checkpoint.opening import SAMPLE
from porting.checkpoint.weights import find_non_finite
from porting.errors import CheckpointError
from porting.program import InputSpec, Program

SEED, SESSIONS, FRAMES = 4242, 2, 320
"""Sessions for a checkpoint that brings none; as many frames as the longest timed run of a profile that ships."""
HOLD = 4
"""Frames that a random action is held for."""
DOCUMENT = "docs/checkpoints.md"

Float32Array = npt.NDArray[np.float32]
DrawSamples = Callable[[Program, np.random.Generator, int], SampleSession]
"""One session of so many frames."""


def find_samples(
    checkpoint: Checkpoint, program: Program, draw: DrawSamples | None = None
) -> tuple[tuple[SampleSession, ...], str]:
    """The sessions beside the weights, or random ones; and where they come from, in words.

    Raises:
        CheckpointError: sample.safetensors does not fit the program, or holds what is not finite; names the tensor.
    """
    path = checkpoint.config_path.parent / SAMPLE
    if path.exists():
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        words = f"sessions stored with the checkpoint ({SAMPLE}, sha256 {sha256[:16]})"
        return read_samples(open_checkpoint(path), program), words
    generator = np.random.default_rng(SEED)
    make = draw if draw is not None else draw_session
    sessions = tuple(make(program, generator, FRAMES) for _ in range(SESSIONS))
    return sessions, f"smooth random frames and held random actions, seed {SEED}: no {SAMPLE} is there"


def read_samples(stored: Checkpoint, program: Program) -> tuple[SampleSession, ...]:
    """The sessions of a sample file.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape or dtype, or not finite.
    """
    wanted = {given.tensor.name: given for given in program.inputs if given.kind != "noise"}
    if stored.tensors.keys() != wanted.keys():
        raise CheckpointError(f"{stored.path}: has {sorted(stored.tensors)}, needs {sorted(wanted)}; see {DOCUMENT}")
    sessions = {stored.tensors[name].shape[:1] for name in wanted}
    for name, given in wanted.items():
        _check_sample(stored, name, given)
    if len(sessions) != 1 or sessions == {(0,)}:
        raise CheckpointError(
            f"{stored.path}: has tensors of {sorted(sessions)} sessions; store the same number of each"
        )
    tensors = {name: tensor.numpy() for name, tensor in stored.load().items()}
    scopes = {
        scope: [name for name, given in wanted.items() if given.scope == scope] for scope in ("session", "frame")
    }  # fmt: skip
    return tuple(
        SampleSession(
            session_inputs={name: np.ascontiguousarray(tensors[name][number]) for name in scopes["session"]},
            frame_inputs={name: np.ascontiguousarray(tensors[name][number]) for name in scopes["frame"]},
        )
        for number in range(next(iter(sessions))[0])
    )


def _check_sample(stored: Checkpoint, name: str, given: InputSpec) -> None:
    header, shape = stored.tensors[name], given.tensor.shape
    leading = 1 if given.scope == "session" else 2
    if header.dtype != given.tensor.dtype or header.shape[leading:] != shape or len(header.shape) < leading:
        axes = ("sessions",) if leading == 1 else ("sessions", "frames")
        raise CheckpointError(
            f"{stored.path}: {name}: is {header.shape} {header.dtype}, the model takes"
            f" ({', '.join((*axes, *map(str, shape)))}) {given.tensor.dtype}; make it anew, see {DOCUMENT}"
        )
    if found := find_non_finite(stored.load([name])[name]):
        raise CheckpointError(f"{stored.path}: {name}: holds {found}; make it anew, see {DOCUMENT}")


def draw_session(program: Program, generator: np.random.Generator, frames: int) -> SampleSession:
    """One random session: pictures are smooth, actions held for some frames, conditioning is standard normal."""
    session: dict[str, Float32Array] = {}
    each_frame: dict[str, Float32Array] = {}
    for given in program.inputs:
        if given.kind == "noise":
            continue
        name, shape = given.tensor.name, given.tensor.shape
        if given.scope == "session":
            session[name] = _draw(given.kind, generator, shape)
        elif given.kind == "action":
            each_frame[name] = draw_actions(generator, frames, shape)
        else:
            each_frame[name] = np.stack([_draw(given.kind, generator, shape) for _ in range(frames)])
    return SampleSession(session_inputs=session, frame_inputs=each_frame)


def _draw(kind: str, generator: np.random.Generator, shape: tuple[int, ...]) -> Float32Array:
    if kind == "context" and len(shape) >= 4:
        return draw_clip(generator, shape)
    if kind == "action":
        return np.stack(list(draw_actions(generator, shape[1], (shape[0], *shape[2:]))), axis=1)
    return generator.standard_normal(shape).astype(np.float32)


def draw_clip(generator: np.random.Generator, shape: tuple[int, ...]) -> Float32Array:
    """(..., 3, H, W) or (..., T, 3, H, W) in [0, 1]: a few moving plane waves a channel: white noise is no picture."""
    height, width = shape[-2:]
    time = shape[-4] if len(shape) > 4 else 1
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    waves = generator.normal(0, 1.5, (3, 4, 2))
    phase, speed = generator.uniform(0, 2 * np.pi, (3, 4)), generator.normal(0, 0.3, (3, 4))
    frames = []
    for t in range(time):
        angle = 2 * np.pi * (waves[..., :1, None] * y + waves[..., 1:, None] * x) + (phase + speed * t)[..., None, None]
        frames.append(0.5 + 0.5 * np.sin(angle).mean(1))
    return np.broadcast_to(
        np.stack(frames).reshape(*((time,) if len(shape) > 4 else ()), 3, height, width), shape
    ).astype(np.float32)


def draw_actions(generator: np.random.Generator, frames: int, shape: tuple[int, ...]) -> Float32Array:
    """(frames, *shape): standard normal values held for some frames, then none."""
    turns = frames // HOLD + 1
    held = np.repeat(generator.normal(0, 1, (turns, *shape)), HOLD, axis=0)[:frames]
    active = np.repeat(generator.random((turns, *(1 for _ in shape))) < 0.5, HOLD, axis=0)[:frames]
    return (held * active).astype(np.float32)
