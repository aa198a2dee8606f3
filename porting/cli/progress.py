"""Shows how far a port is: a bar on a terminal, one plain line a stage elsewhere. Always on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from porting.pipeline.progress import Observer


class Lines:
    """One line for each stage as it ends."""

    def planned(self, names: tuple[str, ...]) -> None:
        """Nothing to show."""

    def started(self, name: str) -> None:
        """Nothing to show: the line comes when the stage ends."""

    def reused(self, name: str) -> None:
        self._write(f"{name}: done before")

    def finished(self, name: str, seconds: float) -> None:
        self._write(f"{name}: {seconds:.1f} s")

    def failed(self, name: str, reason: str) -> None:
        self._write(f"{name}: FAILED: {first_line(reason)}")

    def note(self, text: str) -> None:
        self._write(text)

    def _write(self, line: str) -> None:
        sys.stderr.write(f"worldport: {line}\n")
        sys.stderr.flush()


class Bar:
    """A bar over all stages, with the names of those that run now."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=0)
        self._total = 0
        self._running: list[str] = []

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def planned(self, names: tuple[str, ...]) -> None:
        self._total += len(names)
        self._progress.update(self._task, total=self._total)

    def started(self, name: str) -> None:
        self._running.append(name)
        self._describe()

    def reused(self, name: str) -> None:
        self._advance(name)

    def finished(self, name: str, seconds: float) -> None:
        self._advance(name)

    def failed(self, name: str, reason: str) -> None:
        self.note(f"{name}: FAILED: {first_line(reason)}")
        self._advance(name)

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _advance(self, name: str) -> None:
        self._running = [running for running in self._running if running != name]
        self._progress.advance(self._task)
        self._describe()

    def _describe(self) -> None:
        self._progress.update(self._task, description=", ".join(self._running).replace("[", r"\["))


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")


@contextmanager
def watch() -> Iterator[Observer]:
    """The observer that fits where stderr goes."""
    if sys.stderr.isatty():
        with Bar(Console(stderr=True)) as bar:
            yield bar
    else:
        yield Lines()
