"""Decides from the frame times of some turns: slower, not slower, or not to be told yet.

Three drivers take turns: the baseline, its twin (the baseline opened once more), and the candidate. The candidate is
held against both; the twin against the baseline says what noise alone can do in the very same turns.

Five things are tested: the quick frames, the middle frame, the share of frames slowed by a fifth, the share of very
late ones, and each frame of the rollout by itself. The rate of false alarms, `FALSE_ALARM`, is shared out among them,
and each share among the looks that are planned (`LOOKS`): by Bonferroni's inequality all looks together raise an alarm
no oftener than planned, whatever they have in common. So may a comparison stop at the first look that decides. Passing
wrongly, `FALSE_PASS`, is shared out in the same way.

Source: Lan and DeMets, Biometrika 70 (1983), discrete alpha spending, here in fixed parts and without their integral.
"""

from dataclasses import dataclass

import numpy as np

from porting.comparison import tail
from porting.comparison.intervals import Middle, Values, find_middle
from porting.comparison.slowed import ONE_IN, SLOWED, find_slowed
from porting.comparison.speeds import find_middles, find_quick, level_frames
from porting.record import Outcome

BASELINE, TWIN, CANDIDATE = range(3)
"""Drivers, as every array of frame times has them."""
LOOKS = {0.24: 0.1, 0.5: 0.2, 1.0: 0.7}
"""Shares of the time allowed after which the figures are looked at, fixed before the first frame, and the share of each
level that a look may spend: most is kept for the last, which knows most. They sum to 1."""
ONE_LOOK = {1.0: 1.0}
"""Where builds vary."""
FALSE_ALARM = 0.005
FALSE_PASS = 0.01
QUICK_PART, MIDDLE_PART, SLOWED_PART, LATE_PART, FRAME_PART = 0.5, 0.1, 0.25, 0.05, 0.1
"""Parts of `FALSE_ALARM`."""
LEAST_TURNS = 6
"""Fewer are not looked at."""
LEAST_FRAME_TURNS = 12
"""Turns before single frames are looked at: each has as many values as there are turns."""
KINDS = (f"by {SLOWED - 1:.0%}", f"by more than {tail.FAR - 1:.0%}")
"""Of slow frames, in words."""
SEEN_LEVEL = 0.16
"""One-sided level of the noise that a slowdown has to exceed, about one standard error. The bounds of the ratios keep
false alarms rare; a floor at their level would ask for the same certainty twice."""


@dataclass(frozen=True)
class Look:
    """What the figures say after some turns. All ratios are logarithms."""

    ratio: Middle
    quick: Middle
    """The ratio of the quick frames."""
    twin: Middle
    floor: float
    """Largest slowdown that the baseline could have against itself: what passes is held against it."""
    seen_floor: float
    """The same as far as it was seen: what fails is held against it. It guards against what the bounds of the ratios do
    not know of; their own level is what keeps false alarms rare."""
    slowed: Middle
    """Share of frames slowed by a fifth, beyond the baseline's."""
    late: Middle
    """Share of frames late by far, beyond the baseline's."""
    recurring: tail.Recurring | None
    """None before `LEAST_FRAME_TURNS`, and without it nothing passes."""
    turn_ratios: Values
    """Of the middle frames, one a turn or build."""
    quick_ratios: Values
    """Of the quick frames."""
    outcome: Outcome
    causes: tuple[str, ...]
    """What was found, or what is not settled."""

    @property
    def telling(self) -> Middle:
        """The ratio that decided, or that is known least: of the quick frames or of the middle ones."""
        ratios = (self.quick, self.ratio)
        if self.outcome is Outcome.FAILED:
            return max(ratios, key=lambda ratio: float(ratio.low))
        return max(ratios, key=lambda ratio: float(ratio.high))

    @property
    def telling_ratios(self) -> Values:
        """What `telling` was made of, one a turn or build."""
        return self.quick_ratios if self.telling is self.quick else self.turn_ratios

    @property
    def decided(self) -> bool:
        """Whether there is nothing left to measure."""
        return self.outcome is not Outcome.NOT_MEASURED


