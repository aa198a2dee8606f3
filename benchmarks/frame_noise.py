"""Frame times as a shared machine tells them, drawn by chance: for thousands of comparisons that nobody waits for.

What real frame times were seen to do is all here: artifacts opened twice differ by half a per cent, the machine drifts
and steps between paces, a frame resembles its neighbours, the first of a block finds cold caches, some frames of the
rollout are dearer than others, tails are heavy, and bursts of another process hit frames in a row.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import signal

Times = npt.NDArray[np.float64]

DRIVERS = 3
BLOCK_FRAMES = 4


@dataclass(frozen=True)
class Noise:
    """How unquiet a machine is; every figure but the last four is a standard deviation of log time."""

    frame: float = 0.03
    opening: float = 0.006
    """Of one opened artifact against another of the same file."""
    drift: float = 0.02
    """From turn to turn, for all drivers."""
    neighbour: float = 0.6
    """Correlation of a frame's noise with that of the frame before it, whosever it was."""
    degrees: float = 4.0
    """Of Student's t: low is heavy tails."""
    burst_share: float = 0.01
    """Blocks at which another process begins to take the cores."""
    burst_blocks: float = 4.0
    """Mean length of a burst."""


QUIET = Noise()
LOADED = replace(QUIET, frame=0.05, opening=0.01, drift=0.1, burst_share=0.05)
"""Another process on every core, and priority over it."""


@dataclass(frozen=True)
class Slowdown:
    """What the candidate does to its frames."""

    all_frames: float = 0.0
    """Share by which each is slower."""
    some_frames: float = 0.0
    """Share by which the ones below are slower."""
    chance: float = 0.0
    """Of a frame to be one of them."""
    recurring: int | None = None
    """Number of the frame of every rollout that is one of them."""


def draw_turns(
    random: np.random.Generator,
    noise: Noise,
    slowdown: Slowdown,
    turns: int,
    frames: int = 64,
    rollouts: int = 1,
) -> Times:
    """(turns, 3, rollouts * frames) seconds: baseline, twin, candidate."""
    blocks = rollouts * frames // BLOCK_FRAMES
    shape = (turns, blocks, DRIVERS, BLOCK_FRAMES)
    # In order of time: block after block, the drivers of each in an order that chance decides.
    raw = random.standard_t(noise.degrees, shape).reshape(turns, -1)
    smooth = signal.lfilter([np.sqrt(1 - noise.neighbour**2)], [1, -noise.neighbour], raw, axis=1)
    late = _draw_bursts(random, noise, turns, blocks * DRIVERS)
    log_times = (noise.frame * smooth).reshape(shape) + late.reshape(turns, blocks, DRIVERS, 1) * (
        random.random(shape) < 0.5
    )
    log_times[..., 0] += 0.1
    order = random.permuted(np.tile(np.arange(DRIVERS), (turns, blocks, 1)), axis=2)
    by_driver = np.take_along_axis(log_times, np.argsort(order, axis=2)[..., None], axis=2)
    found = by_driver.transpose(0, 2, 1, 3).reshape(turns, DRIVERS, rollouts * frames)
    found += noise.opening * random.standard_normal((turns, DRIVERS, 1))
    found += noise.drift * random.standard_normal((turns, 1, 1))
    found += np.tile(0.05 * np.random.default_rng(7).standard_normal(frames), rollouts)
    times: Times = 0.0025 * np.exp(found)
    return slow_down_candidate(random, times, slowdown, frames)


def _draw_bursts(random: np.random.Generator, noise: Noise, turns: int, steps: int) -> Times:
    """(turns, steps) log factors: 0 outside bursts, and inside one as much as a scheduler's slice of some ms adds."""
    stay = 1 - 1 / noise.burst_blocks
    inside = np.zeros(turns, bool)
    late = np.zeros((turns, steps))
    for step in range(steps):
        inside = np.where(inside, random.random(turns) < stay, random.random(turns) < noise.burst_share)
        late[:, step] = inside * np.log1p(random.gamma(2.0, 0.6, turns))
    return late


def slow_down_candidate(random: np.random.Generator, times: Times, slowdown: Slowdown, frames: int) -> Times:
    """(turns, 3, rollouts * frames) seconds with the candidate's slowed, in place."""
    turns, _, frames_of_turn = times.shape
    factors = np.full((turns, frames_of_turn), 1 + slowdown.all_frames)
    some = random.random(factors.shape) < slowdown.chance
    if slowdown.recurring is not None:
        some |= np.arange(frames_of_turn) % frames == slowdown.recurring
    times[:, -1] *= np.where(some, factors * (1 + slowdown.some_frames), factors)
    return times
