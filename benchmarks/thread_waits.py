"""What it costs how OpenMP's threads wait: one component compiled by inductor, called on quiet cores and on busy ones.

    python -m benchmarks.thread_waits BUNDLE --component denoiser

Every row is a process of its own, since the OpenMP library reads its environment once; rows take turns.
The busy processes are of another session, as another job's are: Linux shares out cores between sessions first. Prints
Markdown.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.compare_trials import keep_cores_busy
from benchmarks.throughput_table import describe
from porting.bundle import Bundle
from porting.host import available_cores, describe_host
from porting.runners import open_runner

SETTINGS: dict[str, dict[str, str]] = {
    "not set": {},
    "`GOMP_SPINCOUNT=10000`": {"GOMP_SPINCOUNT": "10000"},
    "`GOMP_SPINCOUNT=1000`": {"GOMP_SPINCOUNT": "1000"},
    "`GOMP_SPINCOUNT=100`": {"GOMP_SPINCOUNT": "100"},
    "`OMP_WAIT_POLICY=passive`": {"OMP_WAIT_POLICY": "passive"},
}
WARMUP, CALLS, SECONDS, TURNS = 20, 1000, 8.0, 2
"""Untimed calls of a process, timed ones, seconds after which it stops early; processes of a row."""


def time_calls(bundle: Path, component: str) -> list[float]:
    """Milliseconds of each call, on zeros: what a call costs does not depend on its numbers."""
    record = Bundle(bundle).read_record()
    spec = record.program.component(component)
    (artifact,) = (a for a in record.targets["cpu"].artifacts if (a.component, a.backend) == (component, "inductor"))
    runner = open_runner("inductor", bundle, artifact, spec, available_cores())
    inputs = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in spec.inputs}
    outputs = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in spec.outputs}
    call = runner.bind(inputs, outputs)
    for _ in range(WARMUP):
        call()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < CALLS and time.perf_counter() - begun < SECONDS:
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def run_row(bundle: Path, component: str, setting: dict[str, str]) -> list[float]:
    """`time_calls` in a process with that environment."""
    unset = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | setting
    command = [sys.executable, "-m", "benchmarks.thread_waits", str(bundle), "--component", component, "--child"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: list[float] = json.loads(done.stdout)
    return found


def say(turns: list[list[float]]) -> str:
    """The turns' means, and the p99 of all of their calls."""
    means = ", ".join(f"{np.mean(turn):.3g}" for turn in turns)
    return f"{means} ({np.quantile(np.concatenate(turns), 0.99):.3g})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="whose cpu target has an inductor artifact")
    parser.add_argument("--component", default="denoiser")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        sys.stdout.write(json.dumps(time_calls(given.bundle, given.component)))
        return
    columns: list[dict[str, list[list[float]]]] = []
    for load in (nullcontext, partial(keep_cores_busy, own_session=True)):
        columns.append({name: [] for name in SETTINGS})
        with load():
            for _ in range(TURNS):
                for name, setting in SETTINGS.items():
                    columns[-1][name].append(run_row(given.bundle, given.component, setting))
    rows = [f"| {name} | {say(columns[0][name])} | {say(columns[1][name])} |" for name in SETTINGS]
    cores = available_cores()
    head = f"| how threads wait | quiet: mean of each process (p99), ms | beside {cores} busy processes |"
    made = (
        f"`python -m benchmarks.thread_waits BUNDLE --component {given.component}` on {describe(describe_host(cores))}."
    )
    sys.stdout.write("\n".join([head, "| --- | --- | --- |", *rows, "", made, ""]))


if __name__ == "__main__":
    main()
