"""A team's own world model: a class that is named on the command line and turns a checkpoint into a `WorldModel`.

`module:Class` is imported from the working folder or the environment. The class has a class method
`from_checkpoint(checkpoint: Checkpoint) -> WorldModel`; a plain function of the same signature serves as well.
"""

import importlib
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from porting.adapters.inspection import ComponentSummary, Inspection, summarise_program
from porting.checkpoint import Checkpoint
from porting.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from porting.adapters.world_model import WorldModel

OWN_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
METHOD = "from_checkpoint"


def load_own(name: str, checkpoint: Checkpoint) -> "WorldModel":
    """The world model that a class makes of a checkpoint.

    Raises:
        UsageError: the module or class is not there, or makes something else.
        CheckpointError: the class asks for a tensor or a key of the config that the checkpoint lacks.
    """
    make = find_own(name)
    from porting.adapters.world_model import WorldModel

    try:
        made = make(checkpoint)
    except (KeyError, ValueError, RuntimeError) as cause:
        raise CheckpointError(
            f"{checkpoint.path}: {name} cannot load it ({type(cause).__name__}: {cause}); give the checkpoint that the"
            " class is written for"
        ) from cause
    if not isinstance(made, WorldModel):
        raise UsageError(f"{name}: made a {type(made).__name__} of the checkpoint; return a WorldModel")
    return made


def find_own(name: str) -> Callable[[Checkpoint], Any]:
    """What makes a world model of a checkpoint.

    Raises:
        UsageError: there is no such module or class, or it is nothing to call.
    """
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it: a class beside the checkpoint needs no installation
    try:
        module = importlib.import_module(module_name)
    except ImportError as cause:
        raise UsageError(f"{name}: cannot be imported ({cause}); install it, or run from its folder") from cause
    found = getattr(module, attribute, None)
    if found is None:
        raise UsageError(f"{name}: {module.__file__} has no {attribute}; name a class with {METHOD}(checkpoint)")
    made: Any = getattr(found, METHOD, found)
    if not callable(made):
        raise UsageError(f"{name}: is a {type(found).__name__}; name a class with {METHOD}(checkpoint)")
    return made


def inspect_own(name: str, checkpoint: Checkpoint) -> Inspection:
    """What the class makes of a checkpoint; unlike a family's, its weights are loaded for it.

    Raises:
        UsageError: as `load_own`.
        CheckpointError: as `load_own`.
    """
    model = load_own(name, checkpoint)
    counts: dict[str, int] = {}
    for header in checkpoint.tensors.values():
        counts[header.dtype] = counts.get(header.dtype, 0) + 1
    return Inspection(
        name=model.name,
        family=model.family,
        path=str(checkpoint.path),
        format=checkpoint.format,
        config=model.config,
        tensors=len(checkpoint.tensors),
        tensors_by_dtype=counts,
        parameters=model.parameters,
        weight_bytes=sum(header.nbytes for header in checkpoint.tensors.values()),
        components=tuple(
            ComponentSummary(
                name=spec.name,
                inputs=spec.inputs,
                outputs=spec.outputs,
                weights=name,
                parameters=sum(parameter.numel() for parameter in model.modules[spec.name].parameters()),
                weight_bytes=sum(parameter.nbytes for parameter in model.modules[spec.name].parameters()),
            )
            for spec in model.program.components
        ),
        program=summarise_program(model.program),
    )
