"""Executes the assembly that Triton emits for AMD processors, instruction by instruction, as numpy.

`run` executes a launch, `undecoded` names what of a text it could not. What is not emulated: the encoding of the text
(the assembler's own), the last bits of approximate functions, rounding modes other than to nearest, timing hazards,
caches, and the order of accesses to global memory between workgroups.
"""

from porting.emulators.amdgcn.code import undecoded
from porting.emulators.amdgcn.machine import run

__all__ = ["run", "undecoded"]
