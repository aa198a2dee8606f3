"""What the hardware would allow: the work of a frame, the peaks that it is held against, and the floor that follows."""

from typing import Literal

from pydantic import Field

from porting.tensor_spec import Model

Bound = Literal["compute", "memory"]
FrameBound = Literal["compute", "memory", "copies"]


class ComponentWork(Model):
    """What one call of a component computes and moves, counted from its graph."""

    component: str
    calls_per_frame: int
    matrix_flops: int
    """Products and sums of matrix products, convolutions and attention: two a multiplication."""
    vector_flops: int
    """Everything else, one an element and elementary operation."""
    weight_bytes: int
    """Constants that the graph reads, each once; of a table that is only looked up, the rows taken."""
    input_bytes: int
    output_bytes: int
    copy_bytes: int
    """Read and written by operators that only move data (Concat, Transpose, Slice ...), where none of them is fused."""
    unfused_bytes: int
    """Read and written when every operator fetches its inputs and stores its outputs: what no fusion would cost."""
    operators: dict[str, int]
    """How many of each operator were counted."""
    convolution_flops: int = 0
    """Of the matrix products, those of convolutions over windows: Winograd's way makes fewer of them."""
    uncounted: dict[str, int] = {}
    """Operators whose work is not known here, with how many there are; the counts are too low by theirs."""

    @property
    def flops(self) -> int:
        """All of a call."""
        return self.matrix_flops + self.vector_flops

    @property
    def compulsory_bytes(self) -> int:
        """What a call must read and write even when everything between is kept on chip."""
        return self.weight_bytes + self.input_bytes + self.output_bytes


class FrameWork(Model):
    """The work of one frame: every call of the frame program, and what the host copies between them."""

    components: tuple[ComponentWork, ...]
    ring_bytes: int
    """Read and written by the host to put new slices into the rings' slots."""
    replaced_bytes: int
    """Size of the states that a frame replaces; buffers swap places, so nothing is copied."""
    input_bytes: int
    """Read and written by the host to take the frame's inputs."""
    state_bytes: int
    """One session's states, one copy of each."""

    @property
    def flops(self) -> int:
        """All calls of a frame."""
        return sum(work.calls_per_frame * work.flops for work in self.components)

    @property
    def matrix_flops(self) -> int:
        """All calls of a frame."""
        return sum(work.calls_per_frame * work.matrix_flops for work in self.components)

    @property
    def compulsory_bytes(self) -> int:
        """All calls of a frame, and the host's copies."""
        called = sum(work.calls_per_frame * work.compulsory_bytes for work in self.components)
        return called + self.ring_bytes + self.input_bytes

    @property
    def uncounted(self) -> dict[str, int]:
        """Operators that no component's count contains."""
        found: dict[str, int] = {}
        for work in self.components:
            for name, amount in work.uncounted.items():
                found[name] = found.get(name, 0) + amount
        return found


class Bandwidth(Model):
    """How fast memory is for a working set of some size."""

    working_set_bytes: int = Field(ge=0)
    bytes_per_second: float = Field(gt=0)


class Peaks(Model):
    """What a device can do at most, and how that is known."""

    name: str
    matrix_flops_per_second: float = Field(gt=0)
    bandwidths: tuple[Bandwidth, ...] = Field(min_length=1)
    """By rising working set; data that fits in a cache is read at the cache's rate."""
    shared_units: bool
    """Whether the units that multiply matrices do all other arithmetic too, as a CPU's: then their times add up."""
    projected: bool
    """False when measured on the host that the frames were timed on."""
    source: str

    def bandwidth(self, working_set_bytes: int) -> float:
        """Bytes per second for a working set: the rate at the largest size measured that is no larger."""
        rates = [point.bytes_per_second for point in self.bandwidths if point.working_set_bytes <= working_set_bytes]
        return rates[-1] if rates else self.bandwidths[0].bytes_per_second


