"""Prints a record for people, on stdout: the verdict, a line for each step with its figures and why, the frame rate."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from porting.record import Outcome, PortRecord, Step, TargetRecord, ThroughputEvidence, exit_code
from porting.report import floor, numbers, view
from porting.tensor_spec import Model

COLOURS = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.NOT_MEASURED: "yellow"}


WIDE = 240
"""Columns where stdout is no terminal: lines stay whole, so that they can be searched."""


def make_console() -> Console:
    """Stdout; text is shown as it is, without markup."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False)


def print_json(record: Model) -> None:
    """The record, and nothing else."""
    sys.stdout.write(record.model_dump_json(indent=2, by_alias=True) + "\n")


def print_port(record: PortRecord, bundle: Path, targets: tuple[str, ...], upto: Step = Step.THROUGHPUT) -> None:
    """Every target's verdict and evidence, as far as a step, and where the report is."""
    console = make_console()
    for name in targets:
        _print_target(console, name, record.targets[name], upto)
    console.print(f"report: {bundle / 'report.html'}")


def _print_target(console: Console, name: str, target: TargetRecord, upto: Step) -> None:
    outcome = view.outcome_of(target)
    headline = Text.assemble((f"{outcome.value.upper()}", f"bold {COLOURS[outcome]}"), f"  {name} {target.precision}: ")
    console.print(headline + Text(view.say_verdict(target)))
    for cell in view.make_cells(target):
        colour = {outcome.value: colour for outcome, colour in COLOURS.items()}.get(cell.word, "dim")
        line = Text.assemble(f"  {cell.mark} ", f"{cell.step.value:<11}", (f"{cell.word:<13}", colour))
        console.print(line + Text(f"{cell.figure}" if cell.reason == cell.figure else f"{cell.figure} - {cell.reason}"))
        if cell.step is upto:
            break
    console.print("  " + _say_artifacts(target))
    if target.throughput is not None and upto is Step.THROUGHPUT:
        console.print("  " + say_frame_rate(target.throughput))
    if target.limit is not None and upto is Step.THROUGHPUT:
        console.print("  limit: " + floor.say_limit(target.limit))


def _say_artifacts(target: TargetRecord) -> str:
    """What drives the port, or what there is to try on a host that has the device."""
    chosen = [f"{a.component} on {a.backend}" for a in target.artifacts if a.chosen]
    if chosen:
        return f"chosen: {', '.join(chosen)}"
    made = [a for a in target.artifacts if a.path is not None and a.error is None]
    if not made or target.parity is not None:
        return "chosen: no artifact"
    counts = Counter(a.backend for a in made)
    kernels = sum(kernel.error is None for kernel in target.kernels)
    listed = [f"{n} on {backend}" for backend, n in counts.items()] + [f"{kernels} kernels"] * bool(kernels)
    return f"compiled and not run here: {', '.join(listed)}"


def say_frame_rate(evidence: ThroughputEvidence) -> str:
    """The frame rate beside PyTorch's in the same interleaved run: "131 fps: 4.1x eager, 1.6x torch.compile"."""
    port = next((driver for driver in evidence.drivers if driver.name == "port"), None)
    rate = f"{numbers.number(evidence.frames_per_second)} fps"
    if port is None:
        return f"{rate}; not compared with PyTorch"
    rivals = {driver.name for driver in evidence.drivers}
    eager = f"{numbers.times(port.ratio_to_eager)} eager" if "eager" in rivals else "eager was not run"
    compiled = view.against_compile(port, evidence.drivers)
    compared = f"{compiled} torch.compile" if view.TORCH_COMPILE in rivals else "torch.compile was not run"
    return f"{rate}: {eager}, {compared}, median of {port.rounds} interleaved rounds"


def judge_exit(record: PortRecord, targets: tuple[str, ...], upto: Step, require: Step | None) -> int:
    """The exit code: of the verdicts, or only of their checks up to a step where a command measures no further."""
    outcomes = {_outcome(record.targets[name], upto) for name in targets}
    code = exit_code(outcomes)
    if code == 0 and require is not None and not all(_reached(record.targets[name], require) for name in targets):
        return exit_code({Outcome.NOT_MEASURED})
    return code


def _outcome(target: TargetRecord, upto: Step) -> Outcome:
    if target.verdict is None or upto is Step.THROUGHPUT:
        return view.outcome_of(target)
    steps = list(Step)
    below = [check for check in target.verdict.checks if steps.index(check.step) <= steps.index(upto)]
    if any(check.outcome is Outcome.FAILED for check in below):
        return Outcome.FAILED
    measured = any(check.step is upto for check in below)
    passed = measured and all(check.outcome is Outcome.PASSED for check in below)
    return Outcome.PASSED if passed else Outcome.NOT_MEASURED


def _reached(target: TargetRecord, step: Step) -> bool:
    steps = list(Step)
    reached = target.verdict.reached if target.verdict else None
    return reached is not None and steps.index(reached) >= steps.index(step)


def print_components(record: PortRecord) -> None:
    """What was exported, and how each component's state contract was proved."""
    rows = [
        (
            component.name,
            str(component.nodes),
            f"{component.parameters:,}",
            ", ".join(component.contract.exercised),
            numbers.number(component.contract.max_relative_error),
        )
        for component in record.components
    ]
    columns = ("component", "nodes", "parameters", "contract exercised", "worst relative error")
    make_console().print(make_table(*columns, rows=rows))


def make_table(*columns: str, rows: Iterable[Sequence[str]]) -> Table:
    """A plain table that reads the same in a file; cells are text, not markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
