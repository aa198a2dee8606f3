"""Random kernels, and what Triton's interpreter makes of them.

    python -m tests.emulation.random_kernels FOLDER interpreter SEED...
    python -m tests.emulation.random_kernels FOLDER cuda:100 SEED...

writes FOLDER/SEED.py and the outputs as FOLDER/interpreter.SEED.npz, run by the (mended) interpreter, or those of what
was compiled for a chip, executed. A process does one or the other, never both. Every operation that is drawn has one
result only: no contraction, no approximate function, sums of whole numbers alone.
"""

import importlib.util
import os
import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np

INTERPRETER = "interpreter"
REAL = 241
"""Elements of a block of 256 that the masks let through."""
STATEMENTS = 24
HEAD = """import triton
import triton.language as tl


@triton.jit
def kernel(x_ptr, y_ptr, i_ptr, j_ptr, float_ptr, half_ptr, brain_ptr, whole_ptr, wide_ptr, n):
    place = tl.arange(0, 256)
    inside = place < n
    f0 = tl.load(x_ptr + place, mask=inside, other=0.5)
    f1 = tl.load(y_ptr + place, mask=inside, other=-2.0)
    i0 = tl.load(i_ptr + place, mask=inside, other=7)
    i1 = tl.load(j_ptr + place, mask=inside, other=-3)
"""
TAIL = """    tl.store(float_ptr + place, {f}, mask=inside)
    tl.store(half_ptr + place, {f}.to(tl.float16), mask=inside)
    tl.store(brain_ptr + place, {g}.to(tl.bfloat16), mask=inside)
    tl.store(whole_ptr + place, {i}, mask=inside)
    tl.store(wide_ptr + place, {i}.to(tl.int64) * {j}, mask=inside)
"""
FLOATS = (
    "{f} + {g}",
    "{f} - {g}",
    "{f} * {g}",
    "tl.maximum({f}, {g})",
    "tl.minimum({f}, {g})",
    "tl.abs({f})",
    "-{f}",
    "tl.where({f} > {g}, {f}, {g} - {f})",
    "tl.where({i} < {j}, {f}, {g})",
    "{f}.to(tl.bfloat16).to(tl.float32)",
    "{f}.to(tl.float16).to(tl.float32)",
    "{i}.to(tl.float32)",
    "({i} & 255).to(tl.uint8).to(tl.float32)",
    "tl.floor({f})",
    "tl.div_rn({f}, 1.5 + tl.abs({g}))",
    "tl.sqrt_rn(tl.abs({f}))",
    "tl.max({f}, 0) + {g}",
    "tl.reshape(tl.trans(tl.reshape({f}, (16, 16))), (256,))",
    "tl.reshape(tl.reshape({f}, (16, 16)) - tl.min(tl.reshape({g}, (16, 16)), 1)[:, None], (256,))",
    "tl.reshape(tl.reshape({f}, (16, 16)) + tl.max(tl.reshape({g}, (16, 16)), 0)[None, :], (256,))",
)
WHOLES = (
    "{i} + {j}",
    "{i} - {j}",
    "{i} * {j}",
    "{i} & {j}",
    "{i} | {j}",
    "{i} ^ {j}",
    "~{i}",
    "{i} << ({j} & 31)",
    "{i} >> ({j} & 31)",
    "({i}.to(tl.uint32) >> ({j} & 31).to(tl.uint32)).to(tl.int32)",
    "{i} // 7",
    "{i} % 13",
    "tl.minimum({i}, {j})",
    "tl.maximum({i}, {j})",
    "tl.where({f} < {g}, {i}, {j})",
    "tl.umulhi({i}.to(tl.uint32), {j}.to(tl.uint32)).to(tl.int32)",
    "{i}.to(tl.int8).to(tl.int32)",
    "{i}.to(tl.int16).to(tl.int32) + {j}",
    "tl.minimum(tl.maximum({f}, -1e6), 1e6).to(tl.int32)",
    "tl.sum({i} & 1023, 0) + {j}",
    "tl.cumsum({i} & 255, 0)",
    "tl.reshape(tl.trans(tl.reshape({i}, (16, 16))), (256,))",
    "tl.reshape(tl.sum(tl.reshape({i} & 4095, (16, 16)), 1)[:, None] + tl.reshape({j}, (16, 16)), (256,))",
    # Whole numbers up to 16 in bfloat16: the products and sums of a matrix product are exact.
    "tl.reshape(tl.dot(tl.reshape(({i} & 15).to(tl.bfloat16), (16, 16)),"
    " tl.reshape(({j} & 15).to(tl.bfloat16), (16, 16))), (256,)).to(tl.int32)",
)


