"""The proof itself, with Python functions in place of the exported graph."""

import re
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from porting.errors import StateContractError
from porting.export.closed_loop import RunGraph, prove_contract, relative_error
from porting.export.feeds import Array, Feed
from porting.export.probe import call_module
from porting.record import StateContract
from porting.rollout import RingClock
from tests.export.small import WINDOW, Step, small_program

PROGRAM = small_program()
SPEC = PROGRAM.component("step")
Outputs = dict[str, npt.NDArray[np.float32]]


def graph_of(module: Step, change: Callable[[Outputs, int], Outputs] = lambda outputs, step: outputs) -> RunGraph:
    """A graph that computes what the module does, but for a change."""
    calls = 0

    def run(inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        nonlocal calls
        made = {name: tensor.numpy().copy() for name, tensor in call_module(module, SPEC, inputs).items()}
        for name, array in change(made, calls).items():
            outputs[name][...] = array
        calls += 1

    return run


def prove(run: RunGraph, module: Step | None = None) -> StateContract:
    return prove_contract(PROGRAM, "step", module or Step(), run, ("probed",))


def test_an_honest_graph_is_proved_through_wrap_around_sink_and_reset() -> None:
    contract = prove(graph_of(Step()))
    assert contract.states_in == contract.states_out == ("memory", "ring")
    assert contract.exercised == ("probed", "closed loop", "reset", "aliasing", "wrap-around", "sink")
    assert contract.max_relative_error == 0.0


def test_a_rounding_difference_is_reported() -> None:
    contract = prove(graph_of(Step(), lambda made, step: {**made, "frame": made["frame"] * np.float32(1.0001)}))
    assert 0.5e-4 < contract.max_relative_error < 2e-4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made, step: {**made, "frame": made["next_memory"], "next_memory": made["frame"]}, "output `frame`"),
        (lambda made, step: {**made, "new_ring": -made["new_ring"]}, "output `new_ring`"),
        (lambda made, step: {name: made[name] for name in ("frame", "new_ring")}, "output `next_memory`"),
        (lambda made, step: {**made, "frame": made["frame"] * np.float32(np.nan if step == 3 else 1)}, "at step 3 "),
        (lambda made, step: {**made, "frame": made["frame"] + (0.01 if step > WINDOW else 0)}, f"step {WINDOW + 1} "),
    ],
    ids=["swapped", "negated", "unwritten", "nan", "late"],
)
def test_another_function_is_refused_by_output_and_step(change: Callable[[Outputs, int], Outputs], words: str) -> None:
    with pytest.raises(StateContractError, match=re.escape(words)):
        prove(graph_of(Step(), change))


def test_a_module_that_remembers_more_than_it_declares_is_refused() -> None:
    honest, remembered = Step(), [torch.zeros(())]

    class Remembers(Step):
        def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
            frame, kept, new = super().forward(action, memory, age, ring)
            remembered[0] = remembered[0] + 0.02
            return frame + remembered[0] - 0.02, kept, new

    with pytest.raises(StateContractError, match=r"output `frame` .* at step 1 of the closed loop"):
        prove(graph_of(honest), Remembers())


def test_a_second_session_that_differs_is_refused() -> None:
    with pytest.raises(StateContractError, match="a session that opens with zeroed states differs"):
        prove(graph_of(Step(), lambda made, step: {**made, "frame": made["frame"] * np.float32(1 + 1e-6 * step)}))


def test_a_module_that_writes_its_input_late_is_refused() -> None:
    class WritesLate(Step):
        def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
            made = super().forward(action, memory, age, ring)
            if int(age.max()) == WINDOW - 1:
                memory.zero_()
            return made

    with pytest.raises(StateContractError, match=f"input `memory` is written in place at step {WINDOW - 1}"):
        prove(graph_of(Step()), WritesLate())


def test_slots_and_ages_are_those_of_the_rollout() -> None:
    feed, clock = Feed(PROGRAM, "step", 0), RingClock(PROGRAM.ring("clock"))
    (call,) = PROGRAM.frame
    for frame in range(4 * WINDOW):
        feed.begin_stage()
        np.testing.assert_array_equal(feed.inputs_of(call)["age"], clock.ages)
        outputs = feed.output_buffers(call)
        for array in outputs.values():
            array[...] = frame + 1
        feed.commit(call, outputs)
        assert (feed.states["ring"][:, clock.spec.slot(frame)] == frame + 1).all()
        assert feed.states["memory"].flat[0] == frame + 1
        clock.advance()


def test_what_is_not_a_number_is_no_small_error() -> None:
    bad = np.array([np.nan, 1], np.float32)
    assert not relative_error(bad, bad) <= 1.0
    assert relative_error(np.array([1]), np.array([2])) == float("inf")
    assert relative_error(np.full(1, 1e-9, np.float32), np.zeros(1, np.float32)) == pytest.approx(1e-3)
