"""What a check can come to, and the evidence ladder that checks climb."""

from enum import StrEnum

from porting.tensor_spec import Model


class Outcome(StrEnum):
    """What one check came to; only PASSED lets a port through."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MEASURED = "not measured"


class Step(StrEnum):
    """The evidence ladder, lowest first."""

    EXPORTED = "exported"
    COMPILED = "compiled"
    ATTESTED = "attested"
    PARITY = "parity"
    THROUGHPUT = "throughput"


LADDER = tuple(Step)


class Check(Model):
    """One thing that was held against a limit; `subject` says of what: component, frame, artifact."""

    step: Step
    name: str
    subject: str
    outcome: Outcome
    reason: str
    """A sentence with the figures, for a reader who sees nothing else."""
    value: float | None = None
    limit: float | None = None
    unit: str = ""


def exit_code(outcomes: set[Outcome]) -> int:
    """0 only when there is an outcome and every one passed; 1 when one failed; 3 when one was not measured."""
    if Outcome.FAILED in outcomes:
        return 1
    return 0 if outcomes == {Outcome.PASSED} else 3
