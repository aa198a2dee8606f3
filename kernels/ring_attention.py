"""Attention of one frame's queries over a ring of cached frames and over the frame itself, softmax computed online.

    out = softmax(query @ [turn(ring keys), key]^T / sqrt(D)) @ [ring values, value]

A slot's keys are cached turned in space only; `turn` turns the first 2 * P columns of each by minus the slot's age, in
pairs (x[i], x[i + P]). The kernel turns the query forward instead, once a slot: the products are the same, and keys go
from memory to the tensor cores untouched. Slots that were never written (age 0) cost no memory traffic and no time.
The age of a sink slot (slot < sink) stops at the place that the sink holds before the ring, W - slot; any other age
stops at W. So every angle is a row of a table, however long the session.

Scores, softmax and sums in float32; the turned query and the probabilities are rounded to the dtype of the values.

Inputs, contiguous:
    query, key, value: (B, H, T, D), this frame's, turned in space.
    ring_keys, ring_values: (B, H, W, T, D), the dtype of the query. What lies in a slot of age 0 is never read.
    age: (W,) int64, frames since a slot was written: 1 = the frame before this one, 0 = never written.
    age_cos, age_sin: (W + 1, P) floats, 1 <= P <= D / 2; row a holds the angles of age a, row 0 nothing.
    sink: int in [0, W], slots that are never overwritten.
Output: (B, H, T, D), the dtype of the query.

Source: FlashAttention-2, arXiv 2307.08691, section 3.1; RoFormer, arXiv 2104.09864, section 3.2; sinks and positions
within the cache: StreamingLLM, arXiv 2309.17453, section 3.2.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

LOG2_E = math.log2(math.e)
"""exp(x) = exp2(x * LOG2_E), and exp2 is what the hardware has."""
SLOT_LIMIT = 2**31
"""Elements of one head's slot: offsets within it are 32-bit, those of slots and heads 64-bit."""
DEFAULTS = {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 8, "num_stages": 2}


