"""How fast whole rollouts were, and against what."""

from porting.record.made import Host
from porting.tensor_spec import Model


class Distribution(Model):
    """Frame times in ms, after warm-up."""

    frames: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


class DriverTiming(Model):
    """One way of driving the same rollout: the port, PyTorch eager, torch.compile, one backend throughout."""

    name: str
    frames_per_second: float
    frame_ms: Distribution
    ratio_to_eager: float
    """Median over interleaved rounds of eager's time over this driver's."""
    ratio_low: float
    ratio_high: float
    """Lowest and highest round."""
    rounds: int
    proved: bool | None = None
    """Whether every artifact that it ran kept the error budget on every input; None for PyTorch, the yardstick."""


class Pacing(Model):
    """How frames met the deadline."""

    frames: int
    missed: int
    longest_stall_ms: float
    """Longest time past a deadline."""
    jitter_ms: float
    """Standard deviation of the time between two finished frames."""


class ThroughputEvidence(Model):
    """Over whole rollouts, on the host named."""

    host: Host
    deadline_ms: float
    frame_ms: Distribution
    frames_per_second: float
    time_to_first_frame_ms: float
    """From the first input of a session to its first generated frame: priming included, loading not."""
    load_ms: float
    warmup_frames: int
    closed_loop: Pacing
    paced: Pacing
    drivers: tuple[DriverTiming, ...]
    memory_high_water_bytes: int
    """Most of this process in memory while the port alone was driven; whatever else the process holds is in it."""
    memory_slope_bytes_per_frame: float
    host_overhead_share: float
    """Time outside the components' own calls, as a share of frame time."""
    frames_file: str
    """Raw time of every frame, warm-up included and marked; a path relative to the bundle."""
    valid: bool
    """False when the machine was seen to be in no state to measure on; `disturbances` says how."""
    disturbances: tuple[str, ...] = ()
    unchanged_frames: int | None = None
    """Timed frames that were not written, or are the one before: frames_per_second leaves them out, pacing counts them
    as missed. None was not looked for."""
    not_run: dict[str, str] = {}
    """Drivers to compare with that could not run on this host, and why."""
