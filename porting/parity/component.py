"""The first level of parity: every output of one component, on recorded calls and on hard inputs.

It knows a runner and a trace, no program order and no budgets.
"""

import math

import numpy as np

from porting.errors import ComparisonError
from porting.program import ComponentSpec, Program
from porting.record import OutputParity
from porting.runners.base import Buffer, Runner, aligned_zeros, numpy_dtype
from porting.tensor_spec import Precision, TensorSpec
from porting.trace.data import Trace, TracedCall
from porting.trace.metrics import EXACT_DB, Array, error_budget_ratio, is_float, relative_error


def measure_component(
    program: Program, component: str, runner: Runner, backend: str, trace: Trace, precision: Precision
) -> tuple[OutputParity, ...]:
    """One entry an output and kind of inputs, that of the sample with the worst ratio.

    An output without recorded calls has an entry without samples, which passes nothing.

    Args:
        program: declares the component.
        component: its name.
        runner: what is measured.
        backend: the name that the entries carry.
        trace: recorded calls with gold's outputs and eager's errors.
        precision: what the runner computes in; the trace must be of the same.

    Raises:
        ComparisonError: the trace is of another precision, or its calls have other names or shapes than the component.
        RunnerError: the runner refuses its buffers or fails.
    """
    check_precision(trace, precision)
    spec = program.component(component)
    kinds: dict[str, list[TracedCall]] = {"trace": []}
    for call in trace.calls:
        if call.component == component:
            check_call(spec, call)
            kinds.setdefault(call.inputs_kind, []).append(call)
    bound = _BoundComponent(spec, runner)
    measured: list[OutputParity] = []
    for kind, calls in kinds.items():
        samples = [_compare_call(spec, backend, call, bound.run(call), precision) for call in calls]
        for index, output in enumerate(spec.outputs):
            entries = [sample[index] for sample in samples]
            worst = max(entries, key=lambda entry: entry.ratio, default=_absent(spec, backend, kind, output))
            measured.append(worst.model_copy(update={"samples": len(entries)}))
    return tuple(measured)


def check_precision(trace: Trace, precision: Precision) -> None:
    """PyTorch's own error is the yardstick, and it belongs to one precision.

    Raises:
        ComparisonError: the trace is of another.
    """
    if trace.precision != precision:
        raise ComparisonError(
            f"trace: PyTorch's error was recorded at {trace.precision}, the port computes in {precision};"
            f" record a trace at {precision}"
        )


def check_call(spec: ComponentSpec, call: TracedCall) -> None:
    """Names before values: a recorded call has the component's inputs and outputs, and no others.

    Raises:
        ComparisonError: a name is missing or too many, or a shape differs.
    """
    groups: tuple[tuple[str, tuple[TensorSpec, ...], dict[str, Array]], ...] = (
        ("inputs", spec.inputs, call.inputs),
        ("outputs", spec.outputs, dict(call.outputs)),
    )
    for kind, declared, found in groups:
        shapes = {t.name: t.shape for t in declared}
        recorded = {name: array.shape for name, array in found.items()}
        if shapes != recorded or (kind == "outputs" and call.error_eager.keys() != shapes.keys()):
            raise ComparisonError(
                f"{spec.name}: its {kind} are {shapes}, the trace's ({call.inputs_kind}) {recorded}; record it anew"
            )


class _BoundComponent:
    """A runner on buffers of its own."""

    def __init__(self, spec: ComponentSpec, runner: Runner) -> None:
        self.inputs = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in spec.inputs}
        self.outputs = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in spec.outputs}
        self._run = runner.bind(self.inputs, self.outputs)

    def run(self, call: TracedCall) -> dict[str, Buffer]:
        """The outputs for one call; what the runner does not write is nan, or all bits set."""
        for name, array in call.inputs.items():
            np.copyto(self.inputs[name], array)
        for array in self.outputs.values():
            array.fill(np.nan if is_float(array) else np.array(-1).astype(array.dtype))
        self._run()
        return {name: array.copy() for name, array in self.outputs.items()}


def _compare_call(
    spec: ComponentSpec, backend: str, call: TracedCall, made: dict[str, Buffer], precision: Precision
) -> list[OutputParity]:
    """One entry an output, in the component's order."""
    return [
        compare_output(
            _absent(spec, backend, call.inputs_kind, output),
            made[output.name],
            call.outputs[output.name],
            call.error_eager[output.name],
            precision,
        )
        for output in spec.outputs
    ]


def compare_output(
    empty: OutputParity, made: Array, gold: Array, error_eager: float, precision: Precision
) -> OutputParity:
    """Fill in an entry from one sample."""
    error = relative_error(made, gold)
    if not math.isfinite(error):
        return empty.model_copy(update={"samples": 1, "error_eager": error_eager})
    found, exact = made.astype(np.float64), gold.astype(np.float64)
    norms = float(np.linalg.norm(found) * np.linalg.norm(exact))
    equal = bool(np.array_equal(found, exact))
    return empty.model_copy(
        update={
            "samples": 1,
            "error_port": error,
            "error_eager": error_eager,
            "ratio": error_budget_ratio(error, error_eager, precision),
            "max_abs": float(np.abs(found - exact).max(initial=0.0)),
            "sqnr_db": EXACT_DB if error == 0 else min(EXACT_DB, -20.0 * math.log10(error)),
            "cosine": float(np.vdot(found, exact)) / norms if norms else float(equal),
            "finite": True,
        }
    )


def _absent(spec: ComponentSpec, backend: str, kind: str, output: TensorSpec) -> OutputParity:
    """Evidence of nothing: what an output has until a finite value of it was seen."""
    return OutputParity(
        component=spec.name,
        backend=backend,
        output=output.name,
        inputs=kind,
        samples=0,
        error_port=math.inf,
        error_eager=math.inf,
        ratio=math.inf,
        max_abs=math.inf,
        unit=output.unit,
        sqnr_db=-math.inf,
        cosine=0.0,
        finite=False,
    )
