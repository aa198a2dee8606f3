"""What a GWM checkpoint is, from its headers: no weights, no torch."""

from collections import Counter

from porting.adapters.gwm.layout import check_tensors, is_parameter, read_config
from porting.adapters.gwm.program import build_program
from porting.adapters.inspection import ComponentSummary, Inspection, summarise_program
from porting.checkpoint import Checkpoint
from porting.program import ComponentSpec

WEIGHTS_OF = {"decoder_first": "decoder"}
"""Components that take their weights from a part of another name."""


def summarise(checkpoint: Checkpoint) -> Inspection:
    """The checkpoint's components, states and inputs.

    Raises:
        ConfigError: config.json does not describe a GWM model.
        CheckpointError: the tensors are not those that it asks for.
    """
    config = read_config(checkpoint)
    check_tensors(checkpoint, config)
    program = build_program(config)
    return Inspection(
        name=checkpoint.name,
        family=config.family,
        path=str(checkpoint.path),
        format=checkpoint.format,
        config=config.model_dump(mode="json"),
        tensors=len(checkpoint.tensors),
        tensors_by_dtype=dict(Counter(header.dtype for header in checkpoint.tensors.values())),
        parameters=_count_parameters(checkpoint, ""),
        weight_bytes=_count_bytes(checkpoint, ""),
        components=tuple(_summarise_component(checkpoint, component) for component in program.components),
        program=summarise_program(program),
    )


def _summarise_component(checkpoint: Checkpoint, component: ComponentSpec) -> ComponentSummary:
    weights = WEIGHTS_OF.get(component.name, component.name)
    return ComponentSummary(
        name=component.name,
        inputs=component.inputs,
        outputs=component.outputs,
        weights=weights,
        parameters=_count_parameters(checkpoint, f"{weights}."),
        weight_bytes=_count_bytes(checkpoint, f"{weights}."),
    )


def _count_parameters(checkpoint: Checkpoint, start: str) -> int:
    return sum(h.elements for name, h in checkpoint.tensors.items() if name.startswith(start) and is_parameter(name))


def _count_bytes(checkpoint: Checkpoint, start: str) -> int:
    return sum(header.nbytes for name, header in checkpoint.tensors.items() if name.startswith(start))
