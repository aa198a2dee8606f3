"""What a checkpoint is, from headers alone: the record that `worldport inspect` shows."""

from typing import Any

from porting.program import InputSpec, Program, RingSpec, StateSpec
from porting.tensor_spec import Model, TensorSpec


class ComponentSummary(Model):
    """One component: its graph's inputs and outputs, and the weights behind it."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: str
    """What its tensors' names begin with; components with the same weights share them."""
    parameters: int
    weight_bytes: int
    """As stored, statistics beside the parameters included."""


class ProgramSummary(Model):
    """The frame program in figures."""

    inputs: tuple[InputSpec, ...]
    states: tuple[StateSpec, ...]
    rings: tuple[RingSpec, ...]
    state_bytes: int
    warmup_frames: int
    prime_calls: int
    frame_calls: int
    """Component calls per generated frame."""


class Inspection(Model):
    """A recognised checkpoint whose tensors' names, shapes and dtypes are all as its config asks."""

    name: str
    family: str
    path: str
    format: str
    config: dict[str, Any]
    tensors: int
    tensors_by_dtype: dict[str, int]
    parameters: int
    weight_bytes: int
    components: tuple[ComponentSummary, ...]
    program: ProgramSummary


def summarise_program(program: Program) -> ProgramSummary:
    """A program's inputs and states, and how often it calls components."""
    return ProgramSummary(
        inputs=program.inputs,
        states=program.states,
        rings=program.rings,
        state_bytes=program.state_bytes,
        warmup_frames=program.warmup_frames,
        prime_calls=len(program.prime),
        frame_calls=len(program.frame),
    )
