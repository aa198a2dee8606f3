"""Texts of small kernels, as a compiler would emit them, and launches of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.launch import Buffer, Launch
from tests.emulators.amdgcn.bench import assemble

Array = npt.NDArray[Any]
ADDRESS = 0x7F0000001000
"""Of the first buffer."""
SPACING = 1 << 16


def kernel_text(
    target: str,
    body: str,
    sizes: Sequence[int] = (8,),
    descriptor: Mapping[str, int] | None = None,
    hidden: Sequence[tuple[str, int]] = (),
) -> str:
    """The text of a kernel, whose body must assemble.

    Args:
        target: "gfx950".
        body: instructions, labels and .loc directives.
        sizes: bytes of each argument.
        descriptor: directives without .amdhsa_, in place of kernarg in s[0:1] and the workgroup's ids after it.
        hidden: kinds and sizes of hidden arguments.
    """
    lines = "\n".join(f"\t{line.strip()}" if ":" not in line.split()[0] else line.strip() for line in tidy(body))
    assemble(target, "\n".join(line for line in lines.splitlines() if ".loc" not in line))
    directives = {
        "user_sgpr_count": 2,
        "user_sgpr_kernarg_segment_ptr": 1,
        "system_sgpr_workgroup_id_x": 1,
        "system_sgpr_workgroup_id_y": 1,
        **(descriptor or {}),
    }
    written = "\n".join(f"\t\t.amdhsa_{name} {value}" for name, value in directives.items())
    offset, entries = 0, []
    for kind, size in [*(("by_value", size) for size in sizes), *hidden]:
        offset = -(-offset // size) * size
        entries.append(f"      - .offset: {offset}\n        .size: {size}\n        .value_kind: {kind}")
        offset += size
    arguments = "\n".join(entries)
    return (
        f'\t.amdgcn_target "amdgcn-amd-amdhsa--{target}"\nkernel:\n{lines}\n.Lfunc_end0:\n'
        f"\t.amdhsa_kernel kernel\n{written}\n\t.end_amdhsa_kernel\n"
        f"\t.amdgpu_metadata\n---\namdhsa.kernels:\n  - .args:\n{arguments}\n"
        f"    .kernarg_segment_size: {max(offset, 4)}\n...\n\t.end_amdgpu_metadata\n"
    )


def tidy(body: str) -> list[str]:
    """The lines that say something."""
    return [line for line in body.splitlines() if line.strip()]


def launch_of(
    target: str,
    body: str,
    arrays: Sequence[Array],
    warps: int = 1,
    grid: tuple[int, int, int] = (1, 1, 1),
    shared: int = 0,
    **options: Any,
) -> Launch:
    """A launch of a kernel that takes the addresses of some arrays, which it writes in place.

    arrays: contiguous.
    """
    buffers = tuple(
        Buffer(f"array {number}", ADDRESS + number * SPACING, array.reshape(-1).view(np.uint8))
        for number, array in enumerate(arrays)
    )
    arguments = tuple(buffer.address.to_bytes(8, "little") for buffer in buffers)
    text = kernel_text(target, body, [8] * len(arrays), **options)
    return Launch(text, f"hip:{target}", grid, arguments, buffers, warps, shared)
