"""The activation of a gated MLP: y = silu(gate) * up, where silu(x) = x / (1 + exp(-x)).

One tile of rows and columns a program; computed in float32 whatever the dtype of x.
Shapes: x (rows, 2 * hidden), of each row first the gate, then up; y (rows, hidden) in x's dtype.
Source: SwiGLU, GLU Variants Improve Transformer, https://arxiv.org/abs/2002.05202, section 2.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEFAULTS = {"BLOCK_ROWS": 8, "BLOCK_COLUMNS": 256, "num_warps": 4}


@triton.jit
def kernel(x_ptr, y_ptr, rows, hidden, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr):
    """One (BLOCK_ROWS, BLOCK_COLUMNS) tile of y."""
    # int64: rows * 2 * hidden may pass 2**31.
    row = (tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS))[None, :]
    inside = (row < rows) & (column < hidden)
    gate_ptr = x_ptr + row * (2 * hidden) + column
    gate = tl.load(gate_ptr, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_ptr + hidden, mask=inside, other=0.0).to(tl.float32)
    # exp(-x) is infinite below -88, and x / infinity is the 0 that silu has there.
    y = gate / (1 + tl.exp(-gate)) * up
    tl.store(y_ptr + row * hidden + column, y.to(y_ptr.dtype.element_ty), mask=inside)


def reference(x: Tensor) -> Tensor:
    """The same in PyTorch, in float32, or float64 for float64."""
    gate, up = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def launch(x: Tensor, **tuning: int) -> Tensor:
    """Run the kernel on contiguous x (rows, 2 * hidden); returns y (rows, hidden) in x's dtype.

    Raises:
        ValueError: x is not contiguous, not a matrix, or its width is odd.
    """
    if x.ndim != 2 or x.shape[1] % 2 or not x.is_contiguous():
        raise ValueError(f"x is {tuple(x.shape)} with strides {x.stride()}; give a contiguous (rows, 2 * hidden)")
    rows, hidden = x.shape[0], x.shape[1] // 2
    y = torch.empty(rows, hidden, dtype=x.dtype, device=x.device)
    options = {**DEFAULTS, **tuning}
    grid = (triton.cdiv(rows, options["BLOCK_ROWS"]), triton.cdiv(hidden, options["BLOCK_COLUMNS"]))
    kernel[grid](x, y, rows, hidden, **options)
    return y


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(rows: int, hidden: int, dtype: torch.dtype) -> tuple[Tensor]:
    """x (rows, 2 * hidden): row 0 has gates from -100 to 100, where exp leaves float32; row 1 has no up at all."""
    x = torch.randn(rows, 2 * hidden)
    x[0, :hidden] = torch.linspace(-100, 100, hidden)
    x[1:2, hidden:] = 0
    return (x.to(dtype),)


EXAMPLES = ((1, 64), (3, 37), (19, 515))
TYPICAL = (3600, 8192)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "cuda:100": {"BLOCK_ROWS": 16},
    "cuda:103": {"BLOCK_ROWS": 16},
    "cuda:107": {"BLOCK_ROWS": 4, "BLOCK_COLUMNS": 1024},
    "hip:gfx942": {"num_warps": 1},
}
SEARCH = {"BLOCK_ROWS": (1, 2, 4, 8, 16), "BLOCK_COLUMNS": (128, 256, 512, 1024), "num_warps": (1, 2, 4, 8)}
