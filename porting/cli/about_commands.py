"""Commands that change nothing: inspect, targets, doctor."""

import json
import platform
import shutil
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from porting.adapters.inspection import ComponentSummary, Inspection
from porting.cli import options, show
from porting.cli.app import command
from porting.devices import Census, find_devices
from porting.pipeline.abilities import Ability, Link, Requirement, describe_ability, list_requirements
from porting.profile import Profile
from porting.program import InputSpec, StateSpec
from porting.record import LADDER, Outcome, exit_code
from porting.report import numbers


@command("inspect")
def inspect(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT|CONFIG", help="Weights, a config.json, bundled:NAME or config:NAME.")
    ],
    family: options.FamilyOption = None,
    weights: options.WeightsOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Say what a checkpoint is, from its headers alone."""
    from porting.adapters.registry import inspect_checkpoint

    found = inspect_checkpoint(options.name_checkpoint(checkpoint, family, weights))
    if as_json:
        show.print_json(found)
    else:
        _print_inspection(found)
    return 0


def _print_inspection(found: Inspection) -> None:
    console, program = show.make_console(), found.program
    size = numbers.nbytes(found.weight_bytes)
    console.print(f"{found.name}: family {found.family}, {found.format}, {found.tensors} tensors, {size}")
    console.print(f"{found.parameters:,} parameters; dtypes {_say(found.tensors_by_dtype)}")
    parts = [(c.name, f"{c.parameters:,}", numbers.nbytes(c.weight_bytes), c.weights) for c in found.components]
    console.print(show.make_table("component", "parameters", "bytes", "weights", rows=parts))
    console.print(show.make_table("component", "inputs", "outputs", rows=map(_list_tensors, found.components)))
    console.print(show.make_table("input", "once a", "shape", "what", "unit", rows=map(_list_input, program.inputs)))
    console.print(show.make_table("state", "shape", "dtype", "update", "bytes", rows=map(_list_state, program.states)))
    for ring in program.rings:
        console.print(f"ring {ring.name}: {ring.window} frames, the first {ring.sink} kept for ever")
    console.print(
        f"{numbers.nbytes(program.state_bytes)} of state a session; {program.frame_calls} calls a frame,"
        f" {program.prime_calls} to open a session"
    )


def _list_tensors(part: ComponentSummary) -> tuple[str, ...]:
    return (part.name, *(" ".join(tensor.name for tensor in tensors) for tensors in (part.inputs, part.outputs)))


def _list_input(given: InputSpec) -> tuple[str, ...]:
    return given.tensor.name, given.scope, str(given.tensor.shape), given.kind, given.tensor.unit


def _list_state(state: StateSpec) -> tuple[str, ...]:
    tensor = state.tensor
    update = state.update if state.ring is None else f"ring {state.ring}"
    return tensor.name, str(tensor.shape), tensor.dtype, update, numbers.nbytes(tensor.nbytes)


def _say(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in sorted(counts.items()))


@command("targets")
def targets(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Target or family. [default: all]", show_default=False)
    ] = None,
    profiles: options.ProfilesOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """List targets, and what this host can compile, run and measure for each."""
    found = options.find_profiles(names, profiles) if names else options.read_profiles(profiles)
    rows = [(profile, describe_ability(profile)) for profile in found]
    if as_json:
        listed = [_describe_target(profile, ability) for profile, ability in rows]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
    else:
        _print_targets(rows)
    return 0


def _describe_target(profile: Profile, ability: Ability) -> dict[str, object]:
    return {
        "target": profile.name,
        "title": profile.title,
        "families": list(profile.families),
        "device": profile.device.model_dump(mode="json"),
        "software": {name: minimum.model_dump() for name, minimum in profile.software.items()},
        "precisions": list(profile.compile.precisions),
        "formats": list(profile.compile.formats.native) if profile.compile.formats else [],
        "highest_step": ability.highest,
        "reason": ability.reason,
        "backends": ability.backends,
        "chain": [asdict(link) for link in ability.chain],
        "kernels": asdict(ability.kernels) if ability.kernels else None,
        "device_here": asdict(ability.device) if ability.device else None,
    }


def _print_targets(rows: list[tuple[Profile, Ability]]) -> None:
    summary = [
        (
            profile.name,
            profile.title,
            profile.device.architecture or "",
            " ".join(profile.families),
            " ".join(profile.compile.precisions),
            ability.highest.value if ability.highest else "nothing",
            ability.reason,
        )
        for profile, ability in rows
    ]
    links = [
        (ability.target, link.backend, *_say_link(link), link.package, link.reason, link.advice)
        for _, ability in rows
        for link in (*ability.chain, *filter(None, (ability.kernels,)))
    ]
    console = show.make_console()
    columns = ("target", "title", "chip", "families", "precisions", "here up to", "why")
    console.print(show.make_table(*columns, rows=summary))
    console.print("\nHow: every backend that can is tried, the fastest proved one kept; the order is that of fallback.")
    headings = ("target", "backend", "builds", "reads back", "runs", "installed", "why", "for more")
    console.print(show.make_table(*headings, rows=links))


def _say_link(link: Link) -> tuple[str, ...]:
    return tuple("yes" if does else "-" for does in (link.builds, link.attests, link.runs))


@command("doctor")
def doctor(profiles: options.ProfilesOption = None, as_json: options.JsonOption = False) -> int:
    """Say what is installed and which devices are here, what is missing, and what to install."""
    requirements = list_requirements()
    censuses = [find_devices("cuda"), find_devices("hip")]
    abilities = [describe_ability(profile) for profile in options.read_profiles(profiles)]
    compiler = shutil.which("g++") or shutil.which("c++")
    ready = all(r.version for r in requirements if r.needed) and compiler is not None
    if as_json:
        found = {
            "python": platform.python_version(),
            "packages": {r.name: r.version for r in requirements},
            "to_install": {r.name: r.advice for r in requirements if r.version is None},
            "cpp_compiler": compiler,
            "devices": {census.kind: bool(census.devices) for census in censuses},
            "drivers": {census.kind: asdict(census) for census in censuses},
            "targets": {ability.target: ability.highest for ability in abilities},
            "ready": ready,
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print_doctor(requirements, censuses, abilities, compiler, ready)
    return exit_code({Outcome.PASSED if ready else Outcome.NOT_MEASURED})


def _print_doctor(
    requirements: list[Requirement], censuses: list[Census], abilities: list[Ability], compiler: str | None, ready: bool
) -> None:
    rows = [("python", platform.python_version(), "everything", "")]
    rows += [(r.name, r.version or "missing", r.purpose, "" if r.version else r.advice) for r in requirements]
    rows.append(
        ("C++ compiler", compiler or "missing", "the inductor backend", "" if compiler else "your system's g++")
    )
    console = show.make_console()
    console.print(show.make_table("what", "version", "for", "to install", rows=rows))
    for census in censuses:
        for device in census.devices:
            fitting = ", ".join(a.target for a in abilities if a.device == device) or "none; give it a profile"
            console.print(f"{census.kind} device: {device.name or 'unnamed'} ({device.architecture}), target {fitting}")
        if census.note or not census.devices:
            console.print(f"{census.kind} device: {'' if census.devices else 'none here: '}{census.note}")
    for step in (*reversed(LADDER), None):
        names = ", ".join(ability.target for ability in abilities if ability.highest is step)
        if names:
            console.print(f"here up to {step.value if step else 'nothing'}: {names}")
    console.print("worldport targets says why, and what it takes for more")
    console.print("worldport port --target cpu can run here" if ready else "worldport port cannot run here yet")
