"""Frame to pixels: against numpy, code by code, what has no colour, what it refuses, and its mutants."""

import numpy as np
import pytest
import torch
from torch import Tensor

from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["frame_to_rgb8"])


def pixels(frame: Tensor, scale: float, offset: float) -> Tensor:
    (rgb,) = launched(KERNEL, (frame, scale, offset), BLOCK=64)
    return rgb


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.5, 0.5)])
def test_every_pixel_is_the_one_of_numpy(scale: float, offset: float) -> None:
    """rint rounds half to even; the repository's own contact sheets are made with it."""
    torch.manual_seed(2)
    frame = torch.randn(2, 3, 11, 19)
    shade = np.clip(frame.numpy() * np.float32(scale) + np.float32(offset), 0, 1) * np.float32(255)
    expected = np.rint(shade).astype(np.uint8).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(pixels(frame, scale, offset).numpy(), expected)


def test_eight_bit_pixels_come_back_whatever_their_dtype_held() -> None:
    codes = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16).roll(7, 1)
    rgb = pixels(codes.float() / 255, 1.0, 0.0)
    assert torch.equal(rgb, codes.permute(0, 2, 3, 1))
    assert torch.equal(pixels((codes.float() / 127.5 - 1), 0.5, 0.5), rgb)


def test_halves_go_to_the_even_code() -> None:
    halves = np.arange(255, dtype=np.float32) + np.float32(0.5)
    shade = halves / np.float32(255)
    exact = shade * np.float32(255) == halves
    assert exact.sum() > 100
    frame = torch.from_numpy(shade).expand(1, 3, 1, 255).contiguous()
    found = pixels(frame, 1.0, 0.0)[0, 0, :, 0].numpy()
    np.testing.assert_array_equal(found[exact], np.rint(halves)[exact])


def test_what_has_no_colour_is_black_or_at_an_end() -> None:
    frame = torch.tensor([torch.nan, -torch.nan, torch.inf, -torch.inf, 3e38, -0.0]).repeat(3).reshape(1, 3, 1, 6)
    assert pixels(frame, 1.0, 0.0)[0, 0, :, 1].tolist() == [0, 0, 255, 0, 255, 0]


@pytest.mark.parametrize(
    "frame",
    [torch.ones(3, 8, 8), torch.ones(1, 4, 8, 8), torch.ones(1, 8, 8, 3), torch.ones(1, 8, 8, 3).permute(0, 3, 1, 2)],
)
def test_what_is_no_contiguous_frame_is_refused(frame: Tensor) -> None:
    with pytest.raises(ValueError, match=r"give a contiguous \(B, 3, H, W\)"):
        KERNEL.launch(frame, 1.0, 0.0)


MUTANTS = {
    "channel order swapped": ("byte % 3 * cells", "(2 - byte % 3) * cells"),
    "planes for pixels": ("image + byte % 3 * cells + first + byte // 3", "image + 3 * first + byte"),
    "one channel for all": ("byte % 3 * cells", "0 * cells"),
    "not clamped above": (
        "tl.minimum(tl.maximum(x * scale + offset, 0.0), 1.0)",
        "tl.maximum(x * scale + offset, 0.0)",
    ),
    "not clamped below": (
        "tl.minimum(tl.maximum(x * scale + offset, 0.0), 1.0)",
        "tl.minimum(x * scale + offset, 1.0)",
    ),
    "clamped to [-1, 1]": ("scale + offset, 0.0), 1.0)", "scale + offset, -1.0), 1.0)"),
    "rounds towards zero": ("whole = (shade + 8388608.0) - 8388608.0", "whole = shade"),
    "halves go up": ("whole = (shade + 8388608.0) - 8388608.0", "whole = tl.floor(shade + 0.5)"),
    "NaN stays": ("scale + offset, 0.0), 1.0)", "scale + offset, 0.0, tl.PropagateNan.ALL), 1.0, tl.PropagateNan.ALL)"),
    "NaN is white": (
        "tl.minimum(tl.maximum(x * scale + offset, 0.0), 1.0)",
        "tl.maximum(tl.minimum(x * scale + offset, 1.0), 0.0)",
    ),
    "256 steps": ("1.0) * 255\n        #", "1.0) * 256 - 0.5\n        #"),
    "no offset": ("tl.maximum(x * scale + offset, 0.0)", "tl.maximum(x * scale, 0.0)"),
    "no scale": ("tl.maximum(x * scale + offset, 0.0)", "tl.maximum(x + offset, 0.0)"),
    "offset first": ("tl.maximum(x * scale + offset, 0.0)", "tl.maximum((x + offset) * scale, 0.0)"),
    "frames overlap": ("tl.program_id(1).to(tl.int64) * 3 * cells", "tl.program_id(1).to(tl.int64) * cells"),
    "first pixels only": ("first = tl.program_id(0).to(tl.int64) * BLOCK", "first = tl.program_id(0).to(tl.int64) * 0"),
    "a run never written": ("tl.static_range(3)", "tl.static_range(2)"),
    "a byte too many": ("3 * first + byte < 3 * cells", "3 * first + byte <= 3 * cells"),
    "the last byte is not written": ("3 * first + byte < 3 * cells", "3 * first + byte < 3 * cells - 1"),
    "in bf16": (
        "mask=inside, other=0.0).to(tl.float32)",
        "mask=inside, other=0.0).to(tl.bfloat16).to(tl.float32)",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("frame_to_rgb8", *MUTANTS[mutant])
