"""A port's figures over commits: what a history holds of each record, and what shows in it.

A figure is a finite number, or it is absent with the reason; there is no third way, so that nothing unmeasured is ever
drawn at 0. Knows neither where histories are kept nor how a change is found.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, FiniteFloat, model_validator

from porting.record.checks import Outcome, Step
from porting.record.made import Sha256
from porting.tensor_spec import Model

Better = Literal["higher", "lower"]
Reason = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Metric:
    """One figure of a port that is followed over commits."""

    name: str
    title: str
    unit: str
    better: Better
    timed: bool
    """Whether other load on the machine changes it."""
    least: float
    """The smallest change worth telling: a share of the level, or of the unit where the figure is `additive`."""
    additive: bool = False
    """Changes are differences (dB, shares that may be 0), not ratios."""


METRICS = (
    Metric("fps", "Frames per second", "fps", "higher", timed=True, least=0.01),
    Metric("p50", "Frame time, median", "ms", "lower", timed=True, least=0.01),
    Metric("p99", "Frame time, 99th percentile", "ms", "lower", timed=True, least=0.01),
    Metric("missed", "Share of paced frames that missed their deadline", "", "lower", True, 0.005, additive=True),
    Metric("eager_ratio", "Speed over PyTorch eager, interleaved", "x", "higher", timed=True, least=0.01),
    Metric("achieved", "Share of the hardware's limit that was reached", "", "higher", timed=True, least=0.01),
    Metric("joules_per_frame", "Energy of a frame", "J", "lower", timed=True, least=0.01),
    Metric("memory", "Memory, high water", "MiB", "lower", timed=False, least=0.01),
    Metric("budget_ratio", "Worst error budget ratio", "", "lower", timed=False, least=0.01),
    Metric("psnr_end", "PSNR of the last free-running frame", "dB", "higher", False, 0.1, additive=True),
)
METRIC_OF = {metric.name: metric for metric in METRICS}


class HistoryPoint(Model):
    """One target of one record, as a history holds it."""

    commit: str = Field(min_length=1)
    branch: str = ""
    """Empty where it is not known."""
    when: AwareDatetime
    """Of the commit where git told it, else of the record."""
    record: Sha256
    """Digest of everything that the record says, its rendered reports left out."""
    model: str
    checkpoint: Sha256
    program: Sha256
    target: str
    precision: str
    fingerprint: Sha256
    """Of the machine and versions that the figures were measured with; those of two fingerprints do not compare."""
    machine: str
    """The same for people."""
    outcome: Outcome
    reached: Step | None
    disturbances: tuple[str, ...] = ()
    """What was seen of other load while frames were timed; such times are shown, and judge nothing."""
    values: dict[str, FiniteFloat] = {}
    """By the name of the metric."""
    absent: dict[str, Reason] = {}
    """Why the others are not there."""

    @model_validator(mode="after")
    def _every_metric_once(self) -> Self:
        if both := sorted(self.values.keys() & self.absent.keys()):
            raise ValueError(f"{', '.join(both)}: cannot be measured and absent at once")
        return self

    def counts_for(self, metric: Metric) -> bool:
        """Whether its figure may take part in a judgement: it is there, and no other load changed it."""
        return metric.name in self.values and not (metric.timed and self.disturbances)


class ChangePoint(Model):
    """A level that was left for another one, for good as far as the records reach."""

    metric: str
    fingerprint: Sha256
    after: int
    """Index of the first point of the new level among the trend's points."""
    before: int
    """Index of the last point of the old level: the cause lies after its commit, and no later than that of `after`."""
    level_before: FiniteFloat
    """Median of the old level."""
    level_after: FiniteFloat
    count_before: int = Field(ge=1)
    count_after: int = Field(ge=1)
    worse: bool
    also: tuple[str, ...] = ()
    """What else is another at that point: "checkpoint", "program"."""


class MetricTrend(Model):
    """One figure over the points of a trend."""

    metric: str
    changes: tuple[ChangePoint, ...] = ()
    unjudged: dict[str, Reason] = {}
    """Fingerprint -> why its points cannot tell a change from noise."""


class TargetTrend(Model):
    """One target of one model at one precision over commits, the oldest first."""

    model: str
    target: str
    precision: str
    points: tuple[HistoryPoint, ...] = Field(min_length=1)
    metrics: tuple[MetricTrend, ...] = ()
    """Those of which there is at least one figure."""

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Each once, in the order in which they first appear."""
        return tuple(dict.fromkeys(point.fingerprint for point in self.points))

    @property
    def breaks(self) -> tuple[int, ...]:
        """Indices of points that came from another fingerprint than every point before them."""
        first = {name: index for index, name in reversed([(i, p.fingerprint) for i, p in enumerate(self.points)])}
        return tuple(sorted(index for index in first.values() if index > 0))
