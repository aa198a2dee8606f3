"""What recording and replaying share: frames one by one, what a frame wrote, one call by itself. No torch."""

from collections.abc import Iterator, Mapping

import numpy as np

from porting.program import ComponentSpec, Program
from porting.rollout import Rollout
from porting.runners.base import Buffer, Runner, aligned_zeros, numpy_dtype
from porting.trace.data import TracedFrame
from porting.trace.metrics import Array


def split_frames(frame_inputs: Mapping[str, Array], frames: int) -> Iterator[dict[str, Buffer]]:
    """One dict of inputs a frame, from arrays (frames, *shape), for at most `frames` frames.

    A world that nobody acts in takes no inputs: then every dict is empty.
    """
    count = min((len(a) for a in frame_inputs.values()), default=frames)
    for index in range(min(count, frames)):
        yield {name: array[index] for name, array in frame_inputs.items()}


def read_writes(program: Program, rollout: Rollout, clock: int) -> dict[str, Array]:
    """What the frame that began at `clock` left behind: `replace` states whole, of a ring its own slot, copied."""
    writes: dict[str, Array] = {}
    for name in written_states(program):
        state, value = program.state(name), rollout.read_state(name)
        if state.ring is None or state.slot_axis is None:
            writes[name] = value
        else:
            writes[name] = value.take(program.ring(state.ring).slot(clock), axis=state.slot_axis)
    return writes


def written_states(program: Program) -> list[str]:
    """States that a frame writes, in the order of the program's declaration."""
    written = {sink.name for call in program.frame for sink in call.outputs.values() if sink.kind == "state"}
    return [s.tensor.name for s in program.states if s.tensor.name in written]


def join_made(values: Mapping[str, Array], writes: Mapping[str, Array]) -> dict[str, Array]:
    """What a frame made under one set of names: its values, and the states it wrote."""
    return {**values, **{f"state {name}" if name in values else name: array for name, array in writes.items()}}


def run_once(runner: Runner, spec: ComponentSpec, inputs: Mapping[str, Array], exact: bool = False) -> dict[str, Array]:
    """One call on buffers of its own; with `exact`, floating outputs in float64."""
    taken = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in spec.inputs}
    for name, array in inputs.items():
        np.copyto(taken[name], array)
    made = {
        t.name: aligned_zeros(t.shape, np.dtype(np.float64) if exact and "float" in t.dtype else numpy_dtype(t.dtype))
        for t in spec.outputs
    }
    runner.bind(taken, made)()
    return dict(made)


def apply_writes(program: Program, states: dict[str, Array], frame: TracedFrame, clock: int) -> None:
    """Bring gold's states, whole, from before a frame to after it; a ring's slice goes into the slot of `clock`."""
    for name, written in frame.state_writes.items():
        state = program.state(name)
        if state.ring is None or state.slot_axis is None:
            states[name] = written
        else:
            slots = np.moveaxis(states[name], state.slot_axis, 0)
            slots[program.ring(state.ring).slot(clock)] = written
