"""Chooses, per component, the fastest artifact that is proved on this host; times and errors are measured.

An artifact is proved when every output on every input stayed inside the error budget. Where none is, the least wrong
one is taken, so that the report shows how wrong it is; such a port fails.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from porting import parity, runners, throughput
from porting.errors import BackendMissingError, RunnerError
from porting.pipeline.progress import Observer
from porting.profile import ParityBudget
from porting.program import ComponentSpec, Program
from porting.record import ArtifactRecord, OutputParity
from porting.runners.base import Runner
from porting.tensor_spec import Precision
from porting.trace.data import Trace

ROUNDS = 24
"""Interleaved rounds of calls per component: the median of fewer wanders by some percent on a shared machine."""


@dataclass
class Field:
    """The artifacts of one component that opened here, and what was found out about each."""

    artifacts: dict[str, ArtifactRecord]
    """By backend."""
    opened: dict[str, Runner] = field(default_factory=dict)
    outputs: dict[str, tuple[OutputParity, ...]] = field(default_factory=dict)

    def drop(self, backend: str, error: str) -> None:
        """An artifact that does not run is no candidate; the record says why."""
        self.opened.pop(backend, None)
        self.artifacts[backend] = self.artifacts[backend].model_copy(update={"error": error, "chosen": False})


def worst_ratio(outputs: tuple[OutputParity, ...]) -> float:
    """The largest error budget ratio; infinite when nothing, or no number, was measured."""
    if not outputs or not all(output.measured for output in outputs):
        return math.inf
    return max(output.ratio for output in outputs)


@contextmanager
def open_field(
    artifacts: tuple[ArtifactRecord, ...], spec: ComponentSpec, folder: Path, threads: int, observer: Observer
) -> Iterator[Field]:
    """Open every artifact of one component that can be opened on this host; closed at the end."""
    found = Field({a.backend: a for a in artifacts if a.component == spec.name})
    with ExitStack() as stack:
        for backend, artifact in tuple(found.artifacts.items()):
            if artifact.path is None:
                continue
            try:
                runner = runners.open_runner(backend, folder, artifact, spec, threads)
            except BackendMissingError as cause:
                # Says something of this host, nothing of the artifact: not written into its record.
                observer.note(str(cause))
                continue
            except RunnerError as cause:
                observer.note(str(cause))
                found.drop(backend, str(cause))
                continue
            stack.callback(runner.close)
            found.opened[backend] = runner
        yield found


def measure_field(found: Field, program: Program, component: str, trace: Trace, precision: Precision) -> None:
    """Measure every opened artifact's outputs; fills `found.outputs` and drops what cannot run."""
    for backend, runner in tuple(found.opened.items()):
        try:
            found.outputs[backend] = parity.measure_component(program, component, runner, backend, trace, precision)
        except RunnerError as cause:
            found.drop(backend, str(cause))


def choose(
    found: Field, program: Program, component: str, trace: Trace, budget: ParityBudget, kept: str | None
) -> str | None:
    """Choose one backend and put the call times into its artifacts' records.

    Args:
        found: what was opened and measured.
        program: the frame program.
        component: which one.
        trace: where the calls' inputs come from.
        budget: what an artifact has to keep to be proved.
        kept: the backend chosen earlier, which stays chosen if it opened here; None chooses anew.

    Returns:
        The backend, or None when no artifact runs here.
    """
    ratios = {backend: worst_ratio(outputs) for backend, outputs in found.outputs.items() if backend in found.opened}
    if not ratios:
        return None
    proved = [backend for backend, ratio in ratios.items() if ratio <= budget.error_budget_ratio]
    tried = proved or [min(ratios, key=lambda backend: ratios[backend])]
    times = throughput.measure_calls(program, component, {b: found.opened[b] for b in tried}, trace, ROUNDS)
    ranked = [backend for backend, _ in throughput.rank_backends(times)]
    chosen = kept if kept in ratios else (ranked or tried)[0]
    medians = {backend: median(ms) for backend, ms in times.items()}
    for backend, artifact in found.artifacts.items():
        update: dict[str, object] = {"chosen": backend == chosen}
        if backend in medians:
            update |= {"median_ms": medians[backend], "call_ms": tuple(times[backend])}
        found.artifacts[backend] = artifact.model_copy(update=update)
    return chosen
