"""A clock that moves when it is told to, a runner that takes as long as it is told to, and a world of one number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from porting.profile import ThroughputBudget
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.runners.base import BoundCall, Buffer
from porting.tensor_spec import TensorSpec
from porting.throughput.clock import Instruments
from porting.trace.data import Trace, TracedCall, TracedSession


@dataclass
class FakeClock:
    """Seconds that pass only in `advance` and `wait_until`; in a `jump` they pass on this clock alone."""

    seconds: float = 100.0
    jumped: float = 0.0

    def now(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    def jump(self, seconds: float) -> None:
        self.seconds += seconds
        self.jumped += seconds

    def reference(self) -> float:
        return self.seconds - self.jumped

    def wait_until(self, moment: float) -> None:
        self.seconds = max(self.seconds, moment)


class QuietWatch:
    def __init__(self, sentences: tuple[str, ...] = ()) -> None:
        self.sentences = sentences

    def sample(self) -> None:
        pass

    def disturbances(self) -> tuple[str, ...]:
        return self.sentences


@dataclass
class FakeRunner:
    """Adds the action to the state and shows the sum; `before` is called with the number of the call."""

    before: Callable[[int], None]
    writes: Callable[[int], bool] = lambda call: True
    backend: str = "fake"
    calls: int = 0
    closed: bool = False

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        def call() -> None:
            number, self.calls = self.calls, self.calls + 1
            self.before(number)
            if self.writes(number):
                outputs["next_memory"][...] = inputs["memory"] + inputs["action"]
                outputs["frame"][...] = outputs["next_memory"][0, 0] % 1.0

        return call

    def close(self) -> None:
        self.closed = True


@dataclass
class Bench:
    """Everything that a measurement takes."""

    program: Program
    trace: Trace
    clock: FakeClock
    budget: ThroughputBudget
    resident: list[int] = field(default_factory=lambda: [10**9])
    watch: QuietWatch = field(default_factory=QuietWatch)

    @property
    def instruments(self) -> Instruments:
        return Instruments(self.clock, lambda: self.resident[0], lambda threads: self.watch, self.clock.reference)

    def runner(self, *ms: float, writes: Callable[[int], bool] = lambda call: True) -> FakeRunner:
        """Call k takes ms[k % len(ms)]."""
        return FakeRunner(lambda call: self.clock.advance(ms[call % len(ms)] / 1e3), writes)

    def driver(self, *ms: float) -> Callable[[], Mapping[str, FakeRunner]]:
        return lambda: {"world": self.runner(*ms)}


def make_bench() -> Bench:
    """A world whose state is a running sum of actions, and a trace of seven frames."""
    clock = FakeClock()
    memory, action = (TensorSpec(name=n, shape=(1, 1), dtype="float32") for n in ("memory", "action"))
    frame = TensorSpec(name="frame", shape=(1, 3, 4, 4), dtype="float32")
    next_memory = TensorSpec(name="next_memory", shape=(1, 1), dtype="float32")
    world = ComponentSpec(name="world", inputs=(memory, action), outputs=(next_memory, frame))
    program = Program(
        components=(world,),
        inputs=(InputSpec(tensor=action, scope="frame", kind="action"),),
        rings=(RingSpec(name="window", window=5, sink=1),),
        states=(StateSpec(tensor=memory, update="replace"),),
        prime=(),
        frame=(
            Call(
                component="world",
                inputs={"memory": Source(kind="state", name="memory"), "action": Source(kind="input", name="action")},
                outputs={
                    "next_memory": Sink(kind="state", name="memory"),
                    "frame": Sink(kind="value", name="frame"),
                },
            ),
        ),
    )
    actions = np.linspace(0.1, 0.3, 7, dtype=np.float32).reshape(7, 1, 1)
    empty = np.zeros((0, 0))
    session = TracedSession({}, {"action": actions}, {}, 0, (), empty, empty)
    call = TracedCall("world", "trace", {"memory": actions[0], "action": actions[1]}, {}, {})
    budget = ThroughputBudget(
        frames_per_second=24.0,
        max_missed_share=0.01,
        max_memory_slope_bytes_per_frame=256.0,
        timed_frames=240,
        paced_frames=72,
    )
    return Bench(program, Trace((session,), (call,)), clock, budget)
