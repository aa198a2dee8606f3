"""The work of any family that is built from a blueprint: counted on the meta device, put into a plan's terms."""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from porting.adapters.registry import open_model
from porting.errors import ConfigError
from porting.planning.gwm import count_copied, count_elements
from porting.planning.work import PlannedComponent, PlannedModel, Transformer
from porting.program import Program

if TYPE_CHECKING:
    from porting.adapters.blueprint import Blueprint


def describe_family(path_or_name: str, resolution: tuple[int, int] | None) -> PlannedModel:
    """What a checkpoint, or a config alone, computes, reads and keeps; no weight is read.

    Args:
        path_or_name: as `open_model` takes it.
        resolution: (width, height), written over the settings' own.

    Raises:
        CheckpointError: it is no checkpoint of a known family.
        ConfigError: a value is impossible, the family has no blueprint, or takes no resolution.
        BackendMissingError: a package that builds the family is not installed.
    """
    checkpoint, family = open_model(path_or_name)
    if family.build is None:
        raise ConfigError(f"{path_or_name}: family {family.name!r}: its work cannot be counted; plan another")
    if resolution is not None:
        size = {"width": resolution[0], "height": resolution[1]}
        checkpoint = replace(checkpoint, settings={**checkpoint.settings, **size})
    kind = "config" if not checkpoint.tensors else "checkpoint"
    source = f"{kind} {path_or_name if kind == 'config' else checkpoint.name}: headers only"
    return describe_blueprint(family.build(checkpoint), checkpoint.name, source)


def describe_blueprint(blueprint: "Blueprint", name: str, source: str) -> PlannedModel:
    """A blueprint's work; its modules stay on the meta device."""
    from porting.adapters.work import count_work

    program, work, sizes = blueprint.program, count_work(blueprint), blueprint.sizes
    calls = Counter(call.component for call in program.frame)
    components = tuple(
        PlannedComponent(
            name=part,
            calls_per_frame=amount,
            parameters=work[part].parameters,
            matrix_flops=work[part].matrix_flops,
            attention_flops=work[part].attention_flops,
            input_elements=count_elements(program.component(part), "inputs"),
            output_elements=count_elements(program.component(part), "outputs"),
        )
        for part, amount in calls.items()
    )
    every = {id(p): p.numel() for module in blueprint.modules.values() for p in module.parameters()}
    height, width = _frame_size(program)
    return PlannedModel(
        name=name,
        family=blueprint.family,
        source=source,
        frame_width=width,
        frame_height=height,
        parameters=sum(every.values()),
        components=components,
        state_elements=sum(state.tensor.elements for state in program.states),
        spare_elements=sum(state.tensor.elements for state in program.states if state.update == "replace"),
        copied_elements=count_copied(program),
        transformer=Transformer(
            component=sizes.component,
            layers=sizes.layers,
            width=sizes.width,
            heads=sizes.heads,
            mlp_width=sizes.mlp_width,
            tokens=sizes.tokens,
        ),
    )


def _frame_size(program: Program) -> tuple[int, int]:
    """(height, width) of one picture of the frame value."""
    for call in program.frame:
        outputs = {tensor.name: tensor for tensor in program.component(call.component).outputs}
        for output, sink in call.outputs.items():
            if (sink.kind, sink.name) == ("value", program.frame_value):
                height, width = outputs[output].shape[-2:]
                return height // program.pictures_per_frame, width
    raise ConfigError(f"no call of the program makes {program.frame_value!r}; a program that validates cannot get here")
