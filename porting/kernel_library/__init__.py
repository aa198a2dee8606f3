"""Kernel files: found, loaded by path, checked against their anatomy, and interpreted on the CPU.

`library` finds and loads them, `anatomy` says what a file must hold, `interpreter` makes Triton's interpreter exact
enough to prove them. Compiling for a device happens elsewhere, in processes that interpret nothing.
"""

from porting.kernel_library.library import Kernel, Variant, find_kernels, kernel_paths, load_kernel

__all__ = ["Kernel", "Variant", "find_kernels", "kernel_paths", "load_kernel"]
