"""Matrices laid out in shared memory for the tensor cores, stated by rows and not by addresses.

A line (a row if K is contiguous, one k if the rows are) is cut into spans of 128, 64, 32 or 16 bytes. The same span of
all lines lies together, line after line; within it, the number of a 16-byte chunk is XORed with the line's number, as
PTX ISA 9, "Asynchronous Warpgroup Level Matrix Shared Memory Layout", draws it.
"""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SWIZZLES = (0, 32, 64, 128)
NUMBERS: dict[str, Any] = {
    "f16": np.float16, "bf16": ml_dtypes.bfloat16, "tf32": np.float32, "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2, "s8": np.int8, "u8": np.uint8, "f32": np.float32, "s32": np.int32,
}  # fmt: skip


def turn(line: int, swizzle: int) -> int:
    """What a chunk's number is XORed with in that line."""
    return {0: 0, 32: line // 4 % 2, 64: line // 2 % 4, 128: line % 8}[swizzle]


def lay_out(matrix: Array, swizzle: int, transposed: bool) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Its bytes, the leading offset and the stride offset; lines are filled up to whole spans.

    Args:
        matrix: (rows, K).
        swizzle: bytes of a span; 0 stands for 16 without a swizzle.
        transposed: whether the rows are contiguous.
    """
    lines = np.ascontiguousarray(matrix.T if transposed else matrix)
    octets = lines.view(np.uint8).reshape(len(lines), -1)
    span = swizzle or 16
    octets = np.pad(octets, ((0, 0), (0, -octets.shape[1] % span)))
    count, length = octets.shape
    image = np.zeros(octets.size, np.uint8)
    for line in range(count):
        for chunk in range(length // 16):
            part, place = divmod(16 * chunk, span)
            at = part * count * span + line * span + 16 * (place // 16 ^ turn(line, swizzle))
            image[at : at + 16] = octets[line, 16 * chunk : 16 * chunk + 16]
    between_spans, between_eights = count * span, 8 * span
    if transposed and not swizzle:  # the ISA's two offsets change places there
        return image, between_eights, between_spans
    return image, between_spans, between_eights


def wgmma_descriptor(start: int, leading: int, stride: int, swizzle: int) -> int:
    """PTX ISA 9, "Matrix Descriptor Format" of wgmma."""
    mode = {0: 0, 128: 1, 64: 2, 32: 3}[swizzle]
    return (start >> 4) | (leading >> 4) << 16 | (stride >> 4) << 32 | mode << 62


def tcgen05_descriptor(start: int, leading: int, stride: int, swizzle: int) -> int:
    """PTX ISA 9, "Shared Memory Descriptor" of tcgen05."""
    mode = {0: 0, 128: 2, 64: 4, 32: 6}[swizzle]
    return (start >> 4) | (leading >> 4) << 16 | (stride >> 4) << 32 | 1 << 46 | mode << 61
