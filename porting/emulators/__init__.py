"""Execute compiled GPU kernels on the CPU, instruction by instruction, from the text that the compiler emitted.

`ptx` executes NVIDIA's PTX, `amdgcn` AMD's assembly. Both take a `Launch` and a `Schedule`, write into the launch's
buffers, and return `Counts`; what a device would punish, silently or not, is a `Fault`. Neither knows what a kernel
should compute, nor how its text was made.
"""

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer, Counts, Launch, Schedule

__all__ = ["Buffer", "Counts", "Fault", "FaultKind", "Launch", "Schedule"]
