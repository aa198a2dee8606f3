"""The command that plans: what a model needs and could at best reach, without running it."""

import re
from pathlib import Path
from typing import Annotated

import typer

from porting.cli import options, show
from porting.cli.app import command
from porting.errors import ProfileError, UsageError
from porting.planning import Plan, Rack, make_plan, read_model, read_racks
from porting.planning.devices import FormatPlan
from porting.planning.racks import RackPlan, Scenario, Split
from porting.profile import Profile, find_profile, find_profiles, read_profiles
from porting.report import numbers

DEFAULT_FPS = 24.0


@command("plan")
def plan(
    model: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT|CONFIG", help="Weights, a config.json, bundled:NAME or config:NAME."),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="NAME", help="Target, family or rack; repeat it. [default: all]"),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", metavar="WxH", help="Frame size. [default: the config's]")
    ] = None,
    fps: Annotated[float, typer.Option("--fps", min=0.001, help="Frames per second of a session.")] = DEFAULT_FPS,
    profiles: options.ProfilesOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Project a model's floor, memory and sessions on every target, from its config or headers alone."""
    planned = read_model(model, _read_resolution(resolution))
    devices, racks = _find_targets(target, options.profile_folders(profiles))
    found = make_plan(planned, devices, racks, fps, measure_cpu=target is not None)
    if as_json:
        show.print_json(found)
    else:
        _print_plan(found)
    return 0


def _read_resolution(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if match is None:
        raise UsageError(f"--resolution {text}: is no frame size; write it as 1280x720")
    return int(match[1]), int(match[2])


def _find_targets(
    names: list[str] | None, folders: list[Path]
) -> tuple[tuple[Profile, ...], list[tuple[Rack, Profile]]]:
    """Devices and racks of these names, or all."""
    racks = {rack.name: rack for rack in read_racks(folders)}
    if names is None:
        chosen, devices = list(racks.values()), read_profiles(folders)
    else:
        chosen = [racks[name] for name in dict.fromkeys(names) if name in racks]
        try:
            found = [p for name in names if name not in racks for p in find_profiles(name, folders)]
        except ProfileError as cause:
            raise ProfileError(f"{cause}; racks: {', '.join(racks)}") from cause
        devices = tuple({profile.name: profile for profile in found}.values())
    return devices, [(rack, find_profile(rack.target, folders)) for rack in chosen]


def _print_plan(found: Plan) -> None:
    model, console = found.model, show.make_console()
    console.print(f"PROJECTION, nothing was run: {model.name} ({model.source})")
    console.print(
        f"{model.parameters:,} parameters, {model.frame_width}x{model.frame_height},"
        f" {model.transformer.tokens:,} tokens a frame, {numbers.number(found.flops_per_frame / 1e12, 'TFLOP')} a frame"
    )
    rows = [
        (name, numbers.nbytes(found.weight_bytes[name]), numbers.nbytes(found.state_bytes_per_session[name]),
         numbers.nbytes(moved))
        for name, moved in found.bytes_per_frame.items()
    ]  # fmt: skip
    console.print(show.make_table("format", "weights", "state a session", "memory traffic a frame", rows=rows))
    parts = [
        (part.name, str(part.calls_per_frame), f"{part.parameters:,}",
         numbers.number(part.matrix_flops / 1e12, "TFLOP"),
         numbers.percent(part.attention_flops / max(1, part.matrix_flops)))
        for part in model.components
    ]  # fmt: skip
    console.print(show.make_table("component", "calls a frame", "parameters", "a call", "of it attention", rows=parts))
    lines = [(device.target, *_say_format(planned)) for device in found.devices for planned in device.formats]
    if lines:
        rate = numbers.number(found.frames_per_second)
        headings = ("target", "format", "figures", "floor", "bound by", "fps at most", "40 / 60 / 80 % of peak")
        console.print(show.make_table(*headings, f"sessions at {rate} fps", "ended by", rows=lines))
    for device in found.devices:
        if device.left_out:
            console.print(f"{device.target}: not projected: {device.left_out}")
    for rack in found.racks:
        _print_rack(rack, found.frames_per_second)
    console.print("Assumptions:")
    for line in found.assumptions:
        console.print(f"- {line}")


def _say_format(planned: FormatPlan) -> tuple[str, ...]:
    shares = " / ".join(numbers.number(fps) for fps in planned.fps_at_utilisation.values())
    return (
        planned.format,
        planned.reading,
        numbers.number(planned.floor_ms, "ms"),
        planned.bound,
        numbers.number(planned.floor_fps),
        shares,
        f"{planned.sessions:,}",
        planned.sessions_bound,
    )


def _print_rack(rack: RackPlan, fps: float) -> None:
    console = show.make_console()
    console.print(f"{rack.title} ({rack.rack}), {rack.format}: devices of {rack.devices} for {numbers.number(fps)} fps")
    rows = [_say_scenario(scenario) for scenario in (rack.nominal, *rack.sensitivity)]
    console.print(show.make_table("assuming", "devices", "split", "frame", "of it links", "fps", "fastest", rows=rows))


def _say_scenario(scenario: Scenario) -> tuple[str, ...]:
    best = f"{numbers.number(scenario.best.fps)} fps on {scenario.best.gpus} ({_say_split(scenario.best)})"
    least = scenario.smallest
    if least is None:
        return scenario.name, "none suffices", "", "", "", "", best
    times = [numbers.number(value, "ms") for value in (least.frame_ms, least.link_ms)]
    return scenario.name, str(least.gpus), _say_split(least), *times, numbers.number(least.fps), best


def _say_split(split: Split) -> str:
    return f"{split.tensor} tensor x {split.context} context"
