import pytest
from pydantic import ValidationError

from porting.adapters.gwm.config import MINI
from porting.adapters.gwm.world_model import build_program
from porting.program import Program, RingSpec


@pytest.fixture(scope="module")
def table() -> dict:  # type: ignore[type-arg]
    return build_program(MINI).model_dump(mode="json")


def test_a_program_survives_json() -> None:
    program = build_program(MINI)
    assert Program.model_validate_json(program.model_dump_json()) == program


@pytest.mark.parametrize(("window", "sink"), [(4, 0), (5, 1), (6, 3)])
def test_ring_slots_keep_the_sink_and_the_latest_frames(window: int, sink: int) -> None:
    ring = RingSpec(name="memory", window=window, sink=sink)
    slots: dict[int, int] = {}
    for frame in range(40):
        slots[ring.slot(frame)] = frame
        kept = sorted(slots.values())
        latest = max(0, frame + 1 - (window - sink))
        assert kept == sorted({*range(min(sink, frame + 1)), *range(max(sink, latest), frame + 1)})


def broken(table: dict, edit) -> dict:  # type: ignore[type-arg,no-untyped-def]
    import copy

    edited = copy.deepcopy(table)
    edit(edited)
    return edited


BREAKS = {
    "no such component": lambda t: t["frame"][0].update(component="denoizer"),
    "needs latent": lambda t: t["frame"][0]["inputs"].update(latent={"kind": "input", "name": "action"}),
    "are not the component's": lambda t: t["frame"][0]["inputs"].pop("age"),
    "no such value 'latent_9'": lambda t: t["frame"][1]["inputs"].update(latent={"kind": "value", "name": "latent_9"}),
    "does not exist while priming": lambda t: t["prime"][1]["inputs"].update(
        action={"kind": "input", "name": "action"}
    ),
    "no such state": lambda t: t["frame"][-1]["outputs"].update(next_cache_0={"kind": "state", "name": "cache_x"}),
    "does not fit state": lambda t: t["frame"][-1]["outputs"].update(next_cache_0={"kind": "state", "name": "cache_1"}),
    "but not \\['value_2'\\]": lambda t: t["frame"][-2]["outputs"].pop("new_value_2"),
    "has no frame 4": lambda t: t["prime"][1]["inputs"]["latent"].update(at=4),
    "makes 'frame'": lambda t: t["frame"][-1]["outputs"].pop("frame"),
    "declared twice": lambda t: t["states"].append(t["states"][0]),
    "is not the window": lambda t: t["states"][1].update(slot_axis=1),
    "no declared ring": lambda t: t["states"][1].update(ring="memories"),
    "has no output": lambda t: t["frame"][-1]["outputs"].update(frame_2={"kind": "value", "name": "x"}),
    "fills window": lambda t: t["rings"][0].update(sink=8),
    "needs `ring`": lambda t: t["states"][1].update(slot_axis=None),
}


@pytest.mark.parametrize("complaint", BREAKS)
def test_a_program_that_could_not_run_is_refused(table: dict, complaint: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValidationError, match=complaint):
        Program.model_validate(broken(table, BREAKS[complaint]))
