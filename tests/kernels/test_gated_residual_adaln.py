"""Mutants of the gated residual with adaptive layer norm: each is refused on one of the kernel's own examples."""

import pytest
import torch

from porting.kernel_library import find_kernels
from tests.kernels.harness import killed, launched, seeded_inputs

STREAM = "stream = x + (1 + gate) * branch\n    tl.store"

MUTANTS = {
    "gate without 1": (STREAM, "stream = x + gate * branch\n    tl.store"),
    "no gate": (STREAM, "stream = x + branch\n    tl.store"),
    "no residual": (STREAM, "stream = (1 + gate) * branch\n    tl.store"),
    "gated residual": (STREAM, "stream = (1 + gate) * (x + branch)\n    tl.store"),
    "norm of x": ("mean = tl.sum(stream,", "mean = tl.sum(x,"),
    "norm of the rounded stream": (
        "    mean = tl.sum(stream,",
        "    stream = stream.to(tl.bfloat16).to(tl.float32)\n    mean = tl.sum(stream,",
    ),
    "dropped eps": ("tl.sqrt(variance + eps)", "tl.sqrt(variance)"),
    "variance of uncentred values": (
        "tl.sum(centred * centred, axis=1, keep_dims=True) / width",
        "tl.sum(stream * stream, axis=1, keep_dims=True) / width - mean * mean",
    ),
    "columns beyond the width are centred": ("tl.where(inside, stream - mean, 0.0)", "stream - mean"),
    "one column too many": ("(token < tokens) & (column < width)", "(token < tokens) & (column <= width)"),
    "tokens are not masked": ("(token < tokens) & (column < width)", "column < width"),
    "stream in bf16": (STREAM, "stream = (x + (1 + gate) * branch).to(tl.bfloat16).to(tl.float32)\n    tl.store"),
    "the gate of the first entry": ("tl.load(gate_ptr + modulation", "tl.load(gate_ptr + column"),
    "gate for scale": ("tl.load(scale_ptr + modulation", "tl.load(gate_ptr + modulation"),
    "scale without 1": ("normed * (1 + scale)", "normed * scale"),
    "stream is never written": ("tl.store(stream_ptr + place, stream.to(", "tl.store(y_ptr + place, stream.to("),
    "x is overwritten": ("tl.store(stream_ptr + place, stream.to(", "tl.store(x_ptr + place, stream.to("),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("gated_residual_adaln", *MUTANTS[mutant])


def test_without_a_branch_it_is_adaptive_layer_norm() -> None:
    kernels = find_kernels()
    x, scale, shift, eps = seeded_inputs(kernels["adaln"], (2, 5, 37), torch.float32)
    zeros = x.new_zeros(x.shape)
    stream, y = launched(kernels["gated_residual_adaln"], (x, zeros, scale, scale, shift, eps))
    assert torch.equal(stream, x)
    assert torch.equal(y, *launched(kernels["adaln"], (x, scale, shift, eps)))
