"""What came of driving two bundles in turn on one host: the ratio of their frame times, and how sure it is."""

import math
from typing import Self

from pydantic import model_validator

from porting.record.checks import Outcome
from porting.record.made import Host, Sha256
from porting.tensor_spec import Model, Precision


class ComparedBundle(Model):
    """One side of a comparison, as it was on disk."""

    path: str
    checkpoint: str
    checkpoint_digest: Sha256
    precision: Precision
    worldport: str
    created: str
    artifacts: dict[str, str]
    """Component -> the backend that was driven."""
    files: dict[str, Sha256]
    """The artifacts' files, with their digests."""


class Interval(Model):
    """Where a ratio lies, candidate over baseline: above 1 is slower."""

    low: float
    high: float
    level: float
    """How often an interval made so holds the true ratio."""


class SlowShare(Model):
    """Share of the candidate's frames that are slow by themselves, beyond the baseline's."""

    slowdown: float
    """Factor by which they are slower than their turn's middle frame."""
    share: float
    low: float
    """Failing needs this bound, at the level of a false alarm, beyond `limit`."""
    high: float
    """Passing needs this bound below `matters`."""
    limit: float
    matters: float


class SlowFrame(Model):
    """The frame number of a rollout that recurred slowest, against the same frame of the baseline."""

    frame: int
    ratio: float
    low: float
    """Bound that holds for all frames of the rollout at once."""


class ComponentRatio(Model):
    """One component's time a frame, candidate over baseline; it explains, and decides nothing."""

    component: str
    ratio: float
    low: float
    high: float


class Comparison(Model):
    """Two bundles on one host. None is a figure that was not measured."""

    schema_version: int = 1
    baseline: ComparedBundle
    candidate: ComparedBundle
    target: str
    host: Host
    limit: float
    """Slowdown that is let pass, as a share: 0.01 is one per cent."""
    seconds_allowed: float
    seconds_used: float
    seed: int
    rebuilds: int
    """Builds of each side that were driven: 1 is the one in the bundle."""
    turns: int
    """Rollouts of each driver, every one with artifacts that were opened anew."""
    frames: int
    """Timed frames of each driver."""
    baseline_ms: float | None = None
    """Median frame."""
    candidate_ms: float | None = None
    ratio: float | None = None
    """Of the quick frames (a fifth are quicker) or of the middle ones: of those that decided, or are known least."""
    interval: Interval | None = None
    """At 95 %, for reading; from a bootstrap over turns."""
    low: float | None = None
    """Failing needs this lower bound of the ratio, at the level of a false alarm, beyond limit and noise seen."""
    high: float | None = None
    """Passing needs this upper bound of the ratio inside the limit."""
    noise_floor: float | None = None
    """Largest slowdown that the baseline against itself could have had in the same turns, as a share: passing needs it
    inside the limit."""
    noise_seen: float | None = None
    """The same as far as it was seen, within one standard error."""
    twin_ratio: float | None = None
    """The baseline against itself."""
    smallest_slowdown: float | None = None
    """Slowdown that would have been found but for `false_pass_rate`, as a share."""
    false_alarm_rate: float
    """At most this often is a candidate that is no slower called slower."""
    false_pass_rate: float = 0.02
    """At most this often does one pass that is slower than the limit."""
    looks: int
    """Times that the figures were looked at, of those planned."""
    slowed: SlowShare | None = None
    """Slower by a fifth, estimated from how late all frames are."""
    late: SlowShare | None = None
    """Slower by more than a half, counted."""
    slow_frame: SlowFrame | None = None
    components: tuple[ComponentRatio, ...] = ()
    priority: str = ""
    """What the system granted, so that other processes wait while a frame is timed; empty was not asked for."""
    disturbances: tuple[str, ...] = ()
    outcome: Outcome
    reason: str
    """A sentence with the figures, for a reader who sees nothing else."""

    @model_validator(mode="after")
    def _nothing_passes_by_absence(self) -> Self:
        figures = (self.ratio, self.low, self.high, self.noise_floor)
        measured = self.turns > 0 and self.frames > 0 and all(f is not None and math.isfinite(f) for f in figures)
        if self.outcome is not Outcome.NOT_MEASURED and not measured:
            raise ValueError("a comparison cannot pass or fail without a ratio, its bounds and a noise floor")
        if self.outcome is Outcome.PASSED and not (self.slowed and self.late and self.slow_frame):
            raise ValueError("a comparison cannot pass without a look at slow frames")
        return self
