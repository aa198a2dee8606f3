"""Run a few lines of PTX over arrays: each input becomes a register of every thread, each output is stored again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators import Buffer, Counts, Launch, Schedule
from porting.emulators.ptx import run

Array = npt.NDArray[Any]
POISON = 0xA5


def execute(
    body: str,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Any],
    *,
    threads: int | None = None,
    shared: int = 0,
    schedule: Schedule | None = None,
    grid: tuple[int, int, int] = (1, 1, 1),
    architecture: str = "cuda:90",
) -> dict[str, Array]:
    """Outputs by name, one element a thread: register %name is loaded before, and stored after, the body.

    Registers of the body's own go into braces. Arrays are padded to whole warps; outputs are as long as the inputs.
    """
    length = max((len(array) for array in inputs.values()), default=threads or 32)
    count = threads or -(-length // 32) * 32
    kinds = {name: np.dtype(dtype) for name, dtype in outputs.items()}
    padded = {name: np.resize(array, count) for name, array in inputs.items()}
    buffers = {
        **{name: np.ascontiguousarray(array).view(np.uint8).copy() for name, array in padded.items()},
        **{name: np.full(count * kind.itemsize, POISON, np.uint8) for name, kind in kinds.items()},
    }
    addresses = {name: 0x10000 * (place + 1) for place, name in enumerate(buffers)}
    launch = Launch(
        text=kernel_text(_lines(body, padded, kinds, list(buffers)), len(buffers), count),
        architecture=architecture,
        grid=grid,
        arguments=tuple(addresses[name].to_bytes(8, "little") for name in buffers),
        buffers=tuple(Buffer(name, addresses[name], content) for name, content in buffers.items()),
        warps=count // 32,
        shared_bytes=shared,
    )
    run(launch, schedule or Schedule())
    return {name: buffers[name].view(kind)[: min(length, count)] for name, kind in kinds.items()}


def kernel_text(lines: Sequence[str], parameters: int, threads: int) -> str:
    """The text of a kernel of pointers; shared memory is global_smem."""
    declared = ",\n".join(f"\t.param .u64 .ptr .global .align 1 kernel_param_{place}" for place in range(parameters))
    return "\n".join(
        [
            ".version 9.0",
            ".target sm_90a",
            ".address_size 64",
            ".extern .shared .align 16 .b8 global_smem[];",
            f".visible .entry kernel(\n{declared}\n)",
            f".reqntid {threads}",
            "{",
            *lines,
            "\tret;",
            "}",
        ]
    )


def launch_of(text: str, threads: int, content: Array, shared: int = 0) -> Launch:
    """A launch of a kernel of one pointer."""
    return Launch(
        text=text,
        architecture="cuda:90",
        grid=(1, 1, 1),
        arguments=((0x10000).to_bytes(8, "little"),),
        buffers=(Buffer("memory", 0x10000, content),),
        warps=threads // 32,
        shared_bytes=shared,
    )


def run_lines(
    lines: str, *, threads: int = 32, size: int = 4096, shared: int = 0, schedule: Schedule | None = None
) -> tuple[npt.NDArray[np.uint8], Counts]:
    """Run a kernel of one pointer, in %base, to `size` zero bytes; %t is the thread. Returns the bytes and counts."""
    content = np.zeros(size, np.uint8)
    head = [".reg .b64 %base;", ".reg .b32 %t;", "ld.param.b64 %base, [kernel_param_0];", "mov.u32 %t, %tid.x;"]
    counts = run(launch_of(kernel_text([*head, lines], 1, threads), threads, content, shared), schedule or Schedule())
    return content, counts


def _bits(dtype: np.dtype[Any]) -> int:
    return 8 * dtype.itemsize


def _register(dtype: np.dtype[Any]) -> str:
    return "pred" if dtype == np.bool_ else f"b{max(16, _bits(dtype))}"


def _lines(
    body: str, inputs: Mapping[str, Array], outputs: Mapping[str, np.dtype[Any]], names: Sequence[str]
) -> list[str]:
    registers = {name: array.dtype for name, array in inputs.items()} | dict(outputs)
    lines = [".reg .b32 %thread;", "mov.u32 %thread, %tid.x;"]
    for place, name in enumerate(names):
        lines += [
            f".reg .{_register(registers[name])} %{name};",
            f".reg .b64 %{name}_at;",
            f"ld.param.b64 %{name}_at, [kernel_param_{place}];",
            f"mad.wide.u32 %{name}_at, %thread, {registers[name].itemsize}, %{name}_at;",
        ]
        if name in inputs:
            lines.append(_load(name, registers[name]))
    lines.append(body)
    return lines + [_store(name, dtype) for name, dtype in outputs.items()]


def _load(name: str, dtype: np.dtype[Any]) -> str:
    if dtype == np.bool_:
        return f"{{ .reg .b16 got; ld.global.b8 got, [%{name}_at]; setp.ne.b16 %{name}, got, 0; }}"
    return f"ld.global.b{_bits(dtype)} %{name}, [%{name}_at];"


def _store(name: str, dtype: np.dtype[Any]) -> str:
    if dtype == np.bool_:
        return f"{{ .reg .b16 put; selp.b16 put, 1, 0, %{name}; st.global.b8 [%{name}_at], put; }}"
    return f"st.global.b{_bits(dtype)} [%{name}_at], %{name};"
