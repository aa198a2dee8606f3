"""Compile a kernel, execute what was compiled in an emulator, and hold what it wrote against its reference.

Knows kernel files and both emulators; knows no bundle, no target and no verdict.
"""

from porting.emulation.batch import emulate_kernels
from porting.emulation.request import EXAMPLES, EmulationRequest

__all__ = ["EXAMPLES", "EmulationRequest", "emulate_kernels"]
