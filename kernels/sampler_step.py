"""One step of a rectified flow with classifier-free guidance, from `level` to `next_level`.

    guided = unconditional + guidance_scale * (conditional - unconditional)
    velocity = (latent - guided) / level      where the network predicts the clean latent
    velocity = guided                         where it predicts the velocity
    next_latent = latent + (next_level - level) * velocity

Guiding the prediction is guiding the velocity, because one is linear in the other. Computed in float32 whatever the
dtype of the latent; (next_level - level) / level is one number a sample. At next_level 0 the clean prediction itself
comes out, within the rounding of latent - guided.

Shapes: latent, conditional, unconditional, next_latent (B, ...), of one shape and dtype; level, next_level (B,) in any
float dtype, level in (0, 1], next_level in [0, 1). Without guidance, unconditional is None and guidance_scale 1.
Source: rectified flow, arXiv 2209.03003, section 2.1; classifier-free guidance, arXiv 2207.12598, section 3.2, its
w + 1 called the scale, as samplers do.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEFAULTS = {"BLOCK": 1024, "num_warps": 4}
PREDICTIONS = ("clean", "velocity")


@triton.jit
def kernel(
    latent_ptr,
    conditional_ptr,
    unconditional_ptr,
    level_ptr,
    next_level_ptr,
    out_ptr,
    width,
    guidance_scale,
    GUIDED: tl.constexpr,
    CLEAN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """BLOCK values of one sample; `width` is how many a sample has."""
    sample = tl.program_id(1).to(tl.int64)  # int64: B * width may pass 2**31
    column = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    place = sample * width + column
    latent = tl.load(latent_ptr + place, mask=inside, other=0.0).to(tl.float32)
    guided = tl.load(conditional_ptr + place, mask=inside, other=0.0).to(tl.float32)
    if GUIDED:
        unconditional = tl.load(unconditional_ptr + place, mask=inside, other=0.0).to(tl.float32)
        guided = unconditional + guidance_scale * (guided - unconditional)
    level = tl.load(level_ptr + sample).to(tl.float32)
    step = tl.load(next_level_ptr + sample).to(tl.float32) - level
    if CLEAN:
        step = tl.div_rn(step, level)
        guided = latent - guided
    out = latent + step * guided
    tl.store(out_ptr + place, out.to(out_ptr.dtype.element_ty), mask=inside)


def reference(
    latent: Tensor,
    conditional: Tensor,
    unconditional: Tensor | None,
    level: Tensor,
    next_level: Tensor,
    guidance_scale: float,
    prediction: str,
) -> Tensor:
    """The same in PyTorch, as the formula stands, in float32, or float64 for float64."""
    wide = torch.promote_types(latent.dtype, torch.float32)
    start, guided = latent.to(wide), conditional.to(wide)
    if unconditional is not None:
        guided = unconditional.to(wide) + guidance_scale * (guided - unconditional.to(wide))
    shape = (-1, *(1 for _ in latent.shape[1:]))
    here, there = level.to(wide).reshape(shape), next_level.to(wide).reshape(shape)
    velocity = (start - guided) / here if prediction == "clean" else guided
    return start + (there - here) * velocity


def launch(
    latent: Tensor,
    conditional: Tensor,
    unconditional: Tensor | None,
    level: Tensor,
    next_level: Tensor,
    guidance_scale: float,
    prediction: str,
    **tuning: int,
) -> Tensor:
    """Run the kernel on contiguous tensors; returns the next latent in the latent's shape and dtype.

    Raises:
        ValueError: an unknown prediction, a guidance scale without the unconditional prediction that it needs, or
            shapes, dtypes or strides that do not fit together.
    """
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction is {prediction!r}; give one of {', '.join(PREDICTIONS)}")
    if unconditional is None and guidance_scale != 1:
        raise ValueError(f"guidance_scale is {guidance_scale} and unconditional None; give both, or 1 and None")
    for name, tensor in (("latent", latent), ("conditional", conditional), ("unconditional", unconditional)):
        if tensor is None:
            continue
        if tensor.shape != latent.shape or tensor.dtype != latent.dtype or not tensor.is_contiguous():
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} {tensor.dtype} with strides {tensor.stride()}; give a contiguous"
                f" {tuple(latent.shape)} {latent.dtype}"
            )
    for name, tensor in (("level", level), ("next_level", next_level)):
        if tensor.shape != latent.shape[:1] or not tensor.is_contiguous():
            raise ValueError(f"{name} is {tuple(tensor.shape)}; give a contiguous {tuple(latent.shape[:1])}")
    out = torch.empty_like(latent)
    options = {**DEFAULTS, **tuning}
    samples = latent.shape[0]
    width = latent.numel() // max(samples, 1)
    kernel[(triton.cdiv(width, options["BLOCK"]), samples)](
        latent,
        conditional,
        unconditional,
        level,
        next_level,
        out,
        width,
        guidance_scale,
        GUIDED=unconditional is not None,
        CLEAN=prediction == "clean",
        **options,
    )
    return out


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def example(
    samples: int, channels: int, height: int, width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float, str]:
    """A guided step of a predicted clean latent: every sample at levels of its own, the last one's step ends at 0."""
    shape = (samples, channels, height, width)
    latent, conditional, unconditional = (torch.randn(shape).to(dtype) for _ in range(3))
    level = torch.linspace(1, 0.2, samples)
    next_level = level * torch.linspace(0.9, 0, samples + 1)[1:]
    return latent, conditional, unconditional, level, next_level, 3.5, "clean"


EXAMPLES = ((1, 4, 8, 8), (3, 5, 7, 37))
TYPICAL = (1, 16, 90, 160)
TENSOR_CORES = False
TUNABLES = {
    "default": DEFAULTS,
    "cuda:90": {"BLOCK": 2048, "num_warps": 2},
    "cuda:100": {"BLOCK": 2048, "num_warps": 2},
    "cuda:103": {"BLOCK": 2048, "num_warps": 2},
    "cuda:107": {"BLOCK": 2048, "num_warps": 1},
    "cuda:120": {"BLOCK": 2048, "num_warps": 1},
    "cuda:121": {"BLOCK": 2048, "num_warps": 1},
    "hip:gfx942": {"num_warps": 1},
    "hip:gfx950": {"num_warps": 1},
    "hip:gfx1201": {"BLOCK": 2048, "num_warps": 2},
    "hip:gfx1250": {"num_warps": 1},
}
SEARCH = {"BLOCK": (256, 512, 1024, 2048), "num_warps": (1, 2, 4, 8)}
