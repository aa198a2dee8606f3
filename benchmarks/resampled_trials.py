"""Thousands of comparisons out of some minutes of real frame times: how often `worldport compare` is wrong.

    python -m benchmarks.resampled_trials BUNDLE --minutes 10 --trials 1000 --markdown docs/compare.md

First it records real turns of one bundle on this host, all three sides the same; a file that is there is used as it is.
Each trial then draws as many turns as fit into the time that a comparison is allowed, with replacement, puts their
three sides into an order that chance decides, and slows the last as the case says. What turns have in common with
their neighbours is lost; what frames of one turn have in common, bursts, tails and dear frames, stays as it was.
"""

import argparse
import random
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from benchmarks.compare_trials import CASES, keep_cores_busy, put_table, render_table
from benchmarks.frame_noise import Times, slow_down_candidate
from porting.comparison.decision import LEAST_TURNS, LOOKS, look_at
from porting.comparison.measure import Settings
from porting.comparison.priority import prefer_this_process
from porting.comparison.sides import open_sides
from porting.comparison.turns import ROLLOUTS, read_feed, take_turn
from porting.host import available_cores, spin_briefly
from porting.throughput.clock import Instruments

BEGIN, END = "<!-- resampled begin -->", "<!-- resampled end -->"
DRIVERS = 3


def record_turns(bundle: Path, seconds: float, seed: int) -> tuple[Times, float]:
    """(turns, 3, frames) seconds of turns whose sides are all the same, and what a turn takes in all."""
    side, _ = open_sides(bundle, bundle, None)
    load = side.load(available_cores())
    program, clock, chance = side.record.program, Instruments().clock, random.Random(seed)
    feed = read_feed(program, side.read_session())
    turns: list[Times] = []
    with prefer_this_process():
        take_turn(program, [load] * DRIVERS, feed, chance, clock)
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            turns.append(take_turn(program, [load] * DRIVERS, feed, chance, clock).seconds)
    return np.stack(turns), (time.perf_counter() - start) / len(turns)


def resample(recorded: Times, turn_seconds: float, case: str, seed: int) -> dict[str, object]:
    """One comparison of turns that are drawn from the recorded ones."""
    slowdown, seconds = CASES[case]
    chance = np.random.default_rng(seed)
    turns = int(seconds / turn_seconds)
    drawn = recorded[chance.integers(0, len(recorded), turns)]
    order = chance.permuted(np.tile(np.arange(DRIVERS), (turns, 1)), axis=1)
    times = np.take_along_axis(drawn, order[..., None], axis=1)
    times = slow_down_candidate(chance, times, slowdown, times.shape[2] // ROLLOUTS)
    outcome, taken = "not measured", turns
    for share, spent in LOOKS.items():
        taken = int(turns * share)
        if taken >= LEAST_TURNS:
            look = look_at(times[:taken], Settings().limit, spent, ROLLOUTS)
            outcome = look.outcome.value
            if look.decided:
                break
    return {"outcome": outcome, "seconds": taken * turn_seconds}


def main() -> None:
    """Record if there is nothing yet, resample, print the table and put it into the page if asked."""
    spin_briefly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="ported for this host's cpu")
    parser.add_argument("--turns", type=Path, default=Path("build/turns.npz"), help="file of recorded turns")
    parser.add_argument("--minutes", type=float, default=10.0, help="of recording, where the file is not there")
    parser.add_argument("--competing", action="store_true", help="keep every core busy while recording")
    parser.add_argument("--trials", type=int, default=1000, help="of each case")
    parser.add_argument("--case", action="append", choices=list(CASES), help="[default: all]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, help="page to put the table into")
    options = parser.parse_args()
    if not options.turns.is_file():
        options.turns.parent.mkdir(parents=True, exist_ok=True)
        with keep_cores_busy() if options.competing else nullcontext():
            turns, turn_seconds = record_turns(options.bundle, 60 * options.minutes, options.seed)
        np.savez_compressed(options.turns, turns=turns, turn_seconds=turn_seconds)
    with np.load(options.turns) as kept:
        recorded, turn_seconds = kept["turns"], float(kept["turn_seconds"])
    busy = "every core taken by another process" if options.competing else "nothing else"
    machine = f"{busy}; {len(recorded)} recorded turns"
    results = [
        {"case": case, "machine": machine, **resample(recorded, turn_seconds, case, options.seed + number)}
        for case in options.case or CASES
        for number in range(options.trials)
    ]
    table = render_table(results, " ".join(["python -m benchmarks.resampled_trials", *sys.argv[1:]]))
    if options.markdown is not None:
        put_table(options.markdown, table, BEGIN, END)
    print(table)


if __name__ == "__main__":
    main()
