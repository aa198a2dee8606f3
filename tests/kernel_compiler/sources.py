"""Kernel files for the compiler's tests, as text, and the folders where they are compiled once for all tests."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from porting.kernel_compiler import compile_requests, make_request, name_variants
from porting.kernel_library import load_kernel
from porting.record import KernelRecord

HEAD = '''"""{title} Source: arithmetic."""

import os
import time

import torch
import triton
import triton.language as tl
from torch import Tensor

'''
TAIL = '''

def reference(x: Tensor, y: Tensor) -> Tensor:
    """The same in PyTorch."""
    return x


DTYPES = ({dtypes},)


def example(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two matrices."""
    return torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)


EXAMPLES = ((64,), (67,))
TYPICAL = (512,)
TENSOR_CORES = {tensor_cores}
TUNABLES = {{"default": DEFAULTS}}
SEARCH = {search}
'''
ADD = '''DEFAULTS = {"BLOCK": 256, "num_warps": 4}


@triton.jit
def kernel(x_ptr, y_ptr, out_ptr, n, one, half, BLOCK: tl.constexpr):
    """One block."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place, mask=place < n, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + place, mask=place < n, other=0.0).to(tl.float32)
    tl.store(out_ptr + place, (x * half + y * one).to(out_ptr.dtype.element_ty), mask=place < n)


def launch(x: Tensor, y: Tensor, **tuning: int) -> Tensor:
    """Run the kernel."""
    out, options = torch.empty_like(x), {**DEFAULTS, **tuning}
    kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, out, x.numel(), 1, 0.5, **options)
    return out
'''
PRODUCT = '''DEFAULTS = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2}


@triton.jit
def kernel(x_ptr, y_ptr, out_ptr, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """One tile."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, n, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        left = (row < n)[:, None] & (inner < n)[None, :]
        x = tl.load(x_ptr + row[:, None] * n + inner[None, :], mask=left, other=0.0)
        right = (inner < n)[:, None] & (column < n)[None, :]
        y = tl.load(y_ptr + inner[:, None] * n + column[None, :], mask=right, other=0.0)
        total = tl.dot(x, y, total)
    out = total.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row[:, None] * n + column[None, :], out, mask=(row < n)[:, None] & (column < n)[None, :])


def launch(x: Tensor, y: Tensor, **tuning: int) -> Tensor:
    """Run the kernel."""
    out, options = torch.empty_like(x), {**DEFAULTS, **tuning}
    side = x.shape[0]
    grid = (triton.cdiv(side, options["BLOCK_M"]), triton.cdiv(side, options["BLOCK_N"]))
    kernel[grid](x, y, out, side, **options)
    return out
'''
ARCHITECTURES = (
    *("cuda:80", "cuda:90", "cuda:100", "cuda:107", "cuda:120"),
    *("hip:gfx942", "hip:gfx950", "hip:gfx1201", "hip:gfx1250"),
)


def write_kernel(
    folder: Path,
    name: str,
    body: str,
    dtypes: str = "torch.float32",
    tensor_cores: bool = False,
    more: str = "",
    search: str = '{"num_warps": (2, 4)}',
) -> Path:
    """A whole kernel file in a folder that is made for it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    tail = TAIL.format(dtypes=dtypes, tensor_cores=tensor_cores, search=search)
    path.write_text(HEAD.format(title=f"{name}: x and y.") + body + tail + more, encoding="utf-8")
    return path


def write_product(folder: Path, **changes: str) -> Path:
    """Matrix product in two dtypes."""
    dtypes = "torch.bfloat16, torch.float8_e4m3fn"
    return write_kernel(folder, "product", PRODUCT, dtypes, tensor_cores=True, **changes)


@cache
def compiled() -> tuple[Path, dict[tuple[str, str, str], KernelRecord]]:
    """Folder and records of `product` everywhere and of `add` in two places; by kernel, variant, architecture."""
    folder = Path(tempfile.mkdtemp(prefix="worldport-test-kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    add = load_kernel(write_kernel(folder / "source", "add", ADD))
    product = load_kernel(write_product(folder / "source"))
    asked = [
        make_request(kernel, variant, architecture)
        for kernel, architectures in ((product, ARCHITECTURES), (add, ("cuda:90", "hip:gfx942")))
        for variant in name_variants(kernel)
        for architecture in architectures
    ]
    records = compile_requests(asked, folder / "cache", 2, folder / "out")
    return folder, {(record.kernel, record.variant, record.architecture): record for record in records}


def read(record: KernelRecord, suffix: str) -> bytes:
    """One of the files of a record of `compiled()`."""
    (name,) = [name for name in record.files if name.endswith(suffix)]
    return (compiled()[0] / "out" / name).read_bytes()
