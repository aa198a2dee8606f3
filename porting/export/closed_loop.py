"""Proves an exported graph against its module over many frames: the graph feeds itself through the declared states.

At every call the module gets the very inputs that the graph got. If the program declares all that the module keeps, the
two agree at every step; what it does not declare is missing from the graph and shows at some step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from porting.errors import StateContractError
from porting.export.feeds import Array, Feed, calls_of, read_states, written_states
from porting.export.probe import call_module
from porting.program import Call, Program
from porting.record import StateContract

MAX_RELATIVE_ERROR = 1e-3
"""Float32 rounding in another order gives 1e-7 to 1e-5; a state that is missing gives 1e-2 and more. How exact a port
must be is parity's question; this one only tells another function from the same one."""
FRAMES_WITHOUT_RING = 6
FRAMES_PAST_WINDOW = 3
RESET_FRAMES = 2
SMALL = 1e-6
"""An output whose root mean square is below this is held against this."""
SEED = 20_26

RunGraph = Callable[[Mapping[str, Array], Mapping[str, Array]], None]
"""Fills output buffers from input buffers."""


@dataclass
class _Loop:
    """One run of the loop: what was compared, and every output of the graph and of the module."""

    program: Program
    component: str
    module: nn.Module
    run_graph: RunGraph
    worst: float = 0.0
    step: int = 0

    def run(self, frames: int) -> list[bytes]:
        """Open a session with zero states and run it; the bytes of everything that both made, call after call."""
        feed = Feed(self.program, self.component, SEED)
        prime, frame = calls_of(self.program, self.component)
        made: list[bytes] = []
        self.step = 0
        for calls in [prime, *[frame or prime] * frames]:
            feed.begin_stage()
            for call in calls:
                made += self._run_call(feed, call)
                self.step += 1
        return made

    def _run_call(self, feed: Feed, call: Call) -> list[bytes]:
        spec = self.program.component(self.component)
        inputs, outputs = feed.inputs_of(call), feed.output_buffers(call)
        self.run_graph(inputs, outputs)
        given = {name: array.copy() for name, array in inputs.items()}
        reference = {name: tensor.numpy() for name, tensor in call_module(self.module, spec, given).items()}
        for name, array in inputs.items():
            if array.tobytes() != given[name].tobytes():
                raise StateContractError(f"{self.component}: input `{name}` is written in place at step {self.step}")
        for name, expected in reference.items():
            self._compare(name, outputs[name], expected)
        made = [array.tobytes() for array in (*outputs.values(), *reference.values())]
        feed.commit(call, outputs)
        return made

    def _compare(self, name: str, found: Array, expected: Array) -> None:
        error = relative_error(found, expected)
        if not error <= MAX_RELATIVE_ERROR:  # NaN fails too
            raise StateContractError(
                f"{self.component}: output `{name}` of the exported graph is off by {error:.3g} (relative) at step"
                f" {self.step} of the closed loop, over {MAX_RELATIVE_ERROR:g}; if the module keeps something between"
                " calls, declare it as a state; if not, the exporter miscompiled it"
            )
        self.worst = max(self.worst, error)


def prove_contract(
    program: Program,
    component: str,
    module: nn.Module,
    run_graph: RunGraph,
    also_exercised: tuple[str, ...],
    frames: int | None = None,
) -> StateContract:
    """Run graph and module in closed loop, through wrap-around and eviction, then again from zeroed states.

    Args:
        program: declares the states.
        component: which component.
        module: the reference; called once for every call of the graph.
        run_graph: the exported graph.
        also_exercised: what was proved before, for the record.
        frames: enough to pass the wrap-around by default; fewer for another form of a program that has passed it.

    Raises:
        StateContractError: an output differs at some step, or a second session differs from the first.
    """
    states_in, states_out = read_states(program, component), written_states(program, component)
    touched = [program.state(name) for name in states_in | states_out]
    rings = [program.ring(name) for name in {state.ring for state in touched if state.ring is not None}]
    past_wrap = max([FRAMES_WITHOUT_RING, *(ring.window + FRAMES_PAST_WINDOW for ring in rings)])
    loop = _Loop(program, component, module, run_graph)
    first = loop.run(past_wrap if frames is None else frames)
    again = loop.run(RESET_FRAMES)
    if not again or first[: len(again)] != again:
        raise StateContractError(
            f"{component}: a session that opens with zeroed states differs from the first one;"
            " something is kept besides the declared states: declare it"
        )
    exercised = [*also_exercised, "closed loop", "reset", "aliasing"]
    if rings and (frames is None or frames >= past_wrap):
        exercised += ["wrap-around", *(["sink"] if any(ring.sink for ring in rings) else [])]
    return StateContract(
        states_in=tuple(s.tensor.name for s in program.states if s.tensor.name in states_in),
        states_out=tuple(s.tensor.name for s in program.states if s.tensor.name in states_out),
        exercised=tuple(exercised),
        max_relative_error=loop.worst,
    )


def relative_error(found: Array, expected: Array) -> float:
    """|found - expected| / |expected|, Frobenius; infinite where whole numbers differ, NaN where any is not finite."""
    if found.dtype.kind != "f":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    difference = float(np.linalg.norm(found.astype(np.float64) - expected.astype(np.float64)))
    size = float(np.linalg.norm(expected.astype(np.float64)))
    if difference == 0.0:
        return 0.0
    return difference / max(size, SMALL * float(np.sqrt(expected.size)))
