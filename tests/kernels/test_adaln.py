"""Mutants of adaptive layer norm: each is refused on one of the kernel's own examples."""

import pytest

from tests.kernels.harness import killed

MUTANTS = {
    "dropped eps": ("tl.sqrt(variance + eps)", "tl.sqrt(variance)"),
    "eps beside the root": ("tl.sqrt(variance + eps)", "(tl.sqrt(variance) + eps)"),
    "variance not divided": (
        "variance = tl.sum(centred * centred, axis=1, keep_dims=True) / width",
        ("variance = tl.sum(centred * centred, axis=1, keep_dims=True)"),
    ),
    "sample variance": ("keep_dims=True) / width\n    normed", "keep_dims=True) / (width - 1)\n    normed"),
    "variance of uncentred values": (
        "tl.sum(centred * centred, axis=1, keep_dims=True) / width",
        "tl.sum(x * x, axis=1, keep_dims=True) / width - mean * mean",
    ),
    "mean over the block": (
        "mean = tl.sum(x, axis=1, keep_dims=True) / width",
        ("mean = tl.sum(x, axis=1, keep_dims=True) / BLOCK_WIDTH"),
    ),
    "columns beyond the width are centred": ("tl.where(inside, x - mean, 0.0)", "x - mean"),
    "one column too many": ("(token < tokens) & (column < width)", "(token < tokens) & (column <= width)"),
    "tokens are not masked": ("(token < tokens) & (column < width)", "column < width"),
    "tokens are never written": ("(token < tokens) & (column < width)", "(token < tokens - 1) & (column < width)"),
    "sums in the dtype of x": ("mask=inside, other=0.0).to(tl.float32)", "mask=inside, other=0.0)"),
    "sums in bf16": ("mask=inside, other=0.0).to(tl.float32)", "mask=inside, other=0.0).to(tl.bfloat16)"),
    "squares in fp16": ("tl.sum(centred * centred,", "tl.sum((centred * centred).to(tl.float16),"),
    "scale without 1": ("normed * (1 + scale)", "normed * scale"),
    "no shift": ("(1 + scale) + shift\n", "(1 + scale)\n"),
    "scale and shift of the first entry": ("modulation = batch * width", "modulation = 0 * batch"),
    "scale for shift": ("tl.load(shift_ptr + modulation", "tl.load(scale_ptr + modulation"),
    "entries overlap": ("(batch * tokens + token) * width", "(batch + token) * width"),
    "undefined beyond the width": ("place, mask=inside, other=0.0)", "place, mask=inside)"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("adaln", *MUTANTS[mutant])
