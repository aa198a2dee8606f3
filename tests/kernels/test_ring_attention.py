"""Attention over the ring: equal to the bundled model's own, whatever lies in slots not written, and its mutants."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from porting.adapters.gwm.config import MINI
from porting.adapters.gwm.denoiser import Past, RotaryAngles
from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["ring_attention"])
WINDOW, SINK, TOKENS = MINI.denoiser.window, MINI.denoiser.sink, MINI.tokens_per_frame
SHAPE = (MINI.denoiser.heads, TOKENS, MINI.denoiser.head_width)


def session(written: int, batch: int = 1) -> tuple[Tensor, ...]:
    """Query, key, value, rings and ages after that many frames; slots that were not written are zero."""
    torch.manual_seed(written)
    query, key, value = torch.randn(3, batch, *SHAPE).unbind(0)
    rings = torch.randn(2, batch, SHAPE[0], WINDOW, *SHAPE[1:])
    age = torch.zeros(WINDOW, dtype=torch.int64)
    for frame in range(max(0, written - 2 * WINDOW), written):
        age[SINK + (frame - SINK) % (WINDOW - SINK)] = written - frame
    age[:SINK] = torch.tensor([max(0, written - frame) for frame in range(SINK)])
    rings[:, :, :, age == 0] = 0
    return query.contiguous(), key.contiguous(), value.contiguous(), *(x.contiguous() for x in rings.unbind(0)), age


def attend_as_gwm(query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor, age: Tensor) -> Tensor:
    """What `RingAttention` of the bundled model does between its projections."""
    past = Past(MINI, age, (keys, values))
    turned = RotaryAngles(MINI).turn_back_in_time(past.keys[0], past.age)
    return F.scaled_dot_product_attention(
        query,
        torch.cat([turned.flatten(2, 3), key], dim=2),
        torch.cat([past.values[0].flatten(2, 3), value], dim=2),
        attn_mask=past.mask,
    )


def run(*tensors: Tensor) -> Tensor:
    angles = RotaryAngles(MINI)
    (out,) = launched(KERNEL, (*tensors, angles.age_cos, angles.age_sin, SINK))
    return out


@pytest.mark.parametrize("written", [0, 1, 5, WINDOW, WINDOW + 1, 1_000_000])
def test_it_is_the_attention_of_the_bundled_denoiser(written: int) -> None:
    tensors = session(written, batch=2)
    angles = RotaryAngles(MINI)
    expected = attend_as_gwm(*tensors)
    torch.testing.assert_close(run(*tensors), expected, rtol=1e-5, atol=2e-6)
    made = KERNEL.reference(*tensors, angles.age_cos, angles.age_sin, SINK)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("written", [0, 3])
def test_what_lies_in_a_slot_that_was_not_written_is_never_read(written: int) -> None:
    query, key, value, keys, values, age = session(written)
    expected = run(query, key, value, keys, values, age)
    for ring in (keys, values):
        ring[:, :, age == 0] = torch.nan
    assert torch.equal(run(query, key, value, keys, values, age), expected)


def test_the_first_frame_of_a_session_sees_itself_alone() -> None:
    query, key, value, keys, values, age = session(0)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(run(query, key, value, keys, values, age), expected, rtol=1e-5, atol=2e-6)


def test_a_sink_grows_no_older_than_the_place_before_the_ring() -> None:
    tensors = session(1_000_000)
    assert torch.equal(run(*tensors[:-1], tensors[-1].clamp(max=WINDOW)), run(*tensors))


def test_large_scores_neither_overflow_nor_vanish() -> None:
    query, key, value, keys, values, age = (x.half() if x.is_floating_point() else x for x in session(3))
    out = run(query * 100, key * 100, value, keys * 100, values, age)
    assert torch.isfinite(out).all()
    # Each row is all but the value of one key.
    pool = torch.cat([values.flatten(2, 3), value], dim=2)
    assert torch.cdist(out.float(), pool.float()).amin(dim=-1).median() < 1e-2


@pytest.mark.parametrize(
    ("index", "change", "words"),
    [
        (1, lambda x: x[:, :, :-1].contiguous(), "key is "),
        (3, lambda x: x[:, :, :-1].contiguous(), "ring_keys is "),
        (4, lambda x: x.double(), "must have the query's dtype"),
        (5, lambda x: x.int(), "age is torch.int32"),
        (6, lambda x: x[:-1], "age_cos is "),
        (7, lambda x: x.T.contiguous().T, "not contiguous"),
        (8, lambda x: WINDOW + 1, "the ring has 8 slots"),
    ],
)
def test_what_does_not_fit_is_refused(index: int, change: Any, words: str) -> None:
    angles = RotaryAngles(MINI)
    inputs: list[Any] = [*session(3), angles.age_cos, angles.age_sin, SINK]
    inputs[index] = change(inputs[index])
    with pytest.raises(ValueError, match=words):
        KERNEL.launch(*inputs)


def test_more_pairs_than_a_head_has_are_refused() -> None:
    table = torch.ones(WINDOW + 1, SHAPE[2] // 2 + 1)
    with pytest.raises(ValueError, match="has 1 to 16"):
        KERNEL.launch(*session(3), table, table, SINK)


MUTANTS = {
    "sinks grow old for ever": ("tl.where(slot < sink, window - slot, window)", "window"),
    "sinks stop a place too near": ("tl.where(slot < sink, window - slot,", "tl.where(slot < sink, window - slot - 1,"),
    "one sink too few": ("tl.where(slot < sink,", "tl.where(slot < sink - 1,"),
    "every slot is a sink": ("tl.where(slot < sink,", "tl.where(slot < window,"),
    "ages are one too low": ("tl.maximum(age, 0) *", "tl.maximum(age - 1, 0) *"),
    "slots that were not written are seen": ("own | (age > 0)", "own | (age >= 0)"),
    "the newest slot is not seen": ("own | (age > 0)", "own | (age > 1)"),
    "the frame does not see itself": ("own | (age > 0)", "(age > 0) & (slot < window)"),
    "the ring begins at its second slot": ("range(0, window + 1)", "range(1, window + 1)"),
    "the ring is one slot shorter": ("age > 0), tokens", "(age > 0) & (slot < window - 1)), tokens"),
    "slots of another head": ("past = (head * window + slot)", "past = (head * (window - 1) + slot)"),
    "the first head's queries": ("query_ptr += frame", "query_ptr += 0"),
    "the frame itself is turned": ("tl.where(own, 0, TURNED)", "TURNED"),
    "turned forward in time": ("tl.where(real, -sin, sin)", "tl.where(real, sin, -sin)"),
    "neighbours are pairs": ("tl.where(real, column + TURNED // 2, column - TURNED // 2)", "column ^ 1"),
    "angles of the other half": ("tl.where(real, column, column - TURNED // 2)", "column // 2"),
    "half of the angles": ("column < tl.where(own, 0, TURNED)", "column < tl.where(own, 0, TURNED // 2)"),
    "keys' columns of space are left out": ("scores = tl.dot(rest,", "scores = tl.dot(rest * 0,"),
    "keys' columns of time are left out": ("scores = tl.dot(turned,", "scores = tl.dot(turned * 0,"),
    "scores without their scale": ("LOG2_E / math.sqrt(width)", "LOG2_E"),
    "powers of two": ("LOG2_E / math.sqrt(width)", "1 / math.sqrt(width)"),
    "a new maximum leaves the output": ("out * rescale[:, None]", "out"),
    "a new maximum leaves the sum": ("mass * rescale", "mass"),
    "the maximum is forgotten": ("return out, new_peak, mass", "return out, peak, mass"),
    "only the last keys count": ("out * rescale[:, None]", "out * 0"),
    "not divided by the sum": ("out /= mass[:, None]", "out /= 1"),
    "sums in bf16": ("out * rescale[:, None]", "(out * rescale[:, None]).to(tl.bfloat16).to(tl.float32)"),
    "scores in bf16": ("tl.exp2(scores * scale", "tl.exp2(scores.to(tl.bfloat16).to(tl.float32) * scale"),
    "scores in tf32": ('tl.trans(keys), scores, input_precision="ieee"', "tl.trans(keys), scores"),
    "output in tf32": ('out * rescale[:, None], input_precision="ieee"', "out * rescale[:, None]"),
    "one key after the last": ("(key < tokens)[None, :], scores,", "(key <= tokens)[None, :], scores,"),
    "keys after the last score 0": ('scores, float("-inf"))', "scores, 0.0)"),
    "the slot's last keys are left out": ("if not EVEN:", "if EVEN:"),
    "whole tiles twice": ("tl.range(whole, end,", "tl.range(0, end,"),
    "rows after the last are written": (
        "(row < tokens)[:, None] & (column < WIDTH)[None, :]\n    out",
        "(row < row + 1)[:, None] & (column < WIDTH)[None, :]\n    out",
    ),
    "columns after the last are written": (
        "(row < tokens)[:, None] & (column < WIDTH)[None, :]\n    out",
        "(row < tokens)[:, None] & (column < BLOCK_WIDTH)[None, :]\n    out",
    ),
    "values of the keys": ("ring_values_ptr + past)", "ring_keys_ptr + past)"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("ring_attention", *MUTANTS[mutant])
