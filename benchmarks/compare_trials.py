"""How often `worldport compare` cries wolf, and what it finds: real comparisons of one bundle with itself.

    python -m benchmarks.compare_trials BUNDLE --trials 20 --results trials.jsonl --markdown docs/compare.md

One side is slowed on purpose by a runner around the bundle's own, which works on for as long as a share of the call
that it has just timed. Every trial is a line of the results file as soon as it is over; a file that already has trials
of a case gets only those that are missing, so that a run that was stopped goes on. `--simulate` draws frame times by
chance instead. `--competing` keeps every core busy with another process meanwhile.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.frame_noise import LOADED, QUIET, Noise, Slowdown, draw_turns
from porting.comparison.decision import LEAST_TURNS, LOOKS, look_at
from porting.comparison.measure import Settings, measure
from porting.comparison.priority import prefer_this_process
from porting.comparison.sides import Side, open_sides
from porting.comparison.turns import ROLLOUTS, Load
from porting.host import available_cores, describe_host, spin_briefly
from porting.program import Program
from porting.runners.base import BoundCall, Buffer, Runner
from porting.throughput.clock import Instruments

CASES: dict[str, tuple[Slowdown, float]] = {
    "the same": (Slowdown(), 60.0),
    "5 % slower": (Slowdown(all_frames=0.05), 15.0),
    "2 % slower": (Slowdown(all_frames=0.02), 60.0),
    "one frame in 50 by 20 %, by chance": (Slowdown(some_frames=0.2, chance=0.02), 480.0),
    "one frame of each rollout by 20 %": (Slowdown(some_frames=0.2, recurring=17), 60.0),
}
"""What is done to the candidate, and the seconds allowed."""
TURN_SECONDS = 0.7
"""Of a simulated turn: what a turn of the bundled model takes on two quiet cores."""
BEGIN, END = "<!-- trials begin -->", "<!-- trials end -->"


@dataclass
class FrameCounter:
    """Which frame of the rollout runs: calls of the frame's first component, from the last priming on."""

    program: Program
    slowdown: Slowdown
    chance: random.Random
    frame: int = -1
    calls: int = 0
    share: float = 0.0
    """By which calls of the present frame are slower."""
    per_frame: int = field(init=False)

    def __post_init__(self) -> None:
        self.per_frame = sum(call.component == self.program.frame[0].component for call in self.program.frame)

    def begin(self, component: str) -> None:
        """A call of that component begins."""
        framed = {call.component for call in self.program.frame}
        if component not in framed:
            self.frame, self.calls = -1, 0
        elif component == self.program.frame[0].component:
            if self.calls % self.per_frame == 0:
                self._next_frame()
            self.calls += 1

    def _next_frame(self) -> None:
        self.frame += 1
        slow = self.frame == self.slowdown.recurring or self.chance.random() < self.slowdown.chance
        self.share = (1 + self.slowdown.all_frames) * (1 + slow * self.slowdown.some_frames) - 1


@dataclass
class SlowedRunner:
    """Another runner, whose calls take a share longer."""

    inner: Runner
    component: str
    counter: FrameCounter
    backend: str = "slowed"

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        call = self.inner.bind(inputs, outputs)

        def slowed() -> None:
            self.counter.begin(self.component)
            start = time.perf_counter()
            call()
            now = time.perf_counter()
            until = now + self.counter.share * (now - start)
            while time.perf_counter() < until:
                pass

        return slowed

    def close(self) -> None:
        self.inner.close()


def slow_down(load: Load, program: Program, slowdown: Slowdown, seed: int) -> Load:
    """Opens the same artifacts, slowed; both sides are wrapped, so that the wrapper itself is no slowdown."""
    chance = random.Random(seed)

    def open_all() -> Mapping[str, Runner]:
        counter = FrameCounter(program, slowdown, chance)
        return {name: SlowedRunner(runner, name, counter) for name, runner in load().items()}

    return open_all


