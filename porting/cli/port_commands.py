"""`port` and `export`: what starts from a checkpoint."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from porting.bundle import Bundle
from porting.cli import options, show
from porting.cli.app import command
from porting.cli.progress import watch
from porting.errors import UsageError
from porting.pipeline.request import PortRequest, choose_precision, count_threads, limit_frames
from porting.record import Step
from porting.tensor_spec import Precision

OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="BUNDLE", help="Folder to write. [default: build/<name>]")
]
TargetOption = Annotated[
    list[str],
    typer.Option("--target", metavar="NAME", help="Target or family; repeat it for several.", show_default="cpu"),
]
PrecisionOption = Annotated[Precision | None, typer.Option("--precision", help="[default: the profile's first]")]
FramesOption = Annotated[
    int | None,
    typer.Option("--frames", metavar="N", help="Frames compared and timed, in place of the profile's counts."),
]


def default_bundle(checkpoint: str) -> Path:
    """build/<name>, named after the checkpoint."""
    name = checkpoint.rpartition("@")[2].removeprefix("bundled:").rstrip("/")
    return Path("build") / (Path(name).stem if Path(name).is_file() else Path(name).name or "port")


@command("port")
def port(
    checkpoint: options.CheckpointArgument,
    target: TargetOption = ["cpu"],  # noqa: B006 - typer copies it
    precision: PrecisionOption = None,
    frames: FramesOption = None,
    out: OutOption = None,
    require: Annotated[
        Step | None, typer.Option("--require", metavar="STEP", help="Exit 3 if a target stays below this step.")
    ] = None,
    jobs: options.JobsOption = None,
    family: options.FamilyOption = None,
    weights: options.WeightsOption = None,
    profiles: options.ProfilesOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Export, compile, prove and time a checkpoint; goes on where an earlier run of it stopped."""
    checkpoint = options.name_checkpoint(checkpoint, family, weights)
    request = make_request(checkpoint, target, precision, frames, out, jobs, profiles)
    from porting.pipeline.port import port as run_port  # needs torch, which takes seconds to load

    with watch() as observer:
        record = run_port(request, observer)
    targets = tuple(profile.name for profile in request.profiles)
    if as_json:
        show.print_json(record)
    else:
        show.print_port(record, request.out, targets)
    return show.judge_exit(record, targets, Step.THROUGHPUT, require)


@command("export")
def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT|BUNDLE", help="A checkpoint, or a bundle whose checkpoint is here.")
    ],
    target: options.TargetsOption = None,
    precision: PrecisionOption = None,
    frames: FramesOption = None,
    out: OutOption = None,
    family: options.FamilyOption = None,
    weights: options.WeightsOption = None,
    profiles: options.ProfilesOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Export a checkpoint's components and record its reference rollout, and stop there."""
    bundle = Bundle(Path(checkpoint))
    if bundle.exists():
        record = bundle.read_record()
        if not record.checkpoint.source:
            raise UsageError(f"{bundle.path}: does not say where its checkpoint is; export the checkpoint itself")
        checkpoint, out = record.checkpoint.source, bundle.path if out is None else out
        target = target or sorted(record.targets)
        precision = precision or next((found.precision for found in record.targets.values()), None)
    else:
        checkpoint = options.name_checkpoint(checkpoint, family, weights)
    request = make_request(checkpoint, target or ["cpu"], precision, frames, out, None, profiles)
    from porting.pipeline.port import export as run_export  # needs torch, which takes seconds to load

    with watch() as observer:
        record = run_export(request, observer)
    if as_json:
        show.print_json(record)
    else:
        show.print_components(record)
    return 1 if any(stage.error is not None for stage in record.stages) else 0


def make_request(
    checkpoint: str,
    targets: list[str],
    precision: Precision | None,
    frames: int | None,
    out: Path | None,
    jobs: int | None,
    own_profiles: Path | None,
) -> PortRequest:
    """Everything that can be refused before torch is loaded, is.

    Raises:
        PortingError: a target, precision or frame count that cannot be.
    """
    threads = count_threads()
    found = tuple(limit_frames(profile, frames) for profile in options.find_profiles(targets, own_profiles))
    return PortRequest(
        checkpoint=checkpoint,
        profiles=found,
        out=out if out is not None else default_bundle(checkpoint),
        precision=choose_precision(found, precision),
        jobs=jobs if jobs is not None else threads,
        threads=threads,
        command=shlex.join(["worldport", *sys.argv[1:]]),
    )
