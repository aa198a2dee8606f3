"""Calls a module for real and sees what it leaves behind: the half of the state contract that no graph shows.

`torch.export` traces one call and forgets what Python did around it. Here the module is called on plausible inputs, and
refused when anything that it owns, its inputs or a random number generator changed, or when an equal call answers
otherwise.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from porting.errors import ExportError, StateContractError
from porting.export.snapshot import compare_snapshots, describe_module, mark_random_sources, take_snapshot
from porting.program import ComponentSpec

Array = npt.NDArray[np.generic]
ADVICE = "take it as an input and return it as an output, and declare it as a state of the program"


def call_module(module: nn.Module, spec: ComponentSpec, inputs: Mapping[str, Array]) -> dict[str, Tensor]:
    """Call the module on named inputs; its outputs by name, not copied: they may share memory with the inputs.

    Raises:
        ExportError: the outputs are not tensors of the declared number, shapes and dtypes.
    """
    with torch.no_grad():
        made = module(*(torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs))
    outputs = (made,) if isinstance(made, Tensor) else made
    if not isinstance(outputs, (tuple, list)) or not all(isinstance(output, Tensor) for output in outputs):
        raise ExportError(f"{spec.name}: forward returned {type(made).__name__}; return a tensor or a tuple of tensors")
    if len(outputs) != len(spec.outputs):
        declared = [tensor.name for tensor in spec.outputs]
        raise ExportError(
            f"{spec.name}: forward returned {len(outputs)} tensors, not the {len(declared)} of {declared}"
        )
    for tensor, output in zip(spec.outputs, outputs, strict=True):
        found = (tuple(output.shape), str(output.dtype).removeprefix("torch."))
        if found != (tensor.shape, tensor.dtype):
            raise ExportError(f"{spec.name}.{tensor.name}: forward returned {found}; the program declares {tensor}")
    return {tensor.name: output for tensor, output in zip(spec.outputs, outputs, strict=True)}


def probe_module(
    module: nn.Module, spec: ComponentSpec, inputs: Mapping[str, Array], others: Mapping[str, Array]
) -> None:
    """Refuse a module that keeps, reads or draws anything besides its inputs.

    Args:
        module: called five times.
        spec: its inputs and outputs.
        inputs: plausible values of every input.
        others: other values of every input, for the calls in between.

    Raises:
        StateContractError: it is in training mode, writes what it owns or an input, draws random numbers, or answers
            the same inputs in more than one way.
        ExportError: its outputs are not the declared ones.
    """
    for path, part in module.named_modules():
        if part.training:
            raise StateContractError(
                f"{spec.name}: {describe_module(path, part)} is in training mode; call eval() on it before the export"
            )
    before = take_snapshot(module)
    with _watch_random_numbers(module) as drawn:
        first = _call_unchanged(module, spec, inputs)
        _call_unchanged(module, spec, others)
    if drawn:
        raise StateContractError(f"{spec.name}: {drawn[0]} draws random numbers; take the noise as an input instead")
    written = compare_snapshots(before, take_snapshot(module))
    if written:
        raise StateContractError(f"{spec.name}: {written[0]} is written during forward; {ADVICE}")
    _check_repeats(module, spec, inputs, others, first)


def _call_unchanged(module: nn.Module, spec: ComponentSpec, inputs: Mapping[str, Array]) -> dict[str, Tensor]:
    """Call the module on copies, which it must leave as they were."""
    given = {name: array.copy() for name, array in inputs.items()}
    outputs = call_module(module, spec, given)
    for name, array in inputs.items():
        if array.tobytes() != given[name].tobytes():
            raise StateContractError(
                f"{spec.name}: input `{name}` is written in place by {describe_module('', module)};"
                " clone it first, and return what is to be kept as an output"
            )
    return outputs


def _check_repeats(
    module: nn.Module,
    spec: ComponentSpec,
    inputs: Mapping[str, Array],
    others: Mapping[str, Array],
    first: Mapping[str, Tensor],
) -> None:
    """The first call's answer must stand, and come again, bit for bit, at once and after other calls."""
    wanted = {name: _bits(output) for name, output in first.items()}
    for when in ("at once", "after a call with other inputs"):
        again = _call_unchanged(module, spec, inputs)
        _call_unchanged(module, spec, others)
        for name, bits in wanted.items():
            if _bits(again[name]) != bits:
                raise StateContractError(
                    f"{spec.name}: output `{name}` differs when {describe_module('', module)} is called again with the"
                    f" same inputs, {when}; something outside its inputs decides: {ADVICE}"
                )
    for name, bits in wanted.items():
        if _bits(first[name]) != bits:
            raise StateContractError(
                f"{spec.name}: output `{name}` changed after it was returned, when {describe_module('', module)} was"
                " called again; return a new tensor from every call"
            )


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@contextmanager
def _watch_random_numbers(module: nn.Module) -> Iterator[list[str]]:
    """Collect the modules during whose forward a global generator moved, the innermost first."""
    drawn: list[str] = []
    open_calls: list[object] = []
    handles = []
    for path, part in module.named_modules():
        where = describe_module(path, part)

        def enter(_module: nn.Module, _inputs: object) -> None:
            open_calls.append(mark_random_sources())

        def leave(_module: nn.Module, _inputs: object, _outputs: object, where: str = where) -> None:
            if open_calls.pop() != mark_random_sources():
                drawn.append(where)

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield drawn
    finally:
        for handle in handles:
            handle.remove()
