"""One plan: a model on devices and racks, and everything that it assumes."""

from collections.abc import Callable, Iterable, Mapping

import psutil

from porting.host import available_cores
from porting.planning.devices import DevicePlan, plan_device, plan_format
from porting.planning.racks import Rack, RackPlan, plan_rack
from porting.planning.work import PlannedModel
from porting.profile import Profile
from porting.record.limit import Calibration
from porting.roofline import calibrate_host
from porting.tensor_spec import Model

ASSUMPTIONS = (
    "A floor: arithmetic and fetching overlap perfectly, no launch, host or synchronisation costs anything.",
    "Work is that of the config's formulas: products of matrices, convolutions and attention over the whole window,"
    " as written (no sparsity, no Winograd); all else in a graph costs nothing.",
    "Each call reads its weights and its state from the device's memory and writes its outputs once;"
    " nothing between reaches memory. As much as the last cache holds is taken off each call.",
    "Everything runs in the format named, attention included; states, inputs and outputs are kept in 16 bits or more.",
    "A conservative reading takes the smallest of every disputed figure, an optimistic one the largest.",
    "Sessions on one device run batched in the same calls; weights, states and spare buffers of replaced states fill"
    " its memory, and nothing else does.",
)
RACK_ASSUMPTIONS = (
    "Rack: nominally 60 % of the conservative peak, full memory bandwidth; communication never overlaps arithmetic.",
    "All-reduce over t devices, twice a layer: base + 2 (t - 1) step + 2 (t - 1) / t x activations / B, a ring.",
    "All-to-all over c devices, twice a layer: base + step + (c - 1) / c x moved / B; heads divide by t x c.",
    "B is half of one device's share of the rack's links: one direction.",
    "The decoder divides the picture over all devices; edges that neighbours exchange are free, its weights are"
    " repeated.",
    "Base and step latency: NCCL's tuning model for NVLink; no measurement on any of these racks.",
)


class Plan(Model):
    """What a model needs and could at best reach."""

    label: str = "projection"
    """Nothing here was run; what was measured of this host says so itself."""
    model: PlannedModel
    flops_per_frame: int
    bytes_per_frame: dict[str, float]
    """Format -> compulsory traffic of a frame."""
    weight_bytes: dict[str, float]
    state_bytes_per_session: dict[str, float]
    frames_per_second: float
    devices: tuple[DevicePlan, ...]
    racks: tuple[RackPlan, ...]
    assumptions: tuple[str, ...]


def make_plan(
    model: PlannedModel,
    profiles: Iterable[Profile],
    racks: Mapping[Rack, Profile] | Iterable[tuple[Rack, Profile]],
    fps: float,
    measure_cpu: bool = False,
    calibrate: Callable[[int], Calibration] = calibrate_host,
) -> Plan:
    """A model on every target given.

    Args:
        model: from `read_model`.
        profiles: devices.
        racks: each with the profile of one of its devices.
        fps: what a session is promised.
        measure_cpu: measure this host's peaks for a CPU target, whose profile gives none; takes a second or two.
        calibrate: how that is measured.

    Raises:
        RunnerError: this host could not be measured.
    """
    devices = tuple(
        _plan_host(model, profile, fps, calibrate)
        if measure_cpu and profile.device.kind == "cpu"
        else plan_device(model, profile, fps)
        for profile in profiles
    )
    pairs = racks.items() if isinstance(racks, Mapping) else racks
    racked = tuple(plan for rack, profile in pairs for plan in plan_rack(model, rack, profile, fps))
    formats = ("fp32", "bf16", "fp8", "nvfp4", "mxfp4")
    return Plan(
        model=model,
        flops_per_frame=model.flops_per_frame,
        bytes_per_frame={name: model.bytes_per_frame(name) for name in formats},  # type: ignore[arg-type]
        weight_bytes={name: model.weight_bytes(name) for name in formats},  # type: ignore[arg-type]
        state_bytes_per_session={name: model.state_bytes(name) for name in formats},  # type: ignore[arg-type]
        frames_per_second=fps,
        devices=devices,
        racks=racked,
        assumptions=ASSUMPTIONS + RACK_ASSUMPTIONS * bool(racked),
    )


def _plan_host(
    model: PlannedModel, profile: Profile, fps: float, calibrate: Callable[[int], Calibration]
) -> DevicePlan:
    """This host's CPU on its measured peaks; its cache is in the measured bandwidths already."""
    peaks = calibrate(available_cores()).peaks
    memory = int(psutil.virtual_memory().total)
    planned = plan_format(model, "fp32", peaks, memory, 0.0, fps, "measured on this host")
    return DevicePlan(target=profile.name, title=profile.title, formats=(planned,), measured_peaks=peaks)
