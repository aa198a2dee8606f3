"""Commands that change nothing: inspect, targets, doctor."""

import json
import platform
import shutil
import sys

from porting.adapters.inspection import ComponentSummary, Inspection
from porting.cli import options, show
from porting.cli.app import command
from porting.pipeline.abilities import DEVICE_FILES, Requirement, describe_ability, has_device, list_requirements
from porting.program import StateSpec
from porting.record import Outcome, exit_code
from porting.report import numbers


@command("inspect")
def inspect(checkpoint: options.CheckpointArgument, as_json: options.JsonOption = False) -> int:
    """Say what a checkpoint is, from its headers alone."""
    from porting.adapters.registry import inspect_checkpoint

    found = inspect_checkpoint(checkpoint)
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
    console.print(show.make_table("state", "shape", "dtype", "update", "bytes", rows=map(_list_state, program.states)))
    for ring in program.rings:
        console.print(f"ring {ring.name}: {ring.window} frames, the first {ring.sink} kept for ever")
    console.print(
        f"{numbers.nbytes(program.state_bytes)} of state a session; {program.frame_calls} calls a frame,"
        f" {program.prime_calls} to open a session"
    )


def _list_tensors(part: ComponentSummary) -> tuple[str, ...]:
    return (part.name, *(" ".join(tensor.name for tensor in tensors) for tensors in (part.inputs, part.outputs)))


def _list_state(state: StateSpec) -> tuple[str, ...]:
    tensor = state.tensor
    update = state.update if state.ring is None else f"ring {state.ring}"
    return tensor.name, str(tensor.shape), tensor.dtype, update, numbers.nbytes(tensor.nbytes)


def _say(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in sorted(counts.items()))


@command("targets")
def targets(profiles: options.ProfilesOption = None, as_json: options.JsonOption = False) -> int:
    """List every profile and what this host can do for it."""
    rows = [(profile, describe_ability(profile)) for profile in options.read_profiles(profiles)]
    if as_json:
        listed = [
            {
                "target": profile.name,
                "title": profile.title,
                "device": profile.device.model_dump(),
                "precisions": list(profile.compile.precisions),
                "highest_step": ability.highest,
                "reason": ability.reason,
                "backends": ability.backends,
            }
            for profile, ability in rows
        ]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return 0
    table = [
        (
            profile.name,
            profile.title,
            " ".join(profile.compile.precisions),
            ability.highest.value if ability.highest else "nothing",
            " ".join(("+" if here else "-") + name for name, here in ability.backends.items()),
            ability.reason,
        )
        for profile, ability in rows
    ]
    columns = ("target", "title", "precisions", "here up to", "backends (+ here, - missing)", "why")
    show.make_console().print(show.make_table(*columns, rows=table))
    return 0


@command("doctor")
def doctor(as_json: options.JsonOption = False) -> int:
    """Say what is installed, what is missing, and what to install."""
    requirements = list_requirements()
    devices = {kind: has_device(kind) for kind in DEVICE_FILES}
    compiler = shutil.which("g++") or shutil.which("c++")
    ready = all(r.version for r in requirements if r.needed) and compiler is not None
    if as_json:
        found = {
            "python": platform.python_version(),
            "packages": {r.name: r.version for r in requirements},
            "cpp_compiler": compiler,
            "devices": devices,
            "ready": ready,
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print_doctor(requirements, devices, compiler, ready)
    return exit_code({Outcome.PASSED if ready else Outcome.NOT_MEASURED})


def _print_doctor(requirements: list[Requirement], devices: dict[str, bool], compiler: str | None, ready: bool) -> None:
    rows = [("python", platform.python_version(), "everything", "")]
    rows += [(r.name, r.version or "missing", r.purpose, "" if r.version else r.advice) for r in requirements]
    rows.append(
        ("C++ compiler", compiler or "missing", "the inductor backend", "" if compiler else "your system's g++")
    )
    for kind, here in devices.items():
        rows.append((f"{kind} device", "here" if here else "none here", f"running {kind} targets", ""))
    console = show.make_console()
    console.print(show.make_table("what", "version", "for", "to install", rows=rows))
    console.print("worldport port --target cpu can run here" if ready else "worldport port cannot run here yet")
