"""The verdict matrix: what one look at a port must tell, a row a target and a cell a step of the evidence ladder.

A cell that passed shows the figures that an engineer asks for first; one that did not shows the check that decided it.
It judges nothing: outcomes and the order of checks are `view`'s.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from porting.record import EMULATED, Outcome, PortRecord, Step, TargetRecord
from porting.report import view
from porting.report.numbers import count, number, plural, times
from porting.report.targets import ran_nowhere

NOT_RUN = "not run"
PARTLY = "◐"
_SECTIONS = {
    Step.EXPORTED: "checks",
    Step.COMPILED: "artifacts",
    Step.ATTESTED: "artifacts",
    Step.PARITY: "parity",
    Step.THROUGHPUT: "throughput",
}


@dataclass(frozen=True)
class Word:
    """What a target came to, told by a mark and words as well as by `css`, a class name."""

    mark: str
    text: str
    css: str


@dataclass(frozen=True)
class MatrixCell:
    """One step of one target."""

    cell: view.Cell
    lines: tuple[str, ...]
    """Figures, the most asked for first."""
    section: str
    """The target's section that holds the evidence."""

    @property
    def brief(self) -> bool:
        """True where a narrow screen may leave the figures out: nothing was run, and nothing went wrong."""
        quiet = self.cell.word in {Outcome.PASSED.value, view.NOT_RUN_HERE}
        return quiet and (self.cell.step in {Step.EXPORTED, Step.COMPILED, Step.ATTESTED} or not self.ran)

    @property
    def ran(self) -> bool:
        """False for a step that this host cannot reach."""
        return self.cell.word != view.NOT_RUN_HERE


@dataclass(frozen=True)
class Group:
    """Targets that came to the same, in one sentence."""

    word: Word
    sentence: str
    names: tuple[str, ...]


def say_word(target: TargetRecord) -> Word:
    """The outcome; a pass of a target that ran on no device says so, as it proves less."""
    outcome = view.outcome_of(target)
    if outcome is Outcome.PASSED and ran_nowhere(target):
        return Word(PARTLY, f"passed, {NOT_RUN}", "partly")
    return Word(view.MARKS[outcome], outcome.value, outcome.value.replace(" ", "-"))


def group_targets(record: PortRecord) -> list[Group]:
    """What the port came to: one sentence for the targets that failed, were not measured, passed, passed unrun."""
    names: dict[Word, list[str]] = {}
    for name, target in record.targets.items():
        names.setdefault(say_word(target), []).append(name)
    order = ("failed", "not-measured", "passed", "partly")
    words = sorted(names, key=lambda word: order.index(word.css))
    return [Group(word, _say_group(word, names[word], record.targets), tuple(names[word])) for word in words]


def _say_group(word: Word, names: list[str], targets: Mapping[str, TargetRecord]) -> str:
    """The rest of a sentence that begins with how many targets."""
    one = len(names) == 1
    if word.css == "failed":
        return "failed"
    if word.css == "not-measured":
        return "was not measured" if one else "were not measured"
    steps = Counter(verdict.reached for name in names if (verdict := targets[name].verdict) and verdict.reached)
    reached = " or ".join(step.value for step in sorted(steps, key=list(Step).index, reverse=True))
    if word.css == "partly":
        return f"passed up to {reached} and ran on no device: frames and speed are not measured"
    return f"passed up to {reached}"


def make_row(record: PortRecord, target: TargetRecord) -> tuple[MatrixCell, ...]:
    """One cell a step of the ladder."""
    nowhere = ran_nowhere(target)
    cells = []
    for cell in view.make_cells(target):
        section = _SECTIONS[cell.step]
        if nowhere and section in {"parity", "throughput"}:
            section = "run"
        cells.append(MatrixCell(cell, _list_figures(record, target, cell) or (cell.figure,), section))
    return tuple(cells)


def _list_figures(record: PortRecord, target: TargetRecord, cell: view.Cell) -> tuple[str, ...]:
    """Figures of a step that passed; none where the deciding check says more."""
    if cell.word != Outcome.PASSED.value:
        return ()
    if cell.step is Step.COMPILED:
        return _list_compiled(record, target)
    if cell.step is Step.ATTESTED:
        told = _list_emulated(target)
        # Said once, where the executed kernels are also what comes closest to its limit.
        return told if told and cell.figure.startswith(EMULATED) else (cell.figure, *told)
    if cell.step is Step.PARITY:
        return _list_parity(target)
    if cell.step is Step.THROUGHPUT:
        return _list_throughput(target)
    return ()


def _list_compiled(record: PortRecord, target: TargetRecord) -> tuple[str, ...]:
    chosen = Counter(artifact.backend for artifact in target.artifacts if artifact.chosen)
    made = Counter(artifact.backend for artifact in target.artifacts if artifact.path and not artifact.error)
    backends = chosen or made
    lines = [f"{backend}: {plural(amount, 'component')}" for backend, amount in backends.most_common()]
    compiled = [kernel for kernel in target.kernels if kernel.error is None]
    if compiled:
        lines.append(f"{len(compiled)} of {plural(len(target.kernels), 'kernel')}")
    return tuple(lines)


def _list_emulated(target: TargetRecord) -> tuple[str, ...]:
    """What an emulator made of the kernels, beside what was read from the binaries."""
    ratios = [record.ratio for record in target.emulated if record.ratio is not None]
    if not ratios:
        return ()
    return (f"{plural(len(ratios), 'kernel')} emulated: error {times(max(ratios))} the reference's own",)


def _list_parity(target: TargetRecord) -> tuple[str, ...]:
    if target.parity is None:
        return ()
    lines = []
    worst = view.find_worst(view.split_outputs(target)[0])
    if worst is not None and worst.measured:
        limit = target.profile.parity.error_budget_ratio
        lines.append(f"worst error {times(worst.ratio)} PyTorch's own (limit {number(limit)})")
    free = target.parity.free_running
    if free is not None and free.psnr_db:
        lines.append(f"{plural(len(free.psnr_db), 'frame')}, PSNR ≥ {number(view.find_lowest(free.psnr_db), 'dB')}")
    return tuple(lines)


def _list_throughput(target: TargetRecord) -> tuple[str, ...]:
    timed = target.throughput
    if timed is None:
        return ()
    return (
        f"{number(timed.frames_per_second)} frames/s of {number(1000 / timed.deadline_ms)}",
        f"p99 {number(timed.frame_ms.p99, 'ms')} of {number(timed.deadline_ms, 'ms')}",
        f"{count(timed.closed_loop.missed + timed.paced.missed)} of "
        f"{count(timed.closed_loop.frames + timed.paced.frames)} missed",
    )
