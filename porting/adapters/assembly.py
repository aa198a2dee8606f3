"""From a blueprint to what the rest of the engine knows: an inspection of headers, or a world model with its weights.

Headers are held against the modules as tensors of the meta device, through the very conversion that the weights go
through. It knows no family.
"""

import fnmatch
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from porting.adapters.blueprint import Blueprint, Part
from porting.adapters.inspection import ComponentSummary, Inspection, summarise_program
from porting.adapters.samples import find_samples
from porting.adapters.world_model import WorldModel
from porting.checkpoint import Checkpoint
from porting.checkpoint.weights import find_non_finite
from porting.checkpoint.widening import widen_weights
from porting.errors import CheckpointError

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""What weights may be stored in; all are computed with in float32."""


def inspect_blueprint(checkpoint: Checkpoint, blueprint: Blueprint) -> Inspection:
    """What a checkpoint is, from its headers alone; of a config alone, what its checkpoint would be.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape or dtype than the config asks for.
    """
    stored = {name: _convert_headers(part) for name, part in blueprint.parts.items() if part.source.tensors}
    for name, tensors in stored.items():
        check_tensors(blueprint.parts[name], tensors)
    used = [part.source.tensors for part in blueprint.parts.values()]
    parameters = {id(p): p for m in blueprint.modules.values() for p in m.parameters()}
    headers = [header for tensors in used for header in tensors.values()]
    return Inspection(
        name=checkpoint.name,
        family=blueprint.family,
        path=str(checkpoint.path),
        format=checkpoint.format,
        config=blueprint.config,
        tensors=len(headers),
        tensors_by_dtype=dict(Counter(header.dtype for header in headers)),
        parameters=sum(p.numel() for p in parameters.values()),
        weight_bytes=sum(header.nbytes for header in headers) or sum(p.nbytes for p in parameters.values()),
        components=tuple(_summarise(blueprint, component, stored) for component in blueprint.modules),
        program=summarise_program(blueprint.program),
    )


def load_blueprint(checkpoint: Checkpoint, blueprint: Blueprint) -> WorldModel:
    """A checkpoint as a world model. Float32 weights stay mapped to their file; others are converted.

    Raises:
        CheckpointError: as `inspect_blueprint`; a weight is not finite, or the stored sessions do not fit.
    """
    for part in blueprint.parts.values():
        if not part.source.tensors:
            raise CheckpointError(f"{part.source.path}: is a config without weights; give the checkpoint itself")
        check_tensors(part, _convert_headers(part))
    samples, source = find_samples(checkpoint, blueprint.program, blueprint.draw_samples)
    for part in blueprint.parts.values():
        _fill(part)
    for module in blueprint.modules.values():
        module.eval().requires_grad_(False)
    blueprint.finish(blueprint.modules)
    return WorldModel(
        name=checkpoint.name,
        family=blueprint.family,
        digest=(_select_used(checkpoint, blueprint) if checkpoint.parts else checkpoint).digest(),
        config=blueprint.config,
        program=blueprint.program,
        modules=blueprint.modules,
        samples=samples,
        sample_source=source,
    )


def check_tensors(part: Part, stored: Mapping[str, Tensor]) -> None:
    """Hold converted tensors against the module that they are for.

    Raises:
        CheckpointError: one is missing, not known, or of another shape or dtype; names the file and the tensor.
    """
    source, expected = part.source, part.module.state_dict()
    config = source.config_path if source.config_path.is_file() else source.path
    where = source.weight_files[0] if len(source.weight_files) == 1 else source.path
    if missing := [name for name in expected if name not in stored]:
        raise CheckpointError(f"{where}: lacks {_list(missing)}, which {config} asks for; save every tensor")
    extra = [name for name in stored if name not in expected and not _matches(name, part.ignored)]
    if extra:
        raise CheckpointError(f"{where}: has {_list(extra)}, which {config} does not ask for; correct the config")
    for name, wanted in expected.items():
        file, found = source.file_of.get(name, where), stored[name]
        if found.shape != wanted.shape:
            raise CheckpointError(
                f"{file}: {name}: has shape {tuple(found.shape)}, {config} asks for {tuple(wanted.shape)};"
                " correct whichever is wrong"
            )
        if wanted.is_floating_point() and str(found.dtype).removeprefix("torch.") not in DTYPES:
            raise CheckpointError(f"{file}: {name}: is {found.dtype}; save it as one of {', '.join(DTYPES)}")


def _select_used(checkpoint: Checkpoint, blueprint: Blueprint) -> Checkpoint:
    """The checkpoint with those of its parts alone that the blueprint takes weights from: text encoders are large."""
    used = {file for part in blueprint.parts.values() for file in part.source.weight_files}
    return checkpoint.select(name for name, part in checkpoint.parts.items() if used.intersection(part.weight_files))


def _convert_headers(part: Part) -> dict[str, Tensor]:
    """The part's tensors on the meta device, under the names of its module.

    Raises:
        CheckpointError: the conversion, which expects the family's names, stumbles over others.
    """
    empty = {
        name: torch.empty(header.shape, dtype=getattr(torch, header.dtype), device="meta")
        for name, header in part.source.tensors.items()
    }
    try:
        return part.convert(empty)
    except (KeyError, ValueError, IndexError, RuntimeError, AttributeError) as cause:
        raise CheckpointError(
            f"{part.source.path}: its tensors' names cannot be converted ({type(cause).__name__}: {cause});"
            " they are not this family's"
        ) from cause


def _fill(part: Part) -> None:
    """Put the weights in, in float32; integers, such as counters of batches, keep their dtype."""
    expected = part.module.state_dict()
    loaded = part.source.load()
    for name, tensor in loaded.items():
        if found := find_non_finite(tensor):
            raise CheckpointError(
                f"{part.source.file_of[name]}: {name}: holds {found}; its training diverged or the file is damaged"
            )
    converted = part.convert(loaded)
    part.module.load_state_dict(widen_weights({name: converted[name] for name in expected}), assign=True)


def _summarise(blueprint: Blueprint, component: str, stored: Mapping[str, Mapping[str, Tensor]]) -> ComponentSummary:
    spec, module = blueprint.program.component(component), blueprint.modules[component]
    own = {id(parameter): parameter for parameter in module.parameters()}
    part_name = blueprint.part_of.get(component, "")
    return ComponentSummary(
        name=component,
        inputs=spec.inputs,
        outputs=spec.outputs,
        weights=part_name,
        parameters=sum(parameter.numel() for parameter in own.values()),
        weight_bytes=_count_bytes(blueprint, part_name, own, stored),
    )


def _count_bytes(
    blueprint: Blueprint, part_name: str, own: Mapping[int, nn.Parameter], stored: Mapping[str, Mapping[str, Tensor]]
) -> int:
    """Bytes of a component's parameters as they are stored; of a config alone, in float32."""
    part, tensors = blueprint.parts.get(part_name), stored.get(part_name)
    if part is None or tensors is None:
        return sum(parameter.nbytes for parameter in own.values())
    names = [name for name, parameter in part.module.named_parameters() if id(parameter) in own]
    return sum(tensors[name].nbytes for name in names)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more tensors"
