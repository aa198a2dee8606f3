"""Compiles some small kernels for AMD's processors, in a process of its own: the tests' own runs Triton interpreted.

    python -m tests.emulators.amdgcn.compiled FILE

writes a pickle: (kernel, processor) -> text, code object, warps and bytes of LDS.
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

LANES = {"gfx942": 64, "gfx950": 64, "gfx1250": 32, "gfx1201": 32}


@triton.jit
def multiply_described(a, b, c, m, n, k):  # type: ignore[no-untyped-def]
    """a (m, k) times b (n, k) transposed in bfloat16, by the tensor data mover where there is one."""
    x = tl.make_tensor_descriptor(a, [m, k], [k, 1], [32, 64])
    y = tl.make_tensor_descriptor(b, [n, k], [k, 1], [32, 64])
    z = tl.make_tensor_descriptor(c, [m, n], [n, 1], [32, 32])
    row, column = 32 * tl.program_id(0), 32 * tl.program_id(1)
    total = tl.zeros((32, 32), tl.float32)
    for start in range(0, k, 64):
        total = tl.dot(x.load([row, start]), y.load([column, start]).T, total)
    z.store([row, column], total.to(tl.bfloat16))


FP8, BF16 = "*fp8e4nv", "*bf16"
KERNELS: dict[str, tuple[Any, dict[str, str], dict[str, int], tuple[str, ...]]] = {
    "multiply": (
        multiply,
        {"a": "*fp16", "b": "*fp16", "c": "*fp16", "n": "i32"},
        {"DEPTH": 128, "TILE": 32},
        tuple(LANES),
    ),
    "soften": (soften, {"x": "*fp32", "y": "*fp32", "n": "i32"}, {"N": 512}, tuple(LANES)),
    "multiply_scaled": (
        multiply_scaled,
        {"a": FP8, "a_scales": "*u8", "b": FP8, "b_scales": "*u8", "c": "*fp32"},
        {"SIDE": 32},
        ("gfx950", "gfx1250"),
    ),
    "multiply_described": (
        multiply_described,
        {"a": BF16, "b": BF16, "c": BF16, "m": "i32", "n": "i32", "k": "i32"},
        {},
        ("gfx950", "gfx1250"),
    ),
}


def compile_all() -> dict[tuple[str, str], dict[str, Any]]:
    """Every kernel for its processors."""
    found = {}
    for name, (function, types, constants, targets) in KERNELS.items():
        signature = {argument: types.get(argument, "constexpr") for argument in function.arg_names}
        for target in targets:
            # Rows of a described tensor begin at multiples of 16 bytes.
            aligned = range(len(signature)) if name == "multiply_described" else ()
            attributes = {(place,): [["tt.divisibility", 16]] for place in aligned}
            source = ASTSource(function, signature=signature, constexprs=constants, attrs=attributes)
            options = {"num_warps": 4, "num_stages": {"multiply": 3, "multiply_described": 2}.get(name, 1)}
            code = triton.compile(source, target=GPUTarget("hip", target, LANES[target]), options=options)
            found[name, target] = {
                "text": code.asm["amdgcn"],
                "hsaco": code.asm["hsaco"],
                "warps": code.metadata.num_warps,
                "shared": code.metadata.shared,
            }
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pickle.dumps(compile_all()))
