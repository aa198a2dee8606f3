"""Every way to drive a bundle's frames, with its limit, as the table of docs/throughput.md.

    python -m benchmarks.throughput_table BUNDLE [--target cpu] [--write]

Each driver is loaded alone and driven as a port is: closed-loop, then paced at the profile's rate, energy beside both.
All are held against one floor, of peaks that are measured on this host first. Prints Markdown; with --write, puts it
between the marks of docs/throughput.md. Ends with 3 when the machine was disturbed: then nothing is to be quoted.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from porting.bundle import Bundle
from porting.errors import PortingError, UsageError
from porting.host import describe_host, spin_briefly
from porting.pipeline.again import choose_targets
from porting.pipeline.limiting import count_once, limit_on_host, measured_times, profile_components
from porting.pipeline.measuring import Driver, Session, are_proved, artifact_driver, chosen_backends, whole_backends
from porting.pipeline.progress import Silent
from porting.pipeline.request import count_threads
from porting.pipeline.workshop import Workshop
from porting.record import Energy, FrameLimit, Host, Pacing, ThroughputEvidence
from porting.report import numbers
from porting.report.floor import say_peaks
from porting.roofline import limit_frame
from porting.roofline.operator_times import hold_profiles
from porting.throughput import instruments_for, measure_throughput

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/throughput.md"
BEGIN, END = "<!-- throughput: begin -->", "<!-- throughput: end -->"
DISTURBED = 3
"""Exit code: what was measured is no measurement."""


@dataclass(frozen=True)
class Row:
    """One way to drive the frames."""

    name: str
    proved: str
    evidence: ThroughputEvidence
    limit: FrameLimit


def open_session(path: Path, target: str) -> Session:
    """The target of the bundle, ready to be measured on this host.

    Raises:
        UsageError: it is no CPU, or no artifacts of it were chosen.
        BundleError: the bundle is damaged.
    """
    bundle = Bundle(path)
    record = bundle.read_record()
    bundle.verify_files(record)
    (target,) = choose_targets(record, (target,))
    session = Session(Workshop(bundle, record, Silent()), target, describe_host(count_threads()))
    if session.record.profile.device.kind != "cpu":
        raise UsageError(f"{target}: is no CPU, and its peaks cannot be measured here; name a target that is one")
    if len(chosen_backends(session.record)) < len(session.program.components):
        raise UsageError(f"{target}: no artifacts were chosen yet; run worldport verify first")
    return session


def list_drivers(session: Session) -> dict[str, tuple[str, Driver]]:
    """Name -> whether it is proved, and what opens it: the port, and every backend that has all components."""
    mixes = {"port": chosen_backends(session.record), **whole_backends(session)}
    return {
        name: ("yes" if are_proved(session.record, mix) else "no", artifact_driver(session, mix))
        for name, mix in mixes.items()
    }


def measure(session: Session) -> tuple[list[Row], dict[str, str]]:
    """A row for each driver that runs, and why the others do not.

    Raises:
        PortingError: the host cannot be calibrated, or the bundle has no trace or a graph that cannot be counted.
    """
    work = count_once(session.workshop)(session.record.precision)
    base = limit_on_host(work, session.host.threads, {}, None)
    base = hold_profiles(base, profile_components(session, base))
    trace, budget = session.read_trace(), session.record.profile.throughput
    rows, missing = [], {}
    for name, (proved, driver) in list_drivers(session).items():
        sys.stderr.write(f"{name} ...\n")
        with tempfile.TemporaryDirectory() as folder:
            try:
                evidence = measure_throughput(
                    session.program,
                    {name: driver},
                    name,
                    trace,
                    budget,
                    Path(folder),
                    session.host.threads,
                    instruments_for("cpu"),
                )
            except (PortingError, OSError, RuntimeError) as cause:
                missing[name] = f"{type(cause).__name__}: {cause}"
                continue
        limit = limit_frame(work, base.peaks, *measured_times(evidence))
        rows.append(Row(name, proved, evidence, limit.model_copy(update={"calibration": base.calibration})))
    return rows, missing


def make_table(session: Session, rows: list[Row], missing: Mapping[str, str], command: str) -> Iterator[str]:
    """Lines of Markdown: what was measured on, the table, the floor, how it was made."""
    record, budget = session.workshop.record, session.record.profile.throughput
    yield (
        f"{record.checkpoint.name}, {session.record.precision}, on {describe(session.host)};"
        f" {datetime.now(UTC).date().isoformat()}, `{command}`. {budget.frames_per_second:g} frames/s are promised: a"
        f" deadline of {numbers.number(budget.deadline_ms, 'ms')}."
    )
    yield ""
    parts = [part.component for part in rows[0].limit.components] if rows else []
    columns = ("driver", "proved", "frames/s", "p50 ms", "p99 ms", "missed", "p99 ms", "missed", "stall ms")
    shares = ("frame", *parts)
    yield f"| | | closed-loop | | | | paced | | | share of the floor |{' |' * len(parts)} J a frame | |"
    yield f"| --- | --- |{' --: |' * (len(columns) - 2 + len(shares) + 2)}"
    yield f"| {' | '.join(columns)} | {' | '.join(shares)} | closed-loop | paced |"
    for row in rows:
        yield f"| {' | '.join(list_cells(row))} |"
    for name, why in missing.items():
        yield f"| {name} | not measured: {' '.join(why.split())} |"
    if not rows:
        return
    limit = rows[0].limit
    yield ""
    floors = ", ".join(f"{p.component} {numbers.number(p.floor_ms, 'ms')} ({p.bound})" for p in limit.components)
    yield (
        f"Floor of a frame: {numbers.number(limit.floor_ms, 'ms')}, {numbers.number(limit.floor_fps)} frames/s:"
        f" {floors}, copies {numbers.number(limit.copy_ms, 'ms')}. Peaks: {say_peaks(limit)}."
    )
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if reason := say_energy(row.evidence.energy):
            reasons.setdefault(reason, []).append(row.name)
    for reason, names in reasons.items():
        yield f"\nEnergy of {', '.join(names)}: {reason}."
    for name, sentences in list_disturbances(rows).items():
        yield f"\n**Not to be quoted**, {name}: {'; '.join(sentences)}."


def list_cells(row: Row) -> list[str]:
    """The cells of one driver."""
    evidence, energy = row.evidence, row.evidence.energy
    paced = evidence.latency.paced_ms.p99 if evidence.latency is not None else None
    shares = [row.limit.achieved, *(part.achieved for part in row.limit.components)]
    joules = (None, None) if energy is None else (energy.joules_per_frame, energy.paced_joules_per_frame)
    return [
        row.name,
        row.proved,
        numbers.number(evidence.frames_per_second),
        numbers.number(evidence.frame_ms.p50),
        numbers.number(evidence.frame_ms.p99),
        say_missed(evidence.closed_loop),
        numbers.number(paced),
        say_missed(evidence.paced),
        numbers.number(evidence.paced.longest_stall_ms),
        *(numbers.percent(share) for share in shares),
        *(numbers.number(value) for value in joules),
    ]


def say_missed(pacing: Pacing) -> str:
    """Missed deadlines: "0 of 240"."""
    return f"{pacing.missed} of {pacing.frames}"


def say_energy(energy: Energy | None) -> str:
    """Why joules are missing; empty where they are not."""
    if energy is None or not energy.reason:
        return ""
    return f"not measured ({energy.source}: {energy.reason})"


def list_disturbances(rows: list[Row]) -> dict[str, tuple[str, ...]]:
    """Driver, or "the calibration" -> what else the machine did meanwhile."""
    found = {row.name: row.evidence.disturbances for row in rows if row.evidence.disturbances}
    made = rows[0].limit.calibration if rows else None
    if made is not None and made.disturbances:
        found["the calibration"] = made.disturbances
    return found


def describe(host: Host) -> str:
    """The machine and what ran on it."""
    packages = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    return (
        f"{host.cpu}, {numbers.plural(host.threads, 'thread')} of {numbers.plural(host.cores, 'core')}, {host.system},"
        f" Python {host.python}, {packages}"
    )


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put the text between two marks of a page.

    Raises:
        UsageError: the page has not both marks.
    """
    before, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise UsageError(f"{page}: has no {begin} before an {end}; put them where the table goes")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> int:
    """Measure and print; returns the exit code."""
    spin_briefly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    try:
        session = open_session(given.bundle, given.target)
        rows, missing = measure(session)
        arguments = ["BUNDLE", "--target", given.target] + ["--write"] * given.write
        command = f"python -m benchmarks.throughput_table {shlex.join(arguments)}"
        text = "\n".join(make_table(session, rows, missing, command))
        sys.stdout.write(f"{text}\n")
        if given.write:
            write_between(PAGE, BEGIN, END, text)
    except PortingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return DISTURBED if list_disturbances(rows) or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
