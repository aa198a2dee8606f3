"""Small kernels for the tests of the interpreter, one per thing that it has to get right."""

import triton
import triton.language as tl


@triton.jit
def arithmetic(x_ptr, y_ptr, out_ptr, OPERATION: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place)
    y = tl.load(y_ptr + place)
    if OPERATION == "add":
        out = x + y
    elif OPERATION == "subtract":
        out = x - y
    elif OPERATION == "multiply":
        out = x * y
    elif OPERATION == "negate":
        out = -x
    elif OPERATION == "absolute":
        out = tl.abs(x)
    elif OPERATION == "minimum":
        out = tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)
    elif OPERATION == "maximum":
        out = tl.maximum(x, y)
    elif OPERATION == "select":
        out = tl.where(x > y, x, y)
    elif OPERATION == "multiply-add":
        out = tl.fma(x, y, x)
    elif OPERATION == "clamp":
        out = tl.clamp(x, -2.0, y)
    tl.store(out_ptr + place, out)


@triton.jit
def compare(x_ptr, y_ptr, out_ptr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place)
    y = tl.load(y_ptr + place)
    tl.store(out_ptr + place, (x < y).to(tl.float32))
    tl.store(out_ptr + BLOCK + place, (x <= y).to(tl.float32))
    tl.store(out_ptr + 2 * BLOCK + place, (x == y).to(tl.float32))
    tl.store(out_ptr + 3 * BLOCK + place, (x != y).to(tl.float32))


@triton.jit
def convert(x_ptr, out_ptr, ROUNDING: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place)
    tl.store(out_ptr + place, x.to(out_ptr.dtype.element_ty, fp_downcast_rounding=ROUNDING))


@triton.jit
def multiply(a_ptr, b_ptr, out_ptr, PRECISION: tl.constexpr, SIZE: tl.constexpr):
    row = tl.arange(0, SIZE)[:, None]
    column = tl.arange(0, SIZE)[None, :]
    a = tl.load(a_ptr + row * SIZE + column)
    b = tl.load(b_ptr + row * SIZE + column)
    tl.store(out_ptr + row * SIZE + column, tl.dot(a, b, input_precision=PRECISION))


@triton.jit
def scaled(a_ptr, a_scale_ptr, b_ptr, b_scale_ptr, out_ptr, FORMAT: tl.constexpr, GROUP: tl.constexpr, K: tl.constexpr):
    PACKED: tl.constexpr = K // 2 if FORMAT == "e2m1" else K
    row = tl.arange(0, 32)
    inner = tl.arange(0, PACKED)
    group = tl.arange(0, K // GROUP)
    a = tl.load(a_ptr + row[:, None] * PACKED + inner[None, :])
    b = tl.load(b_ptr + row[None, :] * PACKED + inner[:, None])
    a_scale = tl.load(a_scale_ptr + row[:, None] * (K // GROUP) + group[None, :])
    b_scale = tl.load(b_scale_ptr + row[:, None] * (K // GROUP) + group[None, :])
    out = tl.dot_scaled(a, a_scale, FORMAT, b, b_scale, FORMAT)
    tl.store(out_ptr + row[:, None] * 32 + row[None, :], out)


@triton.jit
def reduce(x_ptr, sum_ptr, extremum_ptr, COUNT: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, COUNT)[None, :])
    tl.store(sum_ptr + tl.arange(0, 1), tl.sum(x, axis=1))
    tl.store(extremum_ptr, tl.max(x))
    tl.store(extremum_ptr + 1, tl.min(x))
    tl.store(extremum_ptr + 2, tl.sum(x))


@triton.jit
def add_parameter(x_ptr, out_ptr, value, literal: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place)
    tl.store(out_ptr + place, x + value)
    tl.store(out_ptr + BLOCK + place, x + literal)


@triton.jit
def load_masked(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    tl.store(out_ptr + place, tl.load(x_ptr + place, mask=place < n))


@triton.jit
def copy(x_ptr, out_ptr, shift, n, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place + shift, mask=place < n, other=0.0)
    tl.store(out_ptr + place, x, mask=place < n)


@triton.jit
def count(index_ptr, out_ptr, BLOCK: tl.constexpr):
    index = tl.load(index_ptr + tl.arange(0, BLOCK))
    tl.atomic_add(out_ptr + index, tl.full((BLOCK,), 1, out_ptr.dtype.element_ty))


@triton.jit
def twice(x):
    return x * 2


@triton.jit
def exponential(x_ptr, out_ptr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    tl.store(out_ptr + place, 1 / tl.exp(twice(tl.load(x_ptr + place))))


@triton.jit
def integers(x_ptr, y_ptr, out_ptr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place)
    y = tl.load(y_ptr + place)
    tl.store(out_ptr + place, x // y)
    tl.store(out_ptr + BLOCK + place, x % y)
    tl.store(out_ptr + 2 * BLOCK + place, x * y)


@triton.jit
def clamped(x_ptr, out_ptr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place)
    tl.store(out_ptr + place, tl.clamp(x, -1.0, 1.0))
    tl.store(out_ptr + BLOCK + place, tl.clamp(x, -1.0, 1.0, propagate_nan=tl.PropagateNan.ALL))


@triton.jit
def old_format(x_ptr, out_ptr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    tl.store(out_ptr + place, tl.load(x_ptr + place).to(tl.float8e4b15).to(tl.float32))
