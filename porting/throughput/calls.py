"""Times single calls of one component, every backend in turn, so that the fastest artifact is chosen by measurement."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from porting.errors import TraceError
from porting.program import Program
from porting.runners.base import BoundCall, Buffer, Runner, aligned_zeros, numpy_dtype
from porting.throughput.clock import Clock, SystemClock
from porting.trace.data import Trace, TracedCall

MIN_ROUNDS = 8
"""Fewest rounds: with fewer, one disturbance can move a median."""
WARMUP_CALLS = 3
"""Untimed calls of each backend at the start: first calls allocate and tune."""


def measure_calls(
    program: Program,
    component: str,
    runners: Mapping[str, Runner],
    trace: Trace,
    rounds: int,
    clock: Clock | None = None,
) -> dict[str, list[float]]:
    """Milliseconds per call of each backend on inputs recorded in a rollout.

    A round takes one recorded call and runs every backend on it, in an order that rotates: once untimed, so that caches
    are its own and the threads of the backend before went to sleep, then once timed. Entry r of every list is round r.

    Args:
        program: declares the component.
        component: which one.
        runners: one a backend.
        trace: holds calls of the component.
        rounds: how many, at least `MIN_ROUNDS` are made.
        clock: what tells the time; the system's by default.

    Raises:
        TraceError: the trace has no call of the component that comes from a rollout.
        RunnerError: a backend cannot run the component.
    """
    clock = clock or SystemClock()
    traced = [call for call in trace.calls if call.component == component and call.inputs_kind == "trace"]
    if not traced:
        raise TraceError(f"trace: has no rollout call of component {component!r} to time; record it again")
    inputs, calls = _bind(program, component, runners)
    backends = list(calls)
    _take(inputs, traced[0])
    for backend in backends:
        for _ in range(WARMUP_CALLS):
            calls[backend]()
    call_ms: dict[str, list[float]] = {backend: [] for backend in backends}
    for round_ in range(max(rounds, MIN_ROUNDS)):
        _take(inputs, traced[round_ % len(traced)])
        for backend in rotate(backends, round_):
            calls[backend]()
            start = clock.now()
            calls[backend]()
            call_ms[backend].append((clock.now() - start) * 1e3)
    return call_ms


def rank_backends(call_ms: Mapping[str, Sequence[float]]) -> list[tuple[str, float]]:
    """Backends, fastest first, each with the median over rounds of its time over the round's fastest.

    A round in which the machine was slow for all says as much as any other. A backend with a time that is no time, or
    with fewer rounds than another, is left out.
    """
    rounds = max((len(times) for times in call_ms.values()), default=0)
    usable = {
        backend: times
        for backend, times in call_ms.items()
        if len(times) == rounds > 0 and all(np.isfinite(t) and t > 0 for t in times)
    }
    best = [min(times) for times in zip(*usable.values(), strict=True)]
    slowness = {
        backend: statistics.median(time / fastest for time, fastest in zip(times, best, strict=True))
        for backend, times in usable.items()
    }
    return sorted(slowness.items(), key=lambda item: item[1])


def rotate(names: Sequence[str], round_: int) -> list[str]:
    """The names in order, begun at another one each round."""
    first = round_ % max(len(names), 1)
    return [*names[first:], *names[:first]]


def _bind(
    program: Program, component: str, runners: Mapping[str, Runner]
) -> tuple[dict[str, Buffer], dict[str, BoundCall]]:
    """Input buffers that all backends share, and one call a backend with outputs of its own."""
    spec = program.component(component)
    inputs = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in spec.inputs}
    calls = {}
    for backend, runner in runners.items():
        outputs = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in spec.outputs}
        calls[backend] = runner.bind(inputs, outputs)
    return inputs, calls


def _take(inputs: Mapping[str, Buffer], call: TracedCall) -> None:
    for name, buffer in inputs.items():
        if name not in call.inputs or call.inputs[name].shape != buffer.shape:
            raise TraceError(
                f"trace: a call of {call.component!r} lacks input {name!r} {buffer.shape}; record it again"
            )
        np.copyto(buffer, call.inputs[name])
