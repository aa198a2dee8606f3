"""How fast whole rollouts were, against what, and where the time of a frame went."""

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


class Latency(Model):
    """How long an action waits for its answer. A chunk is what one run of the frame program makes."""

    closed_loop_ms: Distribution
    """From a frame's action, given as soon as the frame before was finished, to the finished frame."""
    paced_ms: Distribution
    """From a frame's release with its action to the finished frame; what a late frame before it took is in it."""
    chunk_frames: int
    """Pixel frames that are finished at once; with more than one, a rate says nothing of how soon an action shows."""
    longest_wait_ms: float
    """A chunk's period: an action that comes just after a release waits so long before its own chunk is begun."""


class Viewer(Model):
    """Someone who watches the paced frames at the promised rate, having waited for a few at the start."""

    buffer_frames: int
    """Frames in stock when the first is shown."""
    start_delay_ms: float
    """From the first frame's release until it is shown."""
    underruns: int
    """How often the next frame was not there, or was the one before."""
    stalled_ms: float
    """For how long the picture stood still in all."""


class CallSpan(Model):
    """What one stretch of a frame's time was spent on."""

    what: str
    """A component's name, or "copy" for slices written into rings and inputs taken."""
    call: int | None = None
    """Which call of the component in this frame, from 0; None for a copy."""
    start_ms: float
    """From the frame's start."""
    duration_ms: float
    gap_ms: float
    """Time of the host alone since the stretch before ended."""


class Waterfall(Model):
    """One paced frame, from its start to its end."""

    which: str
    """"median" or "worst"."""
    frame: int
    """Its number in the session."""
    frame_ms: float
    late_start_ms: float
    """From its release to its start."""
    spans: tuple[CallSpan, ...]
    tail_ms: float
    """Time of the host alone after the last stretch."""


class ComponentTime(Model):
    """Where the time of all closed-loop frames went: a component, "copy" or "host"."""

    what: str
    calls_per_frame: float
    ms_per_frame: float
    share: float
    median_ms: float | None = None
    """Of the frames' own times; the mean above has every disturbance in it."""


class Soak(Model):
    """What a long rollout came to."""

    frames: int
    slowdown: float
    """Time per frame of the rollout that is so many frames old over that of a young one: the median over rounds in
    which the two took turns, so that a machine that changes its pace over hours changes nothing here."""
    slowdown_low: float
    slowdown_high: float
    memory_slope_bytes_per_frame: float
    memory_growth_bytes: int
    """Memory in use after `frames`, less that once it had settled."""
    host_overhead_share: float
    disturbances: tuple[str, ...] = ()
    """What else the machine did meanwhile: other processes, a clock that fell or jumped. It can slow frames, and cannot
    make memory grow."""


class SessionLoad(Model):
    """So many sessions on one device at once, every one of them released at the same moments."""

    sessions: int
    frames: int
    """Of each session."""
    missed: tuple[int, ...]
    """Late or unwritten frames of each session."""
    latency_ms: Distribution | None
    """From release to finished frame, over all sessions; None when they could not be run."""
    holds: bool
    """Whether the most disturbed session missed no greater share than `max_missed_share`."""
    error: str | None = None
    """Why so many could not be run; then nothing holds."""


class Concurrency(Model):
    """How many sessions one device serves at the promised rate."""

    asked: int
    """Most sessions that were to be tried."""
    max_missed_share: float
    loads: tuple[SessionLoad, ...]
    """Every number of sessions that was tried, ascending."""
    most_that_hold: int
    """0 when not even one does; equal to `asked` it is a lower bound."""
    disturbances: tuple[str, ...] = ()
    """What else the machine did meanwhile: it can only make fewer sessions hold."""


class Energy(Model):
    """Joules a frame, from a counter that the device keeps."""

    source: str
    """Whose counter: "NVML", "AMD SMI", "RAPL", with what it covers."""
    joules_per_frame: float | None = None
    """In a closed loop. None was not measured, and `reason` says why."""
    paced_joules_per_frame: float | None = None
    """At the promised rate, the waiting in between included."""
    watts: float | None = None
    """Mean power in the closed loop."""
    reason: str = ""
    """Why a figure is missing."""


class DeviceUsed(Model):
    """The accelerator that frames were timed on, as its driver tells."""

    name: str
    architecture: str
    driver: str
    """Its version; empty where none told."""
    clock_mhz: float | None = None
    """Median under load; None where the driver does not tell."""


class ThroughputEvidence(Model):
    """Over whole rollouts, on the host named."""

    host: Host
    deadline_ms: float
    """Promised time between two pixel frames; a chunk of several has so many times as long."""
    frame_ms: Distribution
    """Time of one run of the frame program, be it a frame or a chunk of several."""
    frames_per_second: float
    """New pixel frames."""
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
    """Over the last frames that were looked at."""
    memory_after_frames: int = 0
    """Further frames driven before those, as memory still grew: a runtime fills its scratch memory once, a leak never
    ends."""
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
    latency: Latency | None = None
    viewers: tuple[Viewer, ...] = ()
    """One a size of start buffer, ascending."""
    spent: tuple[ComponentTime, ...] = ()
    waterfalls: tuple[Waterfall, ...] = ()
    soak: Soak | None = None
    """None was not asked for."""
    concurrency: Concurrency | None = None
    """None was not asked for."""
    energy: Energy | None = None
    device: DeviceUsed | None = None
    """None on a CPU, which `host` names."""
