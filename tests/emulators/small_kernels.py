"""Kernels that both emulators execute; compiled by scripts of their own, since the tests' process interprets Triton."""

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def soften(x, y, n, N: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """The softmax of a row of n numbers."""
    place = tl.arange(0, N)
    row = tl.load(x + tl.program_id(0) * n + place, mask=place < n, other=-float("inf"))
    raised = tl.exp(row - tl.max(row))
    tl.store(y + tl.program_id(0) * n + place, raised / tl.sum(raised), mask=place < n)


@triton.jit  # type: ignore[untyped-decorator]
def multiply(a, b, c, n, DEPTH: tl.constexpr, TILE: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """TILE rows times n columns in a pipelined loop, rounded to float16; columns from n on are not there."""
    row, column, k = tl.arange(0, TILE), tl.arange(0, TILE) + TILE * tl.program_id(0), tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, DEPTH, TILE):
        x = tl.load(a + row[:, None] * DEPTH + (start + k)[None, :])
        y = tl.load(b + (start + k)[:, None] * n + column[None, :], mask=column[None, :] < n, other=0.0)
        total = tl.dot(x, y, total)
    tl.store(c + row[:, None] * n + column[None, :], total.to(tl.float16), mask=column[None, :] < n)


@triton.jit  # type: ignore[untyped-decorator]
def multiply_scaled(a, a_scales, b, b_scales, c, SIDE: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """SIDE x SIDE x 256 of E4M3 with scales E8M0 of 32 elements; b is given by its columns."""
    row, k, block = tl.arange(0, SIDE), tl.arange(0, 256), tl.arange(0, 8)
    x = tl.load(a + row[:, None] * 256 + k[None, :])
    y = tl.load(b + row[None, :] * 256 + k[:, None])
    x_scales = tl.load(a_scales + row[:, None] * 8 + block[None, :])
    y_scales = tl.load(b_scales + row[:, None] * 8 + block[None, :])
    total = tl.dot_scaled(x, x_scales, "e4m3", y, y_scales, "e4m3")
    tl.store(c + row[:, None] * SIDE + row[None, :], total)
