"""Mutants of the gated MLP's activation: each is refused on one of the kernel's own examples."""

import pytest

from tests.kernels.harness import killed

MUTANTS = {
    "gate and up exchanged": ("gate / (1 + tl.exp(-gate)) * up", "up / (1 + tl.exp(-up)) * gate"),
    "sigmoid for silu": ("gate / (1 + tl.exp(-gate))", "1 / (1 + tl.exp(-gate))"),
    "exp of the gate over itself": ("gate / (1 + tl.exp(-gate))", "gate * tl.exp(gate) / (1 + tl.exp(gate))"),
    "wrong sign": ("tl.exp(-gate)", "tl.exp(gate)"),
    "no up": ("gate / (1 + tl.exp(-gate)) * up", "gate / (1 + tl.exp(-gate))"),
    "interleaved halves": ("tl.load(gate_ptr + hidden,", "tl.load(gate_ptr + 1,"),
    "row stride of the output": ("x_ptr + row * (2 * hidden)", "x_ptr + row * hidden"),
    "one row too many": ("(row < rows)", "(row <= rows)"),
    "columns are not masked": ("(row < rows) & (column < hidden)", "row < rows"),
    "rows are not masked": ("(row < rows) & (column < hidden)", "column < hidden"),
    "the last column is not written": ("(column < hidden)", "(column < hidden - 1)"),
    "in bf16": (
        "gate = tl.load(gate_ptr, mask=inside, other=0.0).to(tl.float32)",
        ("gate = tl.load(gate_ptr, mask=inside, other=0.0).to(tl.bfloat16).to(tl.float32)"),
    ),
    "one block of columns": ("tl.program_id(1) * BLOCK_COLUMNS", "tl.program_id(1) * 0"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("gated_mlp", *MUTANTS[mutant])
