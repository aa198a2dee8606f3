"""Commands for authors of kernels: execute what was compiled for a chip that is not here."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from porting.cli import options, show
from porting.cli.app import app, command
from porting.errors import UsageError
from porting.profile import Profile
from porting.record import EmulatedKernel, EmulatedLaunch, KernelRecord, Outcome, exit_code
from porting.report import numbers
from porting.report.targets import say_spilled
from porting.tensor_spec import Model
from porting.verdict.emulated import find_trouble

MOST_INSTRUCTIONS = 12
NOT_COVERED = (
    "Executed from the compiled text on this CPU: lowering, addressing, layouts and synchronisation are in it; the"
    " assembler, the hardware, the last bits of approximate functions and timing are not."
)

kernels = typer.Typer(help="Execute compiled kernels without their device.", no_args_is_help=True)
app.add_typer(kernels, name="kernels")


@command("run", of=kernels)
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A kernel file; docs/kernels.md says what it holds.")],
    target: Annotated[
        list[str], typer.Option("--target", metavar="NAME", help="Target or family; repeat it for several.")
    ],
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", metavar="NAME", help="A dtype or format that the file claims. [default: all]"),
    ] = None,
    profiles: options.ProfilesOption = None,
    jobs: options.JobsOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Compile a kernel for a target and execute what came out: parity, races, and what it does."""
    from porting.emulation import emulate_kernels
    from porting.host import available_cores
    from porting.kernel_compiler import compile_kernels, name_variants
    from porting.kernel_library import load_kernel

    kernel = load_kernel(file)
    names = name_variants(kernel)
    for name in variant or ():
        if name not in names:
            raise UsageError(f"--variant {name}: {file} claims {', '.join(names)}")
    architectures = [_architecture(profile) for profile in options.find_profiles(target, profiles)]
    jobs = jobs or available_cores()
    found = emulate_kernels({kernel.name: kernel}, architectures, variant, jobs=jobs)
    with tempfile.TemporaryDirectory() as folder:
        static = tuple(
            record
            for architecture in dict.fromkeys(architectures)
            for record in compile_kernels({kernel.name: kernel}, architecture, variant, Path(folder), jobs=jobs)
        )
    if as_json:
        show.print_json(KernelEvidence(emulated=found, compiled=static))
    else:
        _print(found, static)
    return exit_code({_judge(record) for record in found if record.unsupported is None})


class KernelEvidence(Model):
    """What `--json` prints."""

    emulated: tuple[EmulatedKernel, ...]
    compiled: tuple[KernelRecord, ...]
    """Read from the binaries, at the file's typical sizes."""


def _architecture(profile: Profile) -> str:
    if profile.device.kind == "cpu":
        raise UsageError(f"--target {profile.name}: takes no kernels; name an accelerator")
    return profile.device.tuning_key


def _judge(record: EmulatedKernel) -> Outcome:
    if record.error is not None:
        return Outcome.NOT_MEASURED
    return Outcome.FAILED if find_trouble(record) is not None else Outcome.PASSED


def _print(emulated: tuple[EmulatedKernel, ...], static: tuple[KernelRecord, ...]) -> None:
    console = show.make_console()
    by_cell = {(record.variant, record.architecture): record for record in static}
    for record in emulated:
        where = f"{record.kernel} {record.variant} {record.architecture}"
        if record.unsupported is not None:
            console.print(Text(f"NOT FOR THIS CHIP  {where}: {record.unsupported}"), style="dim")
            continue
        outcome = _judge(record)
        why = find_trouble(record) or f"error budget ratio {numbers.times(record.ratio)}"
        console.print(Text(f"{outcome.value.upper()}  {where}: {why}"), style=show.COLOURS[outcome])
        for launch in record.launches:
            for line in _describe_launch(launch):
                console.print(f"  {line}")
        compiled = by_cell.get((record.variant, record.architecture))
        if compiled is not None and compiled.error is None:
            console.print(f"  binary at sizes {_say_sizes(compiled.sizes)}: {_describe_binary(compiled)}")
    console.print(NOT_COVERED)


def _describe_launch(launch: EmulatedLaunch) -> Iterator[str]:
    """Figures of one launch, a line each."""
    steps = sum(launch.instructions.values())
    programs = math.prod(launch.grid)
    where = f" (as executed for {launch.executed_as})"
    yield (
        f"sizes {_say_sizes(launch.sizes)}: {numbers.plural(programs, 'program')} of"
        f" {numbers.plural(launch.warps, 'warp')}, {numbers.count(steps)} warp-wide instructions{where}"
    )
    if launch.schedules and launch.fault is None:
        same = "the same bits" if launch.same_bits else "NOT the same bits"
        yield f"  {'; '.join(launch.schedules)}: {same}, no race, no access out of bounds"
    for words, table in (("read", launch.bytes_read), ("wrote", launch.bytes_written)):
        if table:
            yield f"  {words} " + ", ".join(f"{numbers.nbytes(size)} {space}" for space, size in sorted(table.items()))
    if launch.instructions:
        yield f"  {numbers.count(launch.bank_conflicts)} bank conflicts; {_say_mix(launch.instructions)}"


def _say_mix(instructions: dict[str, int]) -> str:
    """The most executed instructions, and how many others there are."""
    most = sorted(instructions.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{numbers.count(times)} {name}" for name, times in most[:MOST_INSTRUCTIONS])
    rest = len(most) - MOST_INSTRUCTIONS
    return told + (f", and {rest} others" if rest > 0 else "")


def _describe_binary(record: KernelRecord) -> str:
    occupancy = f"occupancy {numbers.percent(record.occupancy)} (limit: {record.occupancy_limiter})"
    matrix = sum(record.tensor_instructions.values())
    return (
        f"{numbers.count(record.registers)} registers, {say_spilled(record)} spilled,"
        f" {numbers.nbytes(record.shared_bytes)} shared memory, {occupancy},"
        f" {numbers.count(record.instructions)} instructions, {numbers.count(matrix)} of them for matrix units"
    )


def _say_sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
