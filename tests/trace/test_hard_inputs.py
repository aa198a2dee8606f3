"""Hard inputs come from roles in the program, and which calls are kept is no accident."""

import numpy as np
import pytest

from porting.program import RingSpec
from porting.rollout.ring import RingClock
from porting.trace.hard_inputs import OLD_CLOCK, ages_at, find_roles, make_hard_inputs
from porting.trace.sampling import CallPlace, choose_calls
from tests.parity.tiny import FRAMES, trace, world_model


def hard_inputs(component: str) -> dict[str, dict[str, np.ndarray]]:
    base = [c for c in trace().calls if (c.component, c.inputs_kind) == (component, "trace")][-1]
    return dict(make_hard_inputs(world_model().program, component, base.inputs))


def test_roles_of_the_denoiser() -> None:
    roles = find_roles(world_model().program, "denoiser")
    assert roles["latent"] == roles["history"] == "value"
    assert roles["action"] == "action"
    assert roles["age"] == "age"
    assert roles["noise_level"] == roles["next_noise_level"] == "constant"
    assert roles["key_0"] == roles["value_1"] == "ring"
    assert find_roles(world_model().program, "encoder") == {"frames": "picture"}


@pytest.mark.parametrize(
    ("component", "kinds"),
    [
        ("encoder", {"constant rows", "zeros", "large values"}),
        ("decoder", {"constant rows", "zeros", "large values"}),
        (
            "denoiser",
            {
                "constant rows",
                "zeros",
                "large values",
                "one-hot action",
                "extreme action",
                "empty ring",
                "full ring with old sink",
            },
        ),
    ],
)
def test_kinds_of_hard_inputs_and_that_all_are_recorded(component: str, kinds: set[str]) -> None:
    assert hard_inputs(component).keys() == kinds
    assert {c.inputs_kind for c in trace().calls if c.component == component} == {*kinds, "trace"}


def test_what_they_hold() -> None:
    made = hard_inputs("denoiser")
    for inputs in made.values():
        assert inputs["noise_level"][0] in {np.float32(x) for x in (1.0, 0.5, 0.03)}
    assert len(np.unique(made["constant rows"]["latent"])) == 1
    assert not made["zeros"]["key_0"].any()
    assert np.abs(made["large values"]["latent"]).max() > 8
    assert made["one-hot action"]["action"].tolist() == [[1.0, 0.0]]
    assert np.abs(made["extreme action"]["action"]).min() >= 4
    assert not made["empty ring"]["age"].any()
    # A lost mask shows only where unwritten slots hold something.
    assert made["empty ring"]["key_0"].any()
    assert made["full ring with old sink"]["age"].tolist() == [OLD_CLOCK, *ages_at(RING, OLD_CLOCK)[1:]]
    frames = hard_inputs("encoder")["large values"]["frames"]
    assert set(np.unique(frames)) == {0.0, 1.0}


RING = RingSpec(name="memory", window=4, sink=1)


@pytest.mark.parametrize("ring", [RING, RingSpec(name="r", window=5, sink=0), RingSpec(name="r", window=6, sink=3)])
def test_ages_are_those_of_the_rollout(ring: RingSpec) -> None:
    clock = RingClock(ring)
    for frames in range(20):
        assert np.array_equal(ages_at(ring, frames), clock.ages)
        clock.advance()
    clock.seek(OLD_CLOCK)
    assert np.array_equal(ages_at(ring, OLD_CLOCK), clock.ages)


def test_calls_cover_priming_partly_filled_ring_wrap_around_and_every_place() -> None:
    program = world_model().program
    primed, each = 2, 3
    chosen = choose_calls(program, "denoiser", sessions=2, frames=20, samples=12)
    assert len(chosen) == 12
    assert CallPlace(0, 0) in chosen
    generated = [p for p in chosen if p.number >= primed]
    frames = {(p.number - primed) // each for p in generated}
    assert {0, 2, 4} <= frames
    assert {(p.number - primed) % each for p in generated} == {0, 1, 2}
    assert {p.session for p in chosen} == {0, 1}


@pytest.mark.parametrize("component", ["encoder", "decoder_first"])
def test_a_component_of_priming_alone_gives_what_there_is(component: str) -> None:
    chosen = choose_calls(world_model().program, component, sessions=2, frames=FRAMES, samples=12)
    assert chosen == {CallPlace(0, 0), CallPlace(1, 0)}


def test_never_more_than_asked() -> None:
    for samples in (1, 2, 5):
        assert len(choose_calls(world_model().program, "denoiser", 2, FRAMES, samples)) == samples