@triton.jit
def load_tile(base_ptr, row, rows, column, columns, width):
    """base_ptr[row, column] of a matrix of that width, zero where row >= rows or column >= columns."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(base_ptr + row[:, None] * width + column[None, :], mask=inside, other=0.0)


@triton.jit
def turn_query(
    query_ptr,
    cos_ptr,
    sin_ptr,
    row,
    tokens,
    own,
    WIDTH: tl.constexpr,
    TURNED: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_TURNED: tl.constexpr,
):
    """The query's first TURNED columns, turned by the angles at cos_ptr and sin_ptr; as they are if own."""
    column = tl.arange(0, BLOCK_TURNED)
    real = column < TURNED // 2
    partner = tl.where(real, column + TURNED // 2, column - TURNED // 2)
    # Partners come in aligned groups, which the compiler cannot see: without this it loads them one by one.
    partner = tl.max_contiguous(tl.multiple_of(partner, GROUP), GROUP)
    inside = (row < tokens)[:, None] & (column < TURNED)[None, :]
    x = tl.load(query_ptr + row[:, None] * WIDTH + column[None, :], mask=inside, other=0.0)
    y = tl.load(query_ptr + row[:, None] * WIDTH + partner[None, :], mask=inside, other=0.0)
    angle = tl.where(real, column, column - TURNED // 2)
    turned = column < tl.where(own, 0, TURNED)
    cos = tl.load(cos_ptr + angle, mask=turned, other=1.0).to(tl.float32)
    sin = tl.load(sin_ptr + angle, mask=turned, other=0.0).to(tl.float32)
    sin = tl.where(real, -sin, sin)
    return (x.to(tl.float32) * cos[None, :] + y.to(tl.float32) * sin[None, :]).to(x.dtype)


@triton.jit
def attend(
    turned,
    rest,
    out,
    peak,
    mass,
    keys_ptr,
    values_ptr,
    start,
    tokens,
    scale,
    WIDTH: tl.constexpr,
    TURNED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    LAST: tl.constexpr,
):
    """Every row's running output, maximum and sum after BLOCK_N more keys; LAST: after those up to the slot's end."""
    key = start + tl.arange(0, BLOCK_N)
    # Where every key is one, a mask that says so folds away.
    end = tokens if LAST else start + BLOCK_N
    column = tl.arange(0, turned.shape[1])
    keys = load_tile(keys_ptr, key, end, column, TURNED, WIDTH)
    scores = tl.dot(turned, tl.trans(keys), input_precision="ieee")
    column = TURNED + tl.arange(0, rest.shape[1])
    keys = load_tile(keys_ptr, key, end, column, WIDTH, WIDTH)
    scores = tl.dot(rest, tl.trans(keys), scores, input_precision="ieee")
    if LAST:
        scores = tl.where((key < tokens)[None, :], scores, float("-inf"))
    # At least one key is visible, so the new maximum is finite; the old one may be -inf.
    new_peak = tl.maximum(peak, tl.max(scores, 1) * scale)
    probability = tl.exp2(scores * scale - new_peak[:, None])
    rescale = tl.exp2(peak - new_peak)
    mass = mass * rescale + tl.sum(probability, 1)
    values = load_tile(values_ptr, key, end, tl.arange(0, out.shape[1]), WIDTH, WIDTH)
    out = tl.dot(probability.to(values.dtype), values, out * rescale[:, None], input_precision="ieee")
    return out, new_peak, mass


@triton.jit
def kernel(
    query_ptr,
    key_ptr,
    value_ptr,
    ring_keys_ptr,
    ring_values_ptr,
    age_ptr,
    cos_ptr,
    sin_ptr,
    out_ptr,
    tokens,
    window,
    sink,
    scale,
    WIDTH: tl.constexpr,
    TURNED: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_TURNED: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    EVEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """One program: BLOCK_M queries of one head. Grid: (tiles of queries, B * H)."""
    head = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    frame = head * tokens * WIDTH
    query_ptr += frame
    rest = load_tile(query_ptr, row, tokens, TURNED + tl.arange(0, BLOCK_REST), WIDTH, WIDTH)
    out = tl.zeros((BLOCK_M, BLOCK_WIDTH), tl.float32)
    peak = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    mass = tl.zeros((BLOCK_M,), tl.float32)
    for slot in range(0, window + 1):
        # After the ring's slots this frame itself: always visible, never turned, so no row is ever without a key.
        own = slot == window
        age = tl.load(age_ptr + slot, mask=slot < window, other=0)
        age = tl.minimum(age, tl.where(slot < sink, window - slot, window)).to(tl.int32)
        past = (head * window + slot) * tokens * WIDTH
        keys_ptr = tl.where(own, key_ptr + frame, ring_keys_ptr + past)
        values_ptr = tl.where(own, value_ptr + frame, ring_values_ptr + past)
        angle = tl.maximum(age, 0) * (TURNED // 2)
        turned = turn_query(
            query_ptr, cos_ptr + angle, sin_ptr + angle, row, tokens, own, WIDTH, TURNED, GROUP, BLOCK_TURNED
        )
        # A slot that was never written has no keys: cheaper than a branch, which would end the loop's pipeline.
        end = tl.where(own | (age > 0), tokens, 0)
        whole = end // BLOCK_N * BLOCK_N
        for start in range(0, whole, BLOCK_N):
            out, peak, mass = attend(
                turned, rest, out, peak, mass, keys_ptr, values_ptr, start, end, scale, WIDTH, TURNED, BLOCK_N, False
            )
        if not EVEN:
            for start in tl.range(whole, end, BLOCK_N, num_stages=1):
                out, peak, mass = attend(
                    turned, rest, out, peak, mass, keys_ptr, values_ptr, start, end, scale, WIDTH, TURNED, BLOCK_N, True
                )
    column = tl.arange(0, BLOCK_WIDTH)
    inside = (row < tokens)[:, None] & (column < WIDTH)[None, :]
    out /= mass[:, None]
    place = out_ptr + frame + row[:, None] * WIDTH + column[None, :]
    tl.store(place, out.to(out_ptr.dtype.element_ty), mask=inside)


def reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ring_keys: Tensor,
    ring_values: Tensor,
    age: Tensor,
    age_cos: Tensor,
    age_sin: Tensor,
    sink: int,
) -> Tensor:
    """The same in PyTorch, in float32, or in float64 where the query is: keys turned back, one softmax over all."""
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    query, key, value, ring_keys, ring_values = (x.to(wide) for x in (query, key, value, ring_keys, ring_values))
    window, tokens = ring_keys.shape[2:4]
    slot = torch.arange(window, device=age.device)
    place = torch.minimum(age, torch.where(slot < sink, window - slot, window))
    cos, sin = age_cos.to(wide)[place][:, None], -age_sin.to(wide)[place][:, None]
    pairs = age_cos.shape[1]
    real, imaginary, rest = ring_keys.split([pairs, pairs, ring_keys.shape[-1] - 2 * pairs], dim=-1)
    turned = torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos, rest], dim=-1)
    written = (age > 0).repeat_interleave(tokens)
    visible = torch.cat([written, written.new_ones(tokens)])
    bias = torch.zeros(visible.shape, dtype=wide, device=age.device).masked_fill(~visible, -math.inf)
    return F.scaled_dot_product_attention(
        query,
        torch.cat([turned.flatten(2, 3), key], dim=2),
        torch.cat([ring_values.flatten(2, 3), value], dim=2),
        attn_mask=bias.expand(1, 1, tokens, -1),
    )


def launch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ring_keys: Tensor,
    ring_values: Tensor,
    age: Tensor,
    age_cos: Tensor,
    age_sin: Tensor,
    sink: int,
    **tuning: int,
) -> Tensor:
    """Run the kernel on contiguous tensors; returns the output (B, H, T, D) in the query's dtype.

    Raises:
        ValueError: shapes, dtypes or strides that do not fit together.
    """
    batch, heads, tokens, width = query.shape
    window, pairs = age.shape[0], age_cos.shape[1]
    expected = {
        "key": (key, query.shape),
        "value": (value, query.shape),
        "ring_keys": (ring_keys, (batch, heads, window, tokens, width)),
        "ring_values": (ring_values, (batch, heads, window, tokens, width)),
        "age_cos": (age_cos, (window + 1, pairs)),
        "age_sin": (age_sin, (window + 1, pairs)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != torch.Size(shape):
            raise ValueError(f"{name} is {tuple(tensor.shape)}; query {tuple(query.shape)} and age want {tuple(shape)}")
    if not all(t.is_contiguous() for t in (query, key, value, ring_keys, ring_values, age, age_cos, age_sin)):
        raise ValueError("an input is not contiguous; call contiguous() on it")
    if {key.dtype, value.dtype, ring_keys.dtype, ring_values.dtype} != {query.dtype}:
        raise ValueError(f"keys and values must have the query's dtype, {query.dtype}")
    if age.dtype != torch.int64:
        raise ValueError(f"age is {age.dtype}; frames are counted in int64")
    if not 1 <= pairs <= width // 2:
        raise ValueError(f"age_cos turns {pairs} pairs; a head of width {width} has 1 to {width // 2}")
    if not 0 <= sink <= window:
        raise ValueError(f"sink is {sink}; the ring has {window} slots")
    if tokens * width >= SLOT_LIMIT:
        raise ValueError(f"{tokens} tokens of width {width} pass 2**31 elements, the most that a slot may hold")
    options = {**DEFAULTS, **tuning}
    # Never more rows than there are tokens, and 16 at least: the smallest tile of the tensor cores.
    enough = max(16, triton.next_power_of_2(tokens))
    options |= {name: min(options[name], enough) for name in ("BLOCK_M", "BLOCK_N")}
    out = torch.empty_like(query)
    kernel[(triton.cdiv(tokens, options["BLOCK_M"]), batch * heads)](
        query,
        key,
        value,
        ring_keys,
        ring_values,
        age,
        age_cos,
        age_sin,
        out,
        tokens,
        window,
        sink,
        LOG2_E / math.sqrt(width),
        WIDTH=width,
        TURNED=2 * pairs,
        GROUP=pairs & -pairs,
        BLOCK_TURNED=max(16, triton.next_power_of_2(2 * pairs)),
        BLOCK_REST=max(16, triton.next_power_of_2(width - 2 * pairs)),
        BLOCK_WIDTH=max(16, triton.next_power_of_2(width)),
        EVEN=tokens % options["BLOCK_N"] == 0,
        **options,
    )
    return out


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(
    batch: int, heads: int, window: int, tokens: int, width: int, sink: int, written: int, *, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int]:
    """Inputs after `written` frames of a session: ages as the ring's bookkeeping makes them.

    Slots that were not written hold large values, and row 0 of the angles is not that of no turn: reading one shows.
    The first query is all but equal to the frame's own first key, so its maximum jumps after the ring. Half of a head
    turns with time, as in GWM.
    """
    query, key, value = (torch.randn(batch, heads, tokens, width) for _ in range(3))
    ring_keys, ring_values = (torch.randn(batch, heads, window, tokens, width) for _ in range(2))
    key[:, :, 0] = 2 * query[:, :, 0]
    age = torch.zeros(window, dtype=torch.int64)
    for frame in range(written):
        slot = frame if frame < sink else sink + (frame - sink) % (window - sink)
        age[slot] = written - frame
    ring_keys[:, :, age == 0] = 30.0
    ring_values[:, :, age == 0] = 1000.0
    pairs = max(1, width // 4)
    angles = torch.arange(window + 1)[:, None] * 30.0 ** (-torch.arange(pairs) / pairs)
    angles[0] = 2.0
    query, key, value, ring_keys, ring_values = (x.to(dtype) for x in (query, key, value, ring_keys, ring_values))
    return query, key, value, ring_keys, ring_values, age, angles.cos(), angles.sin(), sink


# (batch, heads, window, tokens, head width, sink, frames written)
EXAMPLES = (
    (1, 1, 3, 16, 32, 1, 0),
    (2, 1, 4, 70, 64, 1, 2),
    (1, 2, 5, 40, 24, 2, 40),
    (1, 2, 2, 150, 128, 1, 3),
)
TYPICAL = (1, 2, 16, 3600, 128, 1, 500)
TENSOR_CORES = True
TUNABLES = {
    "default": DEFAULTS,
    "cuda:90": {"BLOCK_M": 64, "BLOCK_N": 128, "num_stages": 1},
    "cuda:90 float32": {"BLOCK_N": 16, "num_warps": 4, "num_stages": 2},
    "cuda:100": {"BLOCK_M": 64, "BLOCK_N": 128, "num_warps": 4, "num_stages": 1},
    "cuda:100 float32": {"BLOCK_N": 16, "num_stages": 2},
    "cuda:103": {"BLOCK_M": 64, "BLOCK_N": 128, "num_warps": 4, "num_stages": 1},
    "cuda:103 float32": {"BLOCK_M": 16, "BLOCK_N": 16, "num_stages": 2},
    "cuda:107": {"BLOCK_M": 64, "BLOCK_N": 128},
    "cuda:107 float32": {"BLOCK_M": 16, "BLOCK_N": 16, "num_warps": 4},
    "cuda:120": {"BLOCK_M": 64, "BLOCK_N": 128},
    "cuda:120 float32": {"BLOCK_M": 16, "BLOCK_N": 16, "num_warps": 4},
    "cuda:121": {"BLOCK_M": 64, "BLOCK_N": 128},
    "cuda:121 float32": {"BLOCK_M": 128, "BLOCK_N": 16},
    "hip:gfx942": {"BLOCK_M": 32, "BLOCK_N": 128, "num_warps": 4, "num_stages": 1},
    "hip:gfx950": {"BLOCK_M": 32, "BLOCK_N": 128, "num_warps": 4, "num_stages": 1},
    "hip:gfx1201": {"BLOCK_N": 16, "num_stages": 1},
    "hip:gfx1201 float32": {"BLOCK_M": 16},
    "hip:gfx1250": {"BLOCK_M": 32, "BLOCK_N": 16, "num_warps": 4, "num_stages": 1},
}
SEARCH = {"BLOCK_M": (16, 32, 64, 128), "BLOCK_N": (16, 32, 64, 128), "num_warps": (4, 8), "num_stages": (1, 2, 3)}
