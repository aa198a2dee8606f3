"""Port every family's tiny checkpoint to this host's CPU, and make docs/families.md's table of what came of it.

    python -m benchmarks.zoo_table --out build/zoo --write

A checkpoint that is built stays, and so does what its bundle already proves: the command goes on where it stopped. A
port that ends otherwise than passed is a row like any other, with the first check that says why.
"""

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import zoo
from benchmarks.throughput_table import describe, write_between
from porting.bundle import Bundle
from porting.content import folder
from porting.errors import PortingError
from porting.host import describe_host, spin_briefly
from porting.record import Outcome, PortRecord, Step, TargetRecord
from porting.report import numbers

PAGE = Path("docs/families.md")
BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
TARGET, PORT = "cpu", "port"
HEAD = (
    "checkpoint", "family", "verdict",
    "export s", "nodes", "worst ratio", "first failing frame", "against eager", "frames/s", "port s",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One checkpoint that was ported, or why it was not."""

    name: str
    family: str
    seconds: float
    record: PortRecord | None
    words: str
    """The command's last line, for a port that left no record."""


def list_checkpoints(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, family) of the bundled worlds and of what the zoo can build; all of them when none is named."""
    known = {path.name: "gwm" for path in sorted(folder("checkpoints").iterdir())}
    known |= {entry.name: entry.family for entry in zoo.list_entries().values()}
    if unknown := sorted(set(names) - known.keys()):
        raise SystemExit(f"{', '.join(unknown)}: no such checkpoint; there are: {', '.join(known)}")
    yield from ((name, family) for name, family in known.items() if not names or name in names)


def port(name: str, family: str, out: Path) -> Row:
    """Build it where it is not there, and port it in a process of its own, as a user does."""
    source = f"bundled:{name}"
    if not (folder("checkpoints") / name).is_dir():
        path = out / "checkpoints" / name
        source = str(path if path.exists() else zoo.build(name, path))
    start, bundle = time.monotonic(), out / name
    command = [sys.executable, "-m", "porting.cli", "port", source, "--target", TARGET, "--out", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    try:
        return Row(name, family, seconds, Bundle(bundle).read_record(), "")
    except PortingError:
        said = (done.stderr or done.stdout).strip().splitlines()
        return Row(name, family, seconds, None, said[-1] if said else f"exit code {done.returncode}")


def list_cells(row: Row) -> list[str]:
    """The cells of one checkpoint, in the order of `HEAD`."""
    target = row.record.targets.get(TARGET) if row.record else None
    if row.record is None or target is None:
        return [row.name, row.family, f"error: {row.words}", *[""] * (len(HEAD) - 4), numbers.number(row.seconds)]
    return [
        row.name,
        row.family,
        say_verdict(target),
        numbers.number(sum(component.export_seconds for component in row.record.components)),
        f"{sum(component.nodes for component in row.record.components):,}",
        numbers.number(worst_ratio(target)),
        say_failing(target),
        say_ratio(target),
        "not measured" if target.throughput is None else numbers.number(target.throughput.frames_per_second),
        numbers.number(sum(stage.seconds for stage in row.record.stages)),
    ]


def say_ratio(target: TargetRecord) -> str:
    """Eager's time over the port's, with the lowest and highest round: "4.2x (3.9 to 4.6)"."""
    timing = next((d for d in target.throughput.drivers if d.name == PORT), None) if target.throughput else None
    if timing is None:
        return "not measured"
    return f"{timing.ratio_to_eager:.3g}x ({timing.ratio_low:.3g} to {timing.ratio_high:.3g})"


def worst_ratio(target: TargetRecord) -> float | None:
    """The largest error budget ratio of the chosen artifacts, over outputs, inputs and teacher-forced frames."""
    if target.parity is None:
        return None
    chosen = {(artifact.component, artifact.backend) for artifact in target.artifacts if artifact.chosen}
    outputs = [out.ratio for out in target.parity.outputs if (out.component, out.backend) in chosen]
    return max([*outputs, *(ratio for level in target.parity.teacher_forced for ratio in level.ratio)], default=None)


def say_failing(target: TargetRecord) -> str:
    """The first free-running frame that leaves the envelope: "none of 48"."""
    free = target.parity.free_running if target.parity else None
    if free is None:
        return "not measured"
    return f"none of {len(free.psnr_db)}" if free.first_failing_frame is None else str(free.first_failing_frame)


def say_verdict(target: TargetRecord) -> str:
    """The outcome; and the first check that does not pass, with its reason."""
    if target.verdict is None:
        return "not measured"
    refused = [check for check in target.verdict.checks if check.outcome is not Outcome.PASSED]
    if target.verdict.outcome is Outcome.PASSED or not refused:
        return str(target.verdict.outcome)
    first = min(refused, key=lambda check: (check.outcome is not Outcome.FAILED, list(Step).index(check.step)))
    return f"{target.verdict.outcome}: {first.reason}".replace("|", "\\|")


def make_table(rows: Sequence[Row], command: str) -> list[str]:
    """The section's lines."""
    threads = next((r.record.host.threads for r in rows if r.record), 1)
    passed = sum(cells[2] == Outcome.PASSED for cells in map(list_cells, rows))
    taken = sum(row.seconds for row in rows)
    return [
        f"On {describe(describe_host(threads))}; {time.strftime('%Y-%m-%d')}, `{command}`:"
        f" {passed} of {len(rows)} passed, in {taken / 60:.1f} min of this run.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"| --- | --- | --- |{' --: |' * (len(HEAD) - 3)}",
        *(f"| {' | '.join(list_cells(row))} |" for row in rows),
    ]


def main() -> int:
    """Port and print; 1 when a port did not pass."""
    spin_briefly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which checkpoints [default: all]")
    parser.add_argument("--out", type=Path, default=Path("build/zoo"))
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    given = parser.parse_args()
    rows = []
    for name, family in list_checkpoints(given.names):
        rows.append(port(name, family, given.out))
        sys.stderr.write(f"{' | '.join(list_cells(rows[-1]))}\n")
    text = "\n".join(make_table(rows, shlex.join(["python", "-m", "benchmarks.zoo_table", *given.names, "--write"])))
    sys.stdout.write(f"{text}\n")
    if given.write:
        write_between(PAGE, BEGIN, END, text)
    return int(any(list_cells(row)[2] != Outcome.PASSED for row in rows))


if __name__ == "__main__":
    sys.exit(main())
