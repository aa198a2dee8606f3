"""What a layer costs an export: a GWM denoiser of 4, 16 and 48 layers in turn, and docs/checkpoints.md's table of it.

    python -m benchmarks.export_depth --rounds 3 --write

Layers are narrow and of random weights: what is measured is the work per node of a graph. It is counted in the
processor's seconds of this process, which a busy machine stretches little. Exits with 1 when a layer of the deepest
graph costs more than one of the graph before it, beyond what the rounds spread.
"""

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.throughput_table import describe, write_between
from porting.adapters.gwm.config import MINI, GwmConfig
from porting.adapters.gwm.world_model import random_world_model
from porting.export import component as exporting
from porting.export import export_component
from porting.host import describe_host, spin_briefly

PAGE = Path("docs/checkpoints.md")
BEGIN, END = "<!-- depth: begin -->", "<!-- depth: end -->"
DEPTHS = (4, 16, 48)
OPSET = 20
SPREAD = 1.1
"""By how much a layer may cost more in a deeper graph before that is called growth."""
STAGES = {
    "probe_module": "probe",
    "trace_module": "trace",
    "convert_program": "convert",
    "write_graph": "write",
    "prove_graph": "prove",
    "write_program": "archive",
}
"""Functions that an export calls one after the other -> what a column is called."""
HEAD = ("layers", "nodes", "processor s", "s a layer", *STAGES.values())


@dataclass(frozen=True)
class Export:
    """One export of one depth."""

    layers: int
    nodes: int
    processor_s: float
    stages_s: dict[str, float]
    """The processor's seconds by stage."""


def make_config(layers: int) -> GwmConfig:
    """The bundled models' shape with another depth."""
    table = MINI.model_dump()
    table["denoiser"] |= {"depth": layers}
    return GwmConfig.model_validate(table)


@contextmanager
def clock_stages() -> Iterator[dict[str, float]]:
    """Add up what each stage of the exports meanwhile takes."""
    spent = dict.fromkeys(STAGES.values(), 0.0)
    plain = {name: getattr(exporting, name) for name in STAGES}

    def clocked(name: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return plain[name](*args, **kwargs)
            finally:
                spent[STAGES[name]] += time.process_time() - start

        return run

    for name in plain:
        setattr(exporting, name, clocked(name))
    try:
        yield spent
    finally:
        for name, function in plain.items():
            setattr(exporting, name, function)


def export(layers: int) -> Export:
    """Export a denoiser of that depth into a folder that is thrown away."""
    model = random_world_model(make_config(layers))
    with tempfile.TemporaryDirectory() as folder, clock_stages() as spent:
        start = time.process_time()
        record = export_component(model, "denoiser", Path(folder), OPSET)
        processor = time.process_time() - start
    return Export(layers, record.nodes, processor, spent)


def take_median(exports: Sequence[Export]) -> Export:
    """Of every figure the median over the rounds of one depth."""
    return Export(
        layers=exports[0].layers,
        nodes=exports[0].nodes,
        processor_s=statistics.median(e.processor_s for e in exports),
        stages_s={name: statistics.median(e.stages_s[name] for e in exports) for name in STAGES.values()},
    )


def find_growth(rows: Sequence[Export]) -> float:
    """What a layer of the deepest graph costs over one of the graph before it; 1 is linear, less is better."""
    before, deepest = rows[-2:]
    return (deepest.processor_s / deepest.layers) / (before.processor_s / before.layers)


def make_table(rows: Sequence[Export], rounds: int, command: str) -> list[str]:
    """The section's lines."""
    growth, (before, deepest) = find_growth(rows), rows[-2:]
    cells = [
        [
            str(row.layers),
            f"{row.nodes:,}",
            f"{row.processor_s:.1f}",
            f"{row.processor_s / row.layers:.2f}",
            *(f"{row.stages_s[name]:.1f}" for name in STAGES.values()),
        ]
        for row in rows
    ]
    return [
        f"On {describe(describe_host(1))}; {time.strftime('%Y-%m-%d')}, `{command}`, median of {rounds} rounds:"
        f" a layer of {deepest.layers} costs {growth:.2f} times what one of {before.layers} does.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{' --: |' * len(HEAD)}",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]


def main() -> int:
    """Export and print; 1 when a layer costs more in a deeper graph."""
    spin_briefly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    given = parser.parse_args()
    depths = sorted(set(given.depths))
    if len(depths) < 2 or depths[0] < 1 or given.rounds < 1:
        parser.error("give two depths or more, and a round or more")
    export(1)  # what the exporters load and compile once
    made: dict[int, list[Export]] = {depth: [] for depth in depths}
    for _ in range(given.rounds):
        for depth in depths:
            made[depth].append(export(depth))
            last = made[depth][-1]
            sys.stderr.write(f"{depth} layers: {last.processor_s:.1f} s, {last.stages_s}\n")
    rows = [take_median(made[depth]) for depth in depths]
    command = shlex.join(["python", "-m", "benchmarks.export_depth", *sys.argv[1:]])
    text = "\n".join(make_table(rows, given.rounds, command))
    sys.stdout.write(f"{text}\n")
    if given.write:
        write_between(PAGE, BEGIN, END, text)
    return int(find_growth(rows) > SPREAD)


if __name__ == "__main__":
    sys.exit(main())
