"""Causal convolution of one frame: equal to a 3-D convolution and to the bundled decoder's, and its mutants."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from porting.adapters.gwm.autoencoder import CausalConv
from porting.kernel_library import kernel_paths, load_kernel
from tests.kernels.harness import killed, launched

KERNEL = load_kernel(kernel_paths()["causal_conv3d"])


def layer(frames: int = 3, channels: int = 4, outputs: int = 6) -> tuple[Tensor, Tensor]:
    """Weight and bias of a causal convolution over that many frames."""
    torch.manual_seed(frames)
    conv = CausalConv(channels, outputs, frames).conv
    assert conv.bias is not None
    return conv.weight.detach(), conv.bias.detach()


@pytest.mark.parametrize("frames", [2, 4])
def test_a_stream_of_frames_is_one_convolution_over_time_and_space(frames: int) -> None:
    """Frame by frame, the cache coming back each time, against a 3-D convolution of the whole clip at once."""
    weight, bias = layer(frames)
    clip = torch.randn(2, 4, 5, 5, 18)  # (N, C, T, H, W)
    cache = torch.zeros(2, (frames - 1) * 4, 5, 18)
    weight_3d = weight.unflatten(1, (frames, 4)).transpose(1, 2)  # (O, C, kt, 3, 3)
    expected = F.conv3d(F.pad(clip, (1, 1, 1, 1, frames - 1, 0)), weight_3d, bias)
    for time in range(clip.shape[2]):
        out, cache = launched(KERNEL, (clip[:, :, time].contiguous(), cache, weight, bias))
        torch.testing.assert_close(out, expected[:, :, time], rtol=1e-5, atol=2e-6)
    assert torch.equal(cache, clip[:, :, 1 - frames :].transpose(1, 2).flatten(1, 2))


def test_it_is_the_layer_of_the_bundled_decoder() -> None:
    torch.manual_seed(7)
    conv = CausalConv(8, 5, 2)
    x, cache = torch.randn(2, 2, 8, 7, 20).unbind(0)
    kept: list[Tensor] = []

    def remember(x: Tensor) -> Tensor:
        stacked = torch.cat([cache, x], dim=1)
        kept.append(stacked[:, x.shape[1] :])
        return stacked

    with torch.no_grad():
        expected = conv(x, remember)
    assert conv.conv.bias is not None
    inputs = (x.contiguous(), cache.contiguous(), conv.conv.weight.detach(), conv.conv.bias.detach())
    for out, following in (launched(KERNEL, inputs), KERNEL.reference(*inputs)):
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=2e-6)
        assert torch.equal(following, kept[0])


def test_what_lies_before_or_behind_a_sample_does_not_leak_into_it() -> None:
    """NaN in the neighbouring samples, and nothing but numbers in this one."""
    weight, bias = layer()
    x, cache = torch.randn(3, 4, 5, 17), torch.randn(3, 8, 5, 17)
    expected = launched(KERNEL, (x, cache, weight, bias))
    for tensor in (x, cache):
        tensor[0::2] = torch.nan
    for made, wanted in zip(launched(KERNEL, (x, cache, weight, bias)), expected, strict=True):
        assert torch.equal(made[1], wanted[1])


def test_the_cache_is_moved_bit_by_bit() -> None:
    weight, bias = layer()
    x, cache = torch.full((1, 4, 3, 3), -0.0).half(), torch.full((1, 8, 3, 3), torch.inf).half()
    x[0, 0, 0, 0] = torch.nan
    _, following = launched(KERNEL, (x, cache, weight.half(), bias.half()))
    assert torch.equal(following.view(torch.int16), torch.cat([cache, x], dim=1)[:, 4:].view(torch.int16))


@pytest.mark.parametrize(
    ("index", "change", "words"),
    [
        (0, lambda x: x.transpose(2, 3).contiguous().transpose(2, 3), "not contiguous"),
        (0, lambda x: x[:, :3].contiguous(), "cache has 8 channels"),
        (1, lambda x: x[:, :0], "cache has 0 channels"),
        (1, lambda x: x[:, :, :-1].contiguous(), "cache is"),
        (1, lambda x: x.half(), "must have x's dtype"),
        (2, lambda x: x[:, :-4].contiguous(), "weight is"),
        (2, lambda x: x[..., :2].contiguous(), "weight is"),
        (3, lambda x: x[:-1], "bias is"),
    ],
)
def test_what_does_not_fit_is_refused(index: int, change: Any, words: str) -> None:
    inputs = [torch.randn(1, 4, 5, 6), torch.randn(1, 8, 5, 6), *layer()]
    inputs[index] = change(inputs[index])
    with pytest.raises(ValueError, match=words):
        KERNEL.launch(*inputs)


MUTANTS = {
    "one pixel to the right": ("tap % 3 - 1\n    # Each", "tap % 3\n    # Each"),
    "one pixel down": ("(tap // 3 - 1) * width + tap % 3 - 1", "(tap // 3) * width + tap % 3 - 1"),
    "taps transposed": ("(tap // 3 - 1) * width + tap % 3 - 1", "(tap % 3 - 1) * width + tap // 3 - 1"),
    "taps mirrored": ("(tap // 3 - 1) * width + tap % 3 - 1", "(1 - tap // 3) * width + 1 - tap % 3"),
    "the row before continues on the left": ("(tap_x >= 0) & ", ""),
    "the next row continues on the right": (" & (tap_x < width)", ""),
    "above the image lies the channel before": ("(tap_y >= 0) & ", ""),
    "below the image lies the next channel": ("(tap_y < height) & ", ""),
    "no border": ("seen = in_image & (tap_y >= 0)", "seen = in_image & (tap_y >= -1)"),
    "every tap is the pixel itself": ("(tap // 3 - 1) * width + tap % 3 - 1", "0 * tap"),
    "oldest and newest swapped": ("sums, weight_ptr, cache_ptr,", "sums, weight_ptr + rows, cache_ptr,"),
    "the new frame has the oldest weights": ("sums, weight_ptr + past_rows, x_ptr,", "sums, weight_ptr, x_ptr,"),
    "only the new frame": ("sums, weight_ptr, cache_ptr, output, outputs", "sums, weight_ptr, cache_ptr, output, 0"),
    "the new frame is left out": ("past_rows, x_ptr, output, outputs", "past_rows, x_ptr, output, 0"),
    "the first rows are left out": ("in range(0, rows, BLOCK_K)", "in range(BLOCK_K, rows, BLOCK_K)"),
    "the next taps are not taken": ("        taps = following\n", ""),
    "the next taps are those of these": ("frames_ptr, start + BLOCK_K, rows", "frames_ptr, start, rows"),
    "taps of another frame's channels": ("k // TAPS * image", "k % TAPS * image"),
    "rows of the tail are unmasked": ("(k < rows)[:, None]", "(k < k + 1)[:, None]"),
    "weights of the tail are unmasked": ("(k < rows)[None, :]", "(k < k + 1)[None, :]"),
    "outputs of the tail are unmasked": ("mask=(output < outputs)[:, None] & in_image", "mask=in_image"),
    "pixels of the tail are unmasked": ("[:, None] & in_image[None, :])", "[:, None])"),
    "no bias": (".to(tl.float32)[:, None]\n", ".to(tl.float32)[:, None] * 0\n"),
    "one output's bias for all": ("bias_ptr + output,", "bias_ptr + output * 0,"),
    "sums in bf16": ("taps, sums, input", "taps, sums.to(tl.bfloat16).to(tl.float32), input"),
    "products in tf32": ('taps, sums, input_precision="ieee")', "taps, sums)"),
    "the next cache is this one": ("source = channel + channels", "source = channel"),
    "the next cache is a channel off": ("source = channel + channels", "source = channel + channels - 1"),
    "the new frame is not kept": ("tl.where(old, kept, fresh)", "kept"),
    "only the new frame is kept": ("tl.where(old, kept, fresh)", "fresh"),
    "the new frame is kept too early": ("(source < past_channels)[:, None]", "(source < past_channels - 1)[:, None]"),
    "a channel of each share is not moved": ("(channel < last)[:, None]", "(channel < last - 1)[:, None]"),
    "only the first share is moved": ("first = tl.program_id(0) * share", "first = 0"),
    "every sample is the first": ("sample = tl.program_id(2)", "sample = 0 * tl.program_id(2)"),
    "weights of the first outputs": ("output[:, None] * row_length", "output[:, None] * rows"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_killed(mutant: str) -> None:
    assert killed("causal_conv3d", *MUTANTS[mutant])
