"""All three levels of parity of one port, as one record. Whether that is enough is the verdict's business."""

import itertools
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from porting.errors import ComparisonError
from porting.parity.component import check_precision, measure_component
from porting.parity.free_running import measure_free_running
from porting.parity.teacher_forced import measure_teacher_forced
from porting.profile import ParityBudget
from porting.program import Program
from porting.record import ParityEvidence
from porting.rollout import Rollout
from porting.runners.base import Runner
from porting.tensor_spec import Precision
from porting.trace.data import Trace


def measure_parity(
    program: Program,
    runners: Mapping[str, Runner],
    trace: Trace,
    budget: ParityBudget,
    precision: Precision,
    out_dir: Path,
    backends: Mapping[str, str],
    bundle_folder: str | None = None,
) -> ParityEvidence:
    """Component, teacher-forced and free-running parity of a port.

    Args:
        program: the frame program.
        runners: one a component: the port.
        trace: the reference.
        budget: how many frames; a shorter trace makes shorter evidence.
        precision: that of the port.
        out_dir: gets `rollout_reference.png`, `rollout_port.png`, `rollout_difference.png`.
        backends: the backend of every component's runner.
        bundle_folder: `out_dir` as the record names it, relative to the bundle; else `targets/<its name>`.

    Raises:
        ComparisonError: a component is missing or too many, or the trace is of another precision or program.
        RunnerError: a call failed.
    """
    started = time.perf_counter()
    names = [component.name for component in program.components]
    _check_components("runners", runners, names)
    _check_components("backends", backends, names)
    check_precision(trace, precision)
    measured = [measure_component(program, name, runners[name], backends[name], trace, precision) for name in names]
    rollout = Rollout(program, runners)
    folder = f"targets/{out_dir.name}" if bundle_folder is None else bundle_folder
    return ParityEvidence(
        outputs=tuple(itertools.chain.from_iterable(measured)),
        teacher_forced=measure_teacher_forced(program, rollout, trace, budget.teacher_forced_frames, precision),
        free_running=measure_free_running(program, rollout, trace, budget, out_dir, folder),
        gold="fp64",
        seconds=time.perf_counter() - started,
        dropped=trace.dropped,
    )


def _check_components(kind: str, given: Iterable[str], declared: Iterable[str]) -> None:
    if set(given) != set(declared):
        raise ComparisonError(f"parity: {kind} are of {sorted(given)}, the program's components {sorted(declared)}")
