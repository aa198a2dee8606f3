"""Chooses the kernels' tunings by static evidence and, asked to, writes them into the kernel files.

Run it as `python -m benchmarks.tune_kernels [KERNEL.py]... [--architecture cuda:90]... [--write]`; without files it
takes all of kernels/. Exits 1 when a cell has no sound tuning: it spills, does not fit, or lost its matrix units.
"""

import argparse
import os
import sys
from pathlib import Path

from porting.kernel_compiler.search import search_tunings
from porting.kernel_compiler.tunables import make_tunables, render_tunables, write_tunables
from porting.kernel_library import kernel_paths, load_kernel

ARCHITECTURES = (
    *("cuda:90", "cuda:100", "cuda:103", "cuda:107", "cuda:120", "cuda:121"),
    *("hip:gfx942", "hip:gfx950", "hip:gfx1201", "hip:gfx1250"),
)


def tune_kernel(path: Path, architectures: tuple[str, ...], jobs: int, write: bool) -> bool:
    """Search, print every cell and the block; returns whether every cell is sound."""
    kernel = load_kernel(path)
    chosen = search_tunings(kernel, architectures, jobs=jobs)
    print(f"# {path.name}")
    for (architecture, variant), choice in chosen.items():
        record = choice.record
        said = choice.problem or (
            f"{record.registers} registers, {record.shared_bytes} bytes shared, {record.resident_programs} programs "
            f"({record.occupancy_limiter}), {record.loop_instructions}/{record.instructions} instructions"
        )
        print(f"# {architecture} {variant}: {choice.tuning}: {'PROBLEM: ' if choice.problem else ''}{said}")
    tunables = make_tunables(kernel, {cell: choice.tuning for cell, choice in chosen.items()})
    print(render_tunables("DEFAULTS", tunables), flush=True)
    if write:
        write_tunables(path, tunables)
    return all(choice.problem is None for choice in chosen.values())


def main() -> int:
    """Tune what the command line names."""
    parser = argparse.ArgumentParser(description="Choose kernel tunings by static evidence.")
    parser.add_argument("kernels", nargs="*", type=Path, help="kernel files; all of kernels/ by default")
    parser.add_argument("--architecture", action="append", help=f"by default {', '.join(ARCHITECTURES)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help="write the TUNABLES block into the file")
    arguments = parser.parse_args()
    paths = arguments.kernels or list(kernel_paths().values())
    architectures = tuple(arguments.architecture or ARCHITECTURES)
    sound = [tune_kernel(path, architectures, arguments.jobs, arguments.write) for path in paths]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
