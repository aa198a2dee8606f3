"""What a port tells about its progress. Stages report here and print nothing; who listens decides what is shown."""

from typing import Protocol


class Observer(Protocol):
    """Hears of every stage, in order; called from one thread."""

    def planned(self, names: tuple[str, ...]) -> None:
        """Stages that may follow; each later ends in exactly one of `reused`, `finished` and `failed`."""

    def started(self, name: str) -> None:
        """A stage began; several may run at once."""

    def reused(self, name: str) -> None:
        """An earlier run's result was verified and taken."""

    def finished(self, name: str, seconds: float) -> None:
        """A stage ran to its end and its result is on disk."""

    def failed(self, name: str, reason: str) -> None:
        """A stage broke; the port goes on with what is left and cannot pass without it."""

    def note(self, text: str) -> None:
        """Something a reader should know that is no stage."""


class Silent:
    """Shows nothing."""

    def planned(self, names: tuple[str, ...]) -> None:
        """Nothing to show."""

    def started(self, name: str) -> None:
        """Nothing to show."""

    def reused(self, name: str) -> None:
        """Nothing to show."""

    def finished(self, name: str, seconds: float) -> None:
        """Nothing to show."""

    def failed(self, name: str, reason: str) -> None:
        """Nothing to show."""

    def note(self, text: str) -> None:
        """Nothing to show."""
