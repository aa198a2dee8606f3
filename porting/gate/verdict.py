"""What a gate came to: named checks with figures, and the limits that a caller sets beside a baseline.

It knows neither files nor formats.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from porting.record import Outcome, Step, exit_code
from porting.tensor_spec import Model

BUNDLE = "bundle"
"""Stands where a target's name would, for what concerns all of a bundle."""


class GateCheck(Model):
    """One thing that was held against a baseline or a limit."""

    target: str
    """`BUNDLE` for what concerns no single target."""
    name: str
    """One of a fixed set, so that a CI system recognises a check from run to run."""
    subject: str = ""
    """A component or a kernel, where the check is of one."""
    outcome: Outcome
    reason: str
    """A sentence with the figures, for a reader who sees nothing else."""
    value: float | None = None
    limit: float | None = None
    baseline: float | None = None
    unit: str = ""
    unseen: str = ""
    """What this check could not have seen: the smallest effect that it finds. Empty where it would see any."""

    @property
    def title(self) -> str:
        """Target, name and subject: "cpu: error budget ratio of denoiser"."""
        return f"{self.target}: {self.name}" + (f" of {self.subject}" if self.subject else "")


class Limits(Model):
    """What is asked beside the baseline."""

    require: Step | None = None
    """Every target must have reached this step."""
    min_fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_error_budget_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    targets: tuple[str, ...] = ()
    """Only these are judged, and the others told as left out; empty for all of bundle and baseline."""
    ratios_only: bool = False
    """Figures that hold on the baseline's own machine only are left out, by the caller's will, and told so."""
    widest_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A frame rate that may fall by more than this share judges nothing: the check is not measured."""


class GateVerdict(Model):
    """One bundle held against one baseline."""

    outcome: Outcome
    model: str
    """Name of what was ported."""
    against: str
    """The baseline, in words; "no baseline" where only limits were set."""
    checks: tuple[GateCheck, ...]
    left_out: tuple[str, ...] = ()
    """What the caller had left out, in sentences."""

    @model_validator(mode="after")
    def _nothing_passes_by_absence(self) -> Self:
        bad = {check.outcome for check in self.checks} - {Outcome.PASSED}
        if self.outcome is Outcome.PASSED and (not self.checks or bad):
            raise ValueError("a gate cannot pass without checks or with one that did not pass")
        return self

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 3 not measured."""
        return exit_code({self.outcome})

    @property
    def troubles(self) -> tuple[GateCheck, ...]:
        """What did not pass, failed checks first."""
        failed = [check for check in self.checks if check.outcome is Outcome.FAILED]
        return (*failed, *(check for check in self.checks if check.outcome is Outcome.NOT_MEASURED))

    @property
    def unseen(self) -> tuple[str, ...]:
        """What could not have been seen, one sentence a check."""
        return tuple(f"{check.title}: {check.unseen}" for check in self.checks if check.unseen)


def conclude(checks: tuple[GateCheck, ...]) -> Outcome:
    """Failed when one failed; passed when there are checks and all passed; otherwise not measured."""
    outcomes = {check.outcome for check in checks}
    if Outcome.FAILED in outcomes:
        return Outcome.FAILED
    return Outcome.PASSED if outcomes == {Outcome.PASSED} else Outcome.NOT_MEASURED