def look_at(
    times: Values, limit: float, spent: float = LOOKS[1.0], rollouts: int = 1, groups: Values | None = None
) -> Look:
    """Judge the frame times so far.

    Args:
        times: (turns, 3, rollouts * frames) in any unit, all finite and above zero; `LEAST_TURNS` turns at least.
        limit: slowdown that is let pass, as a share.
        spent: share of each level that this look may spend.
        rollouts: in a turn.
        groups: (turns,) the build that each turn drove. Turns of one build are no independent draws of builds, so that
            every build counts as one value.
    """
    alarm, miss = FALSE_ALARM * spent, FALSE_PASS * spent
    log_times = np.log(times)
    levelled = level_frames(log_times)
    quickest, middles = find_quick(levelled), find_middles(levelled)
    turn_ratios = _by_group(_against_both(middles), groups)
    ratio = find_middle(turn_ratios, MIDDLE_PART * alarm, miss)
    quick_ratios = _by_group(_against_both(quickest), groups)
    quick = find_middle(quick_ratios, QUICK_PART * alarm, miss)
    against_itself = _by_group(middles[:, TWIN] - middles[:, BASELINE], groups)
    twin, seen = (find_middle(against_itself, level, level) for level in (miss, SEEN_LEVEL))
    residuals = tail.take_residuals(log_times, middles)
    slowed = find_slowed(log_times, SLOWED_PART * alarm, miss)
    late = tail.find_late(residuals, LATE_PART * alarm, miss)
    recurring = None
    if len(times) >= LEAST_FRAME_TURNS:
        recurring = tail.find_slow_frame(residuals, rollouts, FRAME_PART * alarm, miss)
    floor, seen_floor = (float(max(abs(noise.low), abs(noise.high))) for noise in (twin, seen))
    found = _find_slowness((quick, ratio), seen_floor, (slowed, late), recurring, limit)
    doubts = _find_doubts((quick, ratio), floor, (slowed, late), recurring, limit)
    outcome = Outcome.FAILED if found else Outcome.NOT_MEASURED if doubts else Outcome.PASSED
    return Look(
        ratio,
        quick,
        twin,
        floor,
        seen_floor,
        slowed,
        late,
        recurring,
        turn_ratios,
        quick_ratios,
        outcome,
        found or doubts,
    )


def _against_both(speeds: Values) -> Values:
    """(turns,): the candidate's against the mean of the baseline's and its twin's, (turns, drivers)."""
    ratios: Values = speeds[:, CANDIDATE] - speeds[:, [BASELINE, TWIN]].mean(axis=1)
    return ratios


def _by_group(values: Values, groups: Values | None) -> Values:
    if groups is None:
        return values
    return np.array([values[groups == group].mean() for group in np.unique(groups)])


def _find_slowness(
    ratios: tuple[Middle, Middle],
    floor: float,
    shares: tuple[Middle, Middle],
    recurring: tail.Recurring | None,
    limit: float,
) -> tuple[str, ...]:
    found = []
    surest = max(ratios, key=lambda ratio: float(ratio.low))
    if surest.low > max(np.log1p(limit), floor):
        found.append(f"frames are slower by {_percent(surest.estimate)}, at least {_percent(surest.low)}")
    for kind, share in zip(KINDS, shares, strict=True):
        if share.low > tail.SHARE_LIMIT:
            found.append(
                f"{share.estimate:.2%} of frames, beyond the baseline's, are slower {kind}, at least {share.low:.2%}"
            )
    if recurring is not None and recurring.low > np.log1p(tail.FRAME_LIMIT):
        found.append(
            f"frame {recurring.frame} of the rollout is slower by {_percent(recurring.estimate)} each time,"
            f" at least {_percent(recurring.low)}"
        )
    return tuple(found)


def _find_doubts(
    ratios: tuple[Middle, Middle],
    floor: float,
    shares: tuple[Middle, Middle],
    recurring: tail.Recurring | None,
    limit: float,
) -> tuple[str, ...]:
    doubts = []
    largest = max(float(ratio.high) for ratio in ratios)
    if not largest < np.log1p(limit):
        doubts.append(f"the slowdown may be as large as {_percent(largest)}")
    if not floor < np.log1p(limit):
        doubts.append(f"the baseline differs from itself by up to {_percent(floor)}")
    for kind, share in zip(KINDS, shares, strict=True):
        if not share.high < 1 / ONE_IN:
            doubts.append(
                f"{max(float(share.high), 0.0):.2%} more frames may be slower {kind}; {1 / ONE_IN:.0%} matter"
            )
    if recurring is None:
        doubts.append(f"single frames are looked at after {LEAST_FRAME_TURNS} turns")
    elif not recurring.high < np.log(SLOWED):
        doubts.append(
            f"frame {recurring.least_known} of the rollout may be slower by {_percent(recurring.high)} each time"
        )
    return tuple(doubts)


def _percent(log_ratio: float | Values) -> str:
    return f"{100 * float(np.expm1(log_ratio)):.2f} %"
