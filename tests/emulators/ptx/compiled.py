"""Compiles some small kernels for NVIDIA's processors, in a process of its own: the tests' own runs Triton interpreted.

    python -m tests.emulators.ptx.compiled FILE KERNEL...

writes a pickle: (kernel, processor) -> text, warps, bytes of shared memory, and bytes of global scratch a program.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tests.emulators.small_kernels import multiply, multiply_scaled, soften


@triton.jit  # type: ignore[untyped-decorator]
def multiply_tiles(a, b, c, DEPTH: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """64 x 64 with tiles moved by tensor descriptors; b is given by its columns."""
    a_tiles = tl.make_tensor_descriptor(a, [64, DEPTH], [DEPTH, 1], [64, 64])
    b_tiles = tl.make_tensor_descriptor(b, [64, DEPTH], [DEPTH, 1], [64, 64])
    c_tiles = tl.make_tensor_descriptor(c, [64, 64], [64, 1], [64, 64])
    total = tl.zeros((64, 64), tl.float32)
    for start in range(0, DEPTH, 64):
        total = tl.dot(a_tiles.load([0, start]), b_tiles.load([0, start]).T, total)
    c_tiles.store([0, 0], total.to(tl.float16))


@triton.jit  # type: ignore[untyped-decorator]
def attend(q, k, v, out, L: tl.constexpr, BY_POINTER: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """Attention of L places of 64 elements, a program for 128 of them, its warps specialised by the compiler."""
    begin = tl.program_id(0) * 128
    q_tiles = tl.make_tensor_descriptor(q, [L, 64], [64, 1], [128, 64])
    k_tiles = tl.make_tensor_descriptor(k, [L, 64], [64, 1], [128, 64])
    v_tiles = tl.make_tensor_descriptor(v, [L, 64], [64, 1], [128, 64])
    queries = q_tiles.load([begin, 0])
    most, total = tl.full((128,), float("-inf"), tl.float32), tl.zeros((128,), tl.float32)
    mixed = tl.zeros((128, 64), tl.float32)
    for place in tl.range(0, L, 128, warp_specialize=True):
        score = tl.dot(queries, k_tiles.load([place, 0]).T) * (0.125 * 1.4426950408889634)
        higher = tl.maximum(most, tl.max(score, 1))
        weight, kept = tl.exp2(score - higher[:, None]), tl.exp2(most - higher)
        total = total * kept + tl.sum(weight, 1)
        mixed = tl.dot(weight.to(tl.bfloat16), v_tiles.load([place, 0]), mixed * kept[:, None])
        most = higher
    result = (mixed / total[:, None]).to(tl.bfloat16)
    if BY_POINTER:
        row, column = begin + tl.arange(0, 128), tl.arange(0, 64)
        tl.store(out + row[:, None] * 64 + column[None, :], result)
    else:
        out_tiles = tl.make_tensor_descriptor(out, [L, 64], [64, 1], [128, 64])
        out_tiles.store([begin, 0], result)


FP8 = "*fp8e4nv"
HALVES = {"a": "*fp16", "b": "*fp16", "c": "*fp16"}
BRAINS = dict.fromkeys(("q", "k", "v", "out"), "*bf16")
Constants = dict[str, Any]
KERNELS: dict[str, tuple[Any, dict[str, str], Constants, int, tuple[int, ...]]] = {
    "soften": (soften, {"x": "*fp32", "y": "*fp32", "n": "i32"}, {"N": 512}, 1, (80,)),
    "multiply": (multiply, {**HALVES, "n": "i32"}, {"DEPTH": 256, "TILE": 64}, 3, (80, 90, 100, 120)),
    "multiply_tiles": (multiply_tiles, HALVES, {"DEPTH": 256}, 3, (90, 100)),
    "multiply_scaled": (
        multiply_scaled,
        {"a": FP8, "a_scales": "*u8", "b": FP8, "b_scales": "*u8", "c": "*fp32"},
        {"SIDE": 128},
        1,
        (100, 107, 120),
    ),
    "attend_by_pointer": (attend, BRAINS, {"L": 256, "BY_POINTER": True}, 2, (90,)),
    "attend_by_tiles": (attend, BRAINS, {"L": 256, "BY_POINTER": False}, 2, (90,)),
}
"""Name -> function, types of its arguments, constants, stages of the pipeline, processors."""


def compile_all(names: list[str]) -> dict[tuple[str, int], dict[str, Any]]:
    """These kernels for their processors."""
    found = {}
    for name in names:
        function, types, constants, stages, processors = KERNELS[name]
        signature = {argument: types.get(argument, "constexpr") for argument in function.arg_names}
        aligned: Any = {
            (place,): [["tt.divisibility", 16]] for place, kind in enumerate(signature.values()) if kind[0] == "*"
        }
        for processor in processors:
            source = ASTSource(function, signature=signature, constexprs=constants, attrs=aligned)
            options = {"num_warps": 4, "num_stages": stages}
            code = triton.compile(source, target=GPUTarget("cuda", processor, 32), options=options)
            facts = code.metadata
            found[name, processor] = {
                "text": code.asm["ptx"],
                "warps": facts.num_warps,
                "shared": facts.shared,
                "scratch": facts.global_scratch_size or 0,
                "columns": getattr(facts, "tmem_size", None) or 0,
            }
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pickle.dumps(compile_all(sys.argv[2:])))