def write_source(seed: int) -> str:
    """The kernel of that seed."""
    chance = random.Random(seed)
    floats, wholes, lines = ["f0", "f1"], ["i0", "i1"], []
    for number in range(2, STATEMENTS + 2):
        pool, name = (floats, f"f{number}") if chance.random() < 0.5 else (wholes, f"i{number}")
        # The latest values first, so that most of what is computed reaches an output.
        names = {key: chance.choice(floats[-4:]) for key in "fg"} | {key: chance.choice(wholes[-4:]) for key in "ij"}
        lines.append(f"    {name} = {chance.choice(FLOATS if pool is floats else WHOLES).format(**names)}\n")
        pool.append(name)
    ends = {"f": floats[-1], "g": floats[-2], "i": wholes[-1], "j": wholes[-2]}
    return HEAD + "".join(lines) + TAIL.format(**ends)


def load_source(path: Path) -> ModuleType:
    """The module of a kernel that was written."""
    spec = importlib.util.spec_from_file_location(f"random_kernel_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_tensors(seed: int) -> tuple[Any, ...]:
    """Inputs with edges among them, and outputs that are written in full by none but the kernel."""
    import torch

    chance = np.random.default_rng(seed)
    x, y = (chance.standard_normal(REAL).astype(np.float32) * 10.0 ** chance.integers(-4, 5, REAL) for _ in range(2))
    x[:4] = (0.0, -0.0, 65519.0, 1e-7)
    i, j = (chance.integers(-(2**31), 2**31, REAL).astype(np.int32) for _ in range(2))
    j[::3] &= 63
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int64)
    return (
        *map(torch.from_numpy, (x.astype(np.float32), y.astype(np.float32), i, j)),
        *(torch.zeros(REAL, dtype=kind) for kind in kinds),
    )


def as_array(tensor: Any) -> Any:
    """Its values; bfloat16, which numpy lacks, and float16 as float32."""
    return tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()


def interpret(module: ModuleType, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the interpreter writes."""
    module.kernel[(1,)](*tensors, REAL)
    return tensors[4:]


def emulate(module: ModuleType, tensors: tuple[Any, ...], chip: str) -> tuple[Any, ...]:
    """What the compiled code writes."""
    from porting.emulation.capture import capture
    from porting.emulation.execute import load_emulator
    from porting.emulators import Schedule

    def launch(*given: Any) -> tuple[Any, ...]:
        module.kernel[(1,)](*given, REAL, num_warps=4, enable_fp_fusion=False)
        return given[4:]

    captured = capture(cast(Any, SimpleNamespace(name=module.__name__, launch=launch)), tensors, chip, {})
    load_emulator(chip)(captured.launch, Schedule())
    return captured.outputs


def main(arguments: list[str]) -> None:
    """Write and run the kernels of the seeds."""
    folder, way = Path(arguments[0]), arguments[1]
    for seed in map(int, arguments[2:]):
        path = folder / f"{way}.{seed}.py"
        path.write_text(write_source(seed), encoding="utf-8")
        module, tensors = load_source(path), make_tensors(seed)
        written = interpret(module, tensors) if way == INTERPRETER else emulate(module, tensors, way)
        np.savez(folder / f"{way}.{seed}.npz", *map(as_array, written))


if __name__ == "__main__":
    if sys.argv[2] == INTERPRETER:
        os.environ["TRITON_INTERPRET"] = "1"
        from porting.kernel_library.interpreter import mend_interpreter

        mend_interpreter()
    else:
        os.environ.pop("TRITON_INTERPRET", None)
    main(sys.argv[1:])
