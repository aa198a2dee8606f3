"""Every kernel in every variant, executed as compiled for every chip: the matrix of docs/emulation.md.

    python -m benchmarks.emulation_matrix --write

A cell is the largest error budget ratio of the kernel's first examples, or the reason why there is none. What was
executed before with the same sources is not executed again; `--fresh` forgets it, and only then is the time one to
quote. Ends with 1 when a cell is in trouble.
"""

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.throughput_table import write_between
from porting.content import folder
from porting.emulation import emulate_kernels
from porting.host import available_cores, describe_host, user_cache
from porting.kernel_library import find_kernels
from porting.profile import read_profiles
from porting.record import EmulatedKernel
from porting.report import numbers
from porting.verdict.emulated import find_trouble

PAGE = Path("docs/emulation.md")
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
OLDER = ("cuda:80", "cuda:89", "hip:gfx1201")
"""Chips without a profile here, whose code the emulators execute too."""


def list_architectures() -> list[str]:
    """Those of every profile, and the older ones; NVIDIA's first, in the order of their names."""
    own = {profile.device.tuning_key for profile in read_profiles([folder("profiles")]) if profile.device.kind != "cpu"}
    return sorted({*own, *OLDER}, key=lambda name: (name.partition(":")[0], len(name), name))


def render_table(records: Sequence[EmulatedKernel], architectures: Sequence[str]) -> str:
    """A row a kernel and variant, a column a chip, and below it the reasons of cells that have no figure."""
    cells = {(record.kernel, record.variant, record.architecture): record for record in records}
    rows = list(dict.fromkeys((record.kernel, record.variant) for record in records))
    names = [name.partition(":")[2] for name in architectures]
    titles = [f"sm_{name}" if name.isdigit() else name for name in names]
    lines = ["| kernel | in | " + " | ".join(titles) + " |", "| --- | --- |" + " --- |" * len(titles)]
    reasons: dict[str, int] = {}
    for kernel, variant in rows:
        shown = [_show(cells[kernel, variant, name], reasons) for name in architectures]
        lines.append(f"| {kernel} | {variant} | " + " | ".join(shown) + " |")
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines)


def _show(record: EmulatedKernel, reasons: dict[str, int]) -> str:
    reason = record.unsupported or find_trouble(record)
    if reason is None:
        return "exact" if record.ratio == 0 else numbers.times(record.ratio)
    number = reasons.setdefault(" ".join(reason.split()), len(reasons) + 1)
    return f"({number})" if record.unsupported else f"**✕ ({number})**"


def summarise(records: Sequence[EmulatedKernel], seconds: float, command: str) -> str:
    """How much was executed, how fast, on what."""
    launches = {launch.text_sha256 + str(launch.sizes): launch for r in records for launch in r.launches}
    steps = sum(sum(launch.instructions.values()) * len(launch.schedules) for launch in launches.values())
    spent = sum(launch.seconds for launch in launches.values())
    host = describe_host(available_cores())
    versions = ", ".join(
        f"{name} {host.packages[name]}" for name in ("triton", "torch", "numpy") if name in host.packages
    )
    speed = f" at {numbers.count(int(steps / spent))} a second of one core" if spent else ""
    return (
        f"{numbers.plural(len(records), 'cell')} in {seconds:.0f} s; {len(launches):,} different launches,"
        f" {numbers.count(steps)} warp-wide instructions over all schedules{speed}."
        f" `{command}` on {host.cpu}, {host.cores} cores, Python {host.python}; {versions}."
    )


def main() -> int:
    """Execute, print the page's part, and put it into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", action="append", help="[default: all]")
    parser.add_argument("--architecture", action="append", help='such as "cuda:107"; [default: all]')
    parser.add_argument("--jobs", type=int, default=available_cores())
    parser.add_argument("--fresh", action="store_true", help="forget what was executed before")
    parser.add_argument("--write", action="store_true", help="put the matrix into docs/emulation.md")
    options = parser.parse_args()
    kernels = {name: kernel for name, kernel in find_kernels().items() if name in (options.kernel or [name])}
    architectures = options.architecture or list_architectures()

    def tell(record: EmulatedKernel) -> None:
        said = record.unsupported or find_trouble(record) or numbers.times(record.ratio)
        print(f"{record.kernel} {record.variant} {record.architecture}: {said}", file=sys.stderr, flush=True)

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as fresh:
        cache = Path(fresh) if options.fresh else user_cache("emulated")
        records = emulate_kernels(kernels, architectures, None, cache, options.jobs, tell)
    seconds = time.perf_counter() - start
    command = shlex.join(["python", "-m", "benchmarks.emulation_matrix", *sys.argv[1:]])
    text = f"{render_table(records, architectures)}\n\n{summarise(records, seconds, command)}"
    print(text)
    if options.write:
        write_between(PAGE, BEGIN, END, text)
    return 1 if any(record.unsupported is None and find_trouble(record) for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
