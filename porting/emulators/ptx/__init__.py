"""Execute NVIDIA's PTX, as Triton emits it, on the CPU.

`run` executes a launch into its buffers; `undecoded` says which instructions of a text are not known. Not covered:
clusters of several programs, ptxas and the hardware itself, the last bits of approximate functions, timing.
"""

from porting.emulators.ptx.launch import run, undecoded

__all__ = ["run", "undecoded"]
