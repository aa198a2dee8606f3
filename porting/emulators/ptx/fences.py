"""fence.proxy.async, fence.mbarrier_init: order the warps' own accesses before those of engines.

Semantics: PTX ISA 9, "Parallel Synchronization and Communication Instructions: membar / fence". A proxy fence covers
what its warp has done and what it knows of: it may stand before a barrier, at the writers, or after it.
"""

from porting.emulators.ptx.active import Active
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction


@instruction("fence.proxy.async", "fence.proxy.async.shared::cta", "fence.proxy.async.shared::cluster")
def _fence_shared(one: Instruction, machine: Machine) -> Step:
    return lambda active: machine.clocks.fence(active.warps.tolist())


@instruction("fence.proxy.async.global", "fence.mbarrier_init.release.cluster")
def _order(one: Instruction, machine: Machine) -> Step:
    """Of global memory, and of barriers towards other programs of a cluster: neither is looked at for races."""

    def step(active: Active) -> None:
        """Every access has taken effect already."""

    return step