class ComponentFloor(Model):
    """The least time that a component's calls of one frame can take."""

    component: str
    calls_per_frame: int
    compute_ms: float
    memory_ms: float
    bound: Bound
    measured_ms: float | None = None
    """Its calls of a median frame; None was not measured."""
    impossible_ms: float = 0.0
    """A time below this was not measured right, or is not that of all the work; every doubt about the floor is in
    it."""

    @property
    def floor_ms(self) -> float:
        """Whichever takes longer; computing and fetching overlap at best."""
        return max(self.compute_ms, self.memory_ms)

    @property
    def achieved(self) -> float | None:
        """Share of the limit that was reached: the floor over the measured time."""
        return None if self.measured_ms is None else self.floor_ms / self.measured_ms

    @property
    def is_impossible(self) -> bool:
        """Whether the measured time cannot be that of all the work; False where nothing was measured."""
        return self.measured_ms is not None and not self.measured_ms >= self.impossible_ms


class CalibrationSample(Model):
    """One timed repetition of a calibration."""

    what: Literal["matmul", "copy"]
    size: int
    """Side of the square matrices, or bytes read and written by the copy."""
    seconds: float


class Calibration(Model):
    """What this host does at most, measured just now."""

    threads: int
    peaks: Peaks
    samples: tuple[CalibrationSample, ...]
    disturbances: tuple[str, ...] = ()
    """What else the machine did meanwhile: it can only make the peaks too low."""


class OperatorTime(Model):
    """One operator of the code that runs, as the runtime's own profiler tells."""

    name: str
    kind: str
    """As the runtime calls it: "FusedConv", "aten::addmm"."""
    ms: float
    """Of one call of the component, all its runs together: the median call."""
    share: float
    """Of the call's time."""
    floor_ms: float | None = None
    """The least that it can take on the same peaks; None where the runtime does not tell what it computes."""

    @property
    def achieved(self) -> float | None:
        """The operator's floor over its time."""
        return None if self.floor_ms is None or self.ms <= 0 else self.floor_ms / self.ms


class ComponentProfile(Model):
    """Where the time of one call of a component's chosen artifact goes."""

    component: str
    backend: str
    source: str = ""
    """Whose profiler."""
    call_ms: float | None = None
    """A median call without the profiler."""
    calls: int = 0
    """That were profiled."""
    operators: tuple[OperatorTime, ...] = ()
    """Those that took most, descending."""
    others_ms: float = 0.0
    """All further operators together."""
    reason: str = ""
    """Why there is no profile, or what it does not see."""


class FrameLimit(Model):
    """A frame's floor on some peaks, beside what was measured."""

    work: FrameWork
    peaks: Peaks
    components: tuple[ComponentFloor, ...]
    copy_ms: float
    """The host's copies of slices and inputs."""
    measured_ms: float | None = None
    """A median frame."""
    incomplete: dict[str, int] = {}
    """Operators that are in no count: the true floor is higher."""
    calibration: Calibration | None = None
    """How the peaks were measured; None where they are a profile's."""
    assumptions: tuple[str, ...] = ()
    """What is taken for granted, in words."""
    profiles: tuple[ComponentProfile, ...] = ()
    """What the time of the components that a frame calls is spent on, where it ran here."""

    @property
    def floor_ms(self) -> float:
        """Components run one after the other, so their floors add up."""
        return sum(floor.floor_ms for floor in self.components) + self.copy_ms

    @property
    def floor_fps(self) -> float:
        """Frames per second that nothing can exceed on these peaks."""
        return 1000.0 / self.floor_ms

    @property
    def bound(self) -> FrameBound:
        """What most of the floor is made of."""
        parts: dict[FrameBound, float] = {"compute": 0.0, "memory": 0.0, "copies": self.copy_ms}
        for floor in self.components:
            parts[floor.bound] += floor.floor_ms
        return max(parts, key=lambda part: parts[part])

    @property
    def achieved(self) -> float | None:
        """The frame's floor over its measured time."""
        return None if self.measured_ms is None else self.floor_ms / self.measured_ms
