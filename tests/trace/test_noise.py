"""PyTorch's own noise widens the yardstick by what rounding does, and by nothing else."""

import dataclasses

import numpy as np
import pytest

from porting.errors import TraceError
from porting.runners.eager import TorchRunner
from porting.trace.metrics import Array, is_float
from porting.trace.noise import add_noise
from porting.trace.recorder import record_trace
from tests.parity.tiny import trace, world_model


def test_more_members_never_make_the_yardstick_shorter() -> None:
    one, four = (record_trace(world_model(), 1, 2, "fp32", 0, component_samples=2, envelope_members=n) for n in (1, 4))
    pairs = [(a.error_eager, b.error_eager) for a, b in zip(one.calls, four.calls, strict=True)]
    pairs += [
        (a.error_eager, b.error_eager) for a, b in zip(one.sessions[0].frames, four.sessions[0].frames, strict=True)
    ]
    assert all(wide[name] >= narrow[name] for narrow, wide in pairs for name in narrow)
    assert any(wide[name] > narrow[name] for narrow, wide in pairs for name in narrow)
    assert four.sessions[0].envelope_psnr_db.shape == (4, 2)


def test_the_yardstick_stays_at_the_size_of_rounding() -> None:
    bare = dataclasses.replace(
        trace(),
        calls=tuple(
            dataclasses.replace(c, error_eager={n: e and 1e-12 for n, e in c.error_eager.items()})
            for c in trace().calls
        ),
    )
    widened = add_noise(bare, world_model(), seed=5, members=2)
    errors = [e for c in widened.calls for e in c.error_eager.values() if c.inputs_kind == "trace"]
    copies = [e for c in widened.calls for n, e in c.error_eager.items() if n == "next_history"]
    assert copies
    assert set(copies) == {0.0}
    assert 1e-8 < max(errors) < 1e-4


def test_what_a_member_cannot_compute_is_no_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(array: Array, *_: object) -> Array:
        return np.full_like(array, np.nan) if is_float(array) else array

    monkeypatch.setattr("porting.trace.noise.change_last_bits", spoil)
    with pytest.raises(TraceError, match="session 0: free-running PyTorch is not finite"):
        add_noise(trace(), world_model(), seed=0, members=1)
    calls_alone = add_noise(dataclasses.replace(trace(), sessions=()), world_model(), seed=0, members=1)
    assert [c.error_eager for c in calls_alone.calls] == [c.error_eager for c in trace().calls]


def test_weights_are_changed_in_the_runners_copy_alone() -> None:
    model = world_model()
    spec = model.program.component("decoder")
    before = {name: p.clone() for name, p in model.modules["decoder"].named_parameters()}
    runner = TorchRunner(model.modules["decoder"], spec, compute="bf16")
    seen: list[str] = []

    def zero(
        array: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        seen.append(array.dtype.name)
        return np.zeros_like(array)

    runner.change_weights(zero)
    assert set(seen) == {"bfloat16"}
    assert len(seen) >= len(before)
    assert all(before[name].equal(p) for name, p in model.modules["decoder"].named_parameters())
