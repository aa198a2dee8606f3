"""Turns a kernel file's own `launch` into a launch for an emulator: nothing describes it twice.

The launch is compiled instead of run, by the driver that only names a target; its arguments, the text that was
compiled and the memory of its tensors are kept.
"""

import contextlib
import ctypes
import hashlib
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton
from torch import Tensor
from triton.runtime.jit import JITFunction

from porting.emulators import Buffer, Launch
from porting.errors import EmulationError
from porting.kernel_compiler.offline import TEXTS, NamedTarget, make_target
from porting.kernel_library import Kernel
from porting.kernel_library.judging import as_tuple
from porting.kernel_library.memory_guard import MemoryGuard
from porting.kernel_library.poison import poisoned_allocations

WORDS = {"fp32": "<f", "f32": "<f", "fp64": "<d"}
"""How Triton's floating-point types of arguments are packed; others are whole numbers."""
WHOLE_BYTES = {"i1": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "i32": 4, "u32": 4, "i64": 8, "u64": 8}
SCRATCH_ALIGNMENT = 128
"""Bytes; what a device's allocator gives at least."""
IGNORED = re.compile(rb"^\s*(\.loc\b|\.file\b|\.target\b|//|;).*$|//.*$", re.MULTILINE)
"""Of a text, what no instruction depends on: source lines, comments, and the name of the target."""


@dataclass(frozen=True)
class Captured:
    """One launch, ready for an emulator, and the tensors that it reads and writes."""

    launch: Launch
    inputs: tuple[Any, ...]
    """What `launch` was called with; the buffers are these tensors' memory."""
    outputs: tuple[Tensor, ...]
    """What it returned: poison, until something is executed."""

    @property
    def text_sha256(self) -> str:
        """Digest of the text without what no instruction depends on."""
        return hashlib.sha256(IGNORED.sub(b"", self.launch.text.encode())).hexdigest()


def capture(kernel: Kernel, inputs: tuple[Any, ...], architecture: str, tuning: dict[str, int]) -> Captured:
    """Compile what `launch` launches for these inputs; with source lines, unless the environment leaves them out.

    Raises:
        EmulationError: it launches more or less than one kernel, or one that needs what no emulator has.
            What Triton raises passes through.
    """
    triton.runtime.driver.set_active(NamedTarget(make_target(architecture)))
    seen: list[tuple[Any, dict[str, Any], tuple[int, ...]]] = []
    with _compiled_instead(seen), poisoned_allocations():
        outputs = as_tuple(kernel.launch(*inputs, **tuning))
    if len(seen) != 1:
        raise EmulationError(f"{kernel.name}: launch starts {len(seen)} kernels; let it start one")
    ((compiled, arguments, grid),) = seen
    facts = compiled.metadata
    if facts.num_ctas != 1:
        raise EmulationError(f"{kernel.name}: a cluster of {facts.num_ctas} programs is executed by no emulator")
    width, height, depth = (*grid, 1, 1)[:3]
    types = {name: kind for name, kind in compiled.src.signature.items() if kind != "constexpr"}
    buffers = _find_buffers({name: arguments[name] for name in types})
    nbytes = math.prod(grid) * (facts.global_scratch_size or 0)
    if nbytes:
        buffers.append(_make_scratch(nbytes))
    # Behind a kernel's own parameters stand pointers to global and to profile scratch memory; null where there is none.
    pointers = (buffers[-1].address if nbytes else 0, 0)
    launch = Launch(
        text=compiled.asm[TEXTS[architecture.partition(":")[0]]],
        architecture=architecture,
        grid=(width, height, depth),
        arguments=(
            *(pack_argument(arguments[name], kind) for name, kind in types.items()),
            *(struct.pack("<Q", pointer) for pointer in pointers),
        ),
        buffers=tuple(buffers),
        warps=facts.num_warps,
        shared_bytes=facts.shared,
        tensor_memory_columns=getattr(facts, "tmem_size", None) or 0,
    )
    return Captured(launch, inputs, outputs)


@contextlib.contextmanager
def _compiled_instead(seen: list[tuple[Any, dict[str, Any], tuple[int, ...]]]) -> Iterator[None]:
    """Every launch inside compiles, runs nothing, and is listed: what was compiled, its arguments by name, its grid."""
    run = JITFunction.run

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        compiled = run(self, *arguments, grid=grid, warmup=True, **options)
        named = {**dict(zip(self.arg_names, arguments, strict=False)), **options}
        sides = grid(named) if callable(grid) else grid
        seen.append((compiled, named, tuple(int(side) for side in sides)))
        return compiled

    JITFunction.run = compile_only
    try:
        yield
    finally:
        JITFunction.run = run


def pack_argument(value: Any, kind: str) -> bytes:
    """One run-time argument as the compiled kernel takes it: little-endian, of its parameter's size.

    Args:
        value: a tensor, None (a null pointer), or a number.
        kind: Triton's name of the type: "*bf16", "i32", "fp32", ...

    Raises:
        EmulationError: there is no such type.
    """
    if kind.startswith("*"):
        return struct.pack("<Q", 0 if value is None else value.data_ptr())
    if kind in WORDS:
        return struct.pack(WORDS[kind], value)
    if kind not in WHOLE_BYTES:
        raise EmulationError(f"argument {value!r}: no emulator takes one of type {kind}")
    return int(value).to_bytes(WHOLE_BYTES[kind], "little", signed=int(value) < 0)


def _find_buffers(arguments: dict[str, Any]) -> list[Buffer]:
    """The memory of the tensors, views of one tensor together: all that the launch may touch."""
    return [
        Buffer(extent.name, extent.start, _bytes_at(extent.start, extent.end - extent.start))
        for extent in MemoryGuard(arguments).extents
    ]


def _bytes_at(address: int, nbytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """This process's own memory; who holds the tensors holds it."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))


def _make_scratch(nbytes: int) -> Buffer:
    memory = np.zeros(nbytes + SCRATCH_ALIGNMENT, np.uint8)
    skipped = -memory.ctypes.data % SCRATCH_ALIGNMENT
    return Buffer("global scratch", memory.ctypes.data + skipped, memory[skipped : skipped + nbytes])
