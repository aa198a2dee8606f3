"""A trace on disk: safetensors files and a JSON index with their digests. Needs numpy and safetensors, no torch.

`trace.json` holds what is not an array; `session_<n>.safetensors` a session, its frames stacked; `calls.safetensors`
the component calls, an array that several share once. The same trace gives the same bytes on every host.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from porting.errors import TraceError
from porting.runners.base import numpy_dtype
from porting.tensor_spec import Model, Precision
from porting.trace.data import Trace, TracedCall, TracedFrame, TracedSession
from porting.trace.metrics import Array

INDEX = "trace.json"
CALLS = "calls.safetensors"
BFLOAT16_MARK = "@bfloat16"
"""Ends the key of a bfloat16 array: safetensors for numpy reads none, so its bits are stored as uint16."""


class _SessionIndex(Model):
    file: Annotated[str, Field(pattern=r"^session_[0-9]+\.safetensors$")]
    frames: Annotated[int, Field(gt=0)]
    primed_frames: Annotated[int, Field(ge=0)]


class _CallIndex(Model):
    component: str
    inputs_kind: str
    inputs: dict[str, str]
    """Name of the input -> key of its array in the file."""
    outputs: dict[str, str]
    error_eager: dict[str, float]


class _Index(Model):
    format: Literal["worldport trace"] = "worldport trace"
    version: Literal[1] = 1
    precision: Precision
    sessions: tuple[_SessionIndex, ...]
    calls: tuple[_CallIndex, ...]
    dropped: tuple[str, ...]
    sha256: dict[str, str]
    """Of each array file."""


def write_trace(trace: Trace, folder: Path) -> list[Path]:
    """Write a trace into an existing or new folder; returns the files, the index last.

    Raises:
        TraceError: a session holds no frames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[str, bytes] = {}
    sessions = []
    for number, session in enumerate(trace.sessions):
        if not session.frames:
            raise TraceError(f"session {number}: holds no frames; record one or more")
        name = f"session_{number}.safetensors"
        contents[name] = _pack(_session_arrays(session))
        sessions.append(_SessionIndex(file=name, frames=len(session.frames), primed_frames=session.primed_frames))
    shared = _SharedArrays()
    calls = tuple(
        _CallIndex(
            component=call.component,
            inputs_kind=call.inputs_kind,
            inputs={name: shared.add(f"{number}/inputs/{name}", array) for name, array in call.inputs.items()},
            outputs={name: shared.add(f"{number}/outputs/{name}", array) for name, array in call.outputs.items()},
            error_eager=call.error_eager,
        )
        for number, call in enumerate(trace.calls)
    )
    contents[CALLS] = _pack(shared.arrays)
    index = _Index(
        precision=trace.precision,
        sessions=tuple(sessions),
        calls=calls,
        dropped=trace.dropped,
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    # Last, so that a folder with an index is whole.
    (folder / INDEX).write_text(json.dumps(index.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    return [*(folder / name for name in contents), folder / INDEX]


def read_trace(folder: Path) -> Trace:
    """Read a trace; every file is held against its digest first.

    Raises:
        TraceError: a file is missing, damaged, or of a version that this package does not read.
    """
    index = _read_index(folder / INDEX)
    sessions = tuple(_read_session(folder, index, entry) for entry in index.sessions)
    arrays = _read_arrays(folder / CALLS, index)
    named = {key for entry in index.calls for key in (*entry.inputs.values(), *entry.outputs.values())}
    if named != arrays.keys():
        raise TraceError(f"{folder / CALLS}: does not hold the arrays that {INDEX} names; record the trace anew")
    calls = tuple(
        TracedCall(
            entry.component,
            entry.inputs_kind,
            {name: arrays[key] for name, key in entry.inputs.items()},
            {name: arrays[key].astype(np.float64) for name, key in entry.outputs.items()},
            entry.error_eager,
        )
        for entry in index.calls
    )
    return Trace(sessions=sessions, calls=calls, precision=index.precision, dropped=index.dropped)


class _SharedArrays:
    """Arrays by key, each content once: hard inputs and the calls of one frame share whole rings."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._keys: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, key: str, array: Array) -> str:
        """The key under which the array is kept: `key`, or that of an equal array."""
        content = (array.dtype.name, array.shape, hashlib.sha256(array.tobytes()).digest())
        found = self._keys.setdefault(content, key)
        self.arrays.setdefault(found, array)
        return found


def _read_index(path: Path) -> _Index:
    try:
        return _Index.model_validate_json(path.read_bytes())
    except OSError as cause:
        raise TraceError(f"{path}: cannot be read ({cause.strerror}); record the trace anew") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise TraceError(f"{path}: {place}: {first['msg']}; record the trace anew") from cause


def _read_arrays(path: Path, index: _Index) -> dict[str, Array]:
    """The arrays of one file that the index names."""
    digest = index.sha256.get(path.name)
    if digest is None:
        raise TraceError(f"{path}: {INDEX} holds no digest of it; record the trace anew")
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise TraceError(f"{path}: cannot be read ({cause.strerror}); record the trace anew") from cause
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise TraceError(f"{path}: sha256 is {found[:12]}..., {INDEX} says {digest[:12]}...; copy or record it anew")
    try:
        return _unpack(content)
    except (SafetensorError, KeyError, ValueError) as cause:
        raise TraceError(f"{path}: is no safetensors file ({cause}); record the trace anew") from cause


def _session_arrays(session: TracedSession) -> dict[str, Array]:
    """A session as named arrays; what every frame has is stacked over the frames."""
    arrays: dict[str, Array] = {
        "envelope/psnr_db": session.envelope_psnr_db,
        "envelope/ssim": session.envelope_ssim,
    }
    for group, single in (
        ("session_inputs", session.session_inputs),
        ("frame_inputs", session.frame_inputs),
        ("primed_states", session.primed_states),
    ):
        arrays |= {f"{group}/{name}": array for name, array in single.items()}
    first = session.frames[0]
    for name in first.state_writes:
        arrays[f"state_writes/{name}"] = np.stack([frame.state_writes[name] for frame in session.frames])
    for name in first.outputs:
        arrays[f"outputs/{name}"] = np.stack([frame.outputs[name] for frame in session.frames])
    for name in first.error_eager:
        arrays[f"error_eager/{name}"] = np.array([frame.error_eager[name] for frame in session.frames])
    return arrays


def _read_session(folder: Path, index: _Index, entry: _SessionIndex) -> TracedSession:
    path = folder / entry.file
    arrays = _read_arrays(path, index)
    writes, outputs, errors, frame_inputs = (
        _group(arrays, group) for group in ("state_writes", "outputs", "error_eager", "frame_inputs")
    )
    stacked: Iterable[Array] = (*writes.values(), *outputs.values(), *errors.values(), *frame_inputs.values())
    if any(len(array) != entry.frames for array in stacked) or "envelope/psnr_db" not in arrays:
        raise TraceError(f"{path}: does not hold the {entry.frames} frames that {INDEX} names; record the trace anew")
    frames = tuple(
        TracedFrame(
            {name: array[i] for name, array in writes.items()},
            {name: array[i].astype(np.float64) for name, array in outputs.items()},
            {name: float(array.astype(np.float64)[i]) for name, array in errors.items()},
        )
        for i in range(entry.frames)
    )
    return TracedSession(
        session_inputs=_group(arrays, "session_inputs"),
        frame_inputs=frame_inputs,
        primed_states=_group(arrays, "primed_states"),
        primed_frames=entry.primed_frames,
        frames=frames,
        envelope_psnr_db=arrays["envelope/psnr_db"].astype(np.float64),
        envelope_ssim=arrays["envelope/ssim"].astype(np.float64),
    )


def _group(arrays: Mapping[str, Array], group: str) -> dict[str, Array]:
    """The arrays below one prefix, by what follows it."""
    return {key[len(group) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{group}/")}


def _pack(arrays: Mapping[str, Array]) -> bytes:
    """A safetensors file; bfloat16 as marked bits."""
    stored = {}
    for name, array in arrays.items():
        bits = array.dtype == numpy_dtype("bfloat16")
        stored[name + BFLOAT16_MARK * bits] = np.ascontiguousarray(array.view(np.uint16) if bits else array)
    return bytes(save(stored))


def _unpack(content: bytes) -> dict[str, Array]:
    """The arrays of a safetensors file, read-only over its bytes."""
    arrays: dict[str, Array] = {}
    for key, array in load(content).items():
        if key.endswith(BFLOAT16_MARK):
            arrays[key.removesuffix(BFLOAT16_MARK)] = array.view(numpy_dtype("bfloat16"))
        else:
            arrays[key] = array
    return arrays