@contextmanager
def keep_cores_busy(own_session: bool = False) -> Iterator[None]:
    """One process on each core that does nothing else."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command, start_new_session=own_session) for _ in range(available_cores())]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run_trial(side: Side, case: str, settings: Settings) -> dict[str, object]:
    """One comparison of a bundle with itself."""
    slowdown, _ = CASES[case]
    threads, program = available_cores(), side.record.program
    load = side.load(threads)
    baseline = slow_down(load, program, Slowdown(), settings.seed)
    candidate = slow_down(load, program, slowdown, settings.seed + 1)
    start = time.perf_counter()
    with prefer_this_process() if settings.priority else nullcontext(""):
        found = measure(program, side.read_session(), [baseline], [candidate], settings, Instruments(), threads)
    look = found.look
    return {
        "outcome": "not measured" if look is None or found.fault else look.outcome.value,
        "seconds": round(found.seconds, 2),
        "wall_seconds": round(time.perf_counter() - start, 2),
        "turns": len(found.turns),
        "ratio": None if look is None else round(float(np.exp(look.telling.estimate)), 5),
        "causes": [found.fault] if found.fault else [] if look is None else list(look.causes),
        "disturbances": list(found.disturbances),
    }


def simulate_trial(noise: Noise, case: str, seed: int) -> dict[str, object]:
    """One comparison of frame times that are drawn."""
    slowdown, seconds = CASES[case]
    turns = int(seconds / TURN_SECONDS)
    times = draw_turns(np.random.default_rng(seed), noise, slowdown, turns, rollouts=ROLLOUTS)
    outcome, taken = "not measured", turns
    causes: tuple[str, ...] = ()
    for share, spent in LOOKS.items():
        taken = int(turns * share)
        if taken >= LEAST_TURNS:
            look = look_at(times[:taken], Settings().limit, spent, ROLLOUTS)
            outcome, causes = look.outcome.value, look.causes
            if look.decided:
                break
    return {"outcome": outcome, "seconds": taken * TURN_SECONDS, "turns": taken, "causes": list(causes)}


def read_results(path: Path) -> list[dict[str, object]]:
    """Trials so far; a last line that was cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def render_table(results: list[dict[str, object]], command: str) -> str:
    """One row a case and condition, with 95 % bounds (Clopper and Pearson) of how often it was called slower."""
    lines = [
        "| candidate | machine | allowed | trials | slower | 95 % | no slower | not measured | median s (most) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, str], list[dict[str, object]]] = {}
    for result in results:
        groups.setdefault((str(result["case"]), str(result["machine"])), []).append(result)
    for (case, machine), trials in groups.items():
        outcomes = [str(trial["outcome"]) for trial in trials]
        slower, count = outcomes.count("failed"), len(outcomes)
        span = stats.binomtest(slower, count).proportion_ci(0.95)
        seconds = [float(str(trial["seconds"])) for trial in trials]
        lines.append(
            f"| {case} | {machine} | {CASES[case][1]:g} s | {count} | {slower} | {span.low:.1%} to {span.high:.1%}"
            f" | {outcomes.count('passed')} | {outcomes.count('not measured')}"
            f" | {np.median(seconds):.1f} ({max(seconds):.1f}) |"
        )
    host = describe_host(available_cores())
    packages = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    lines += ["", f"`{command}` on {host.cpu}, {host.cores} cores, {host.system}, Python {host.python}; {packages}."]
    return "\n".join(lines) + "\n"


def put_table(path: Path, table: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the table between the marks of a page, or at its end where it has none."""
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Trials\n"
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else ""
    path.write_text(f"{before.rstrip()}\n\n{begin}\n{table}{end}{after or chr(10)}", encoding="utf-8")


def name_machine(options: argparse.Namespace) -> str:
    """The condition, as the table calls it."""
    if options.simulate:
        return f"simulated, {'loaded' if options.competing else 'quiet'}"
    busy = "every core taken by another process" if options.competing else "nothing else"
    return busy if options.priority else f"{busy}; no priority"


def run_all(options: argparse.Namespace) -> None:
    """Append the trials that are missing to the results file."""
    machine = name_machine(options)
    cases = options.case or list(CASES)
    counts = dict.fromkeys(cases, 0)
    for result in read_results(options.results):
        if result["machine"] == machine and result["case"] in counts:
            counts[str(result["case"])] += 1
    side = None if options.simulate else open_sides(options.bundle, options.bundle, None)[0]
    with options.results.open("a", encoding="utf-8") as file:
        for number in range(options.trials):
            for case in cases:
                if number < counts[case]:
                    continue
                seed = options.seed + number
                settings = Settings(seconds=CASES[case][1], seed=seed, priority=options.priority)
                result = (
                    simulate_trial(LOADED if options.competing else QUIET, case, seed)
                    if side is None
                    else run_trial(side, case, settings)
                )
                file.write(json.dumps({"case": case, "machine": machine, "seed": seed, **result}) + "\n")
                file.flush()
                print(f"{number} {case}: {result['outcome']} in {result['seconds']} s", file=sys.stderr, flush=True)


def main() -> None:
    """Run, then print the table of everything in the results file."""
    spin_briefly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", help="ported for this host's cpu")
    parser.add_argument("--trials", type=int, default=20, help="of each case")
    parser.add_argument("--case", action="append", choices=list(CASES), help="[default: all]")
    parser.add_argument("--competing", action="store_true", help="keep every core busy meanwhile")
    parser.add_argument("--no-priority", dest="priority", action="store_false")
    parser.add_argument("--simulate", action="store_true", help="draw frame times instead of measuring any")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("build/compare_trials.jsonl"))
    parser.add_argument("--markdown", type=Path, help="page to put the table into")
    options = parser.parse_args()
    if options.bundle is None and not options.simulate:
        parser.error("name a bundle, or --simulate")
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with keep_cores_busy() if options.competing and not options.simulate else nullcontext():
        run_all(options)
    table = render_table(
        read_results(options.results), " ".join(["python -m benchmarks.compare_trials", *sys.argv[1:]])
    )
    if options.markdown is not None:
        put_table(options.markdown, table)
    print(table)


if __name__ == "__main__":
    main()
