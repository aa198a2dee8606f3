"""How many programs of a kernel fit on one multiprocessor at once, and what keeps one more away.

Limits are facts of the chips with their sources. A chip that is not in a table, or whose figures nobody published, has
no occupancy: the reason is said instead. Nothing here knows how a kernel was compiled.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Occupancy:
    """What fits at once; None where a limit is unknown, and `unknown` says which."""

    programs: int | None = None
    share: float | None = None
    """Their warps over the warps that fit at most."""
    limiter: str | None = None
    unknown: str = ""


@dataclass(frozen=True)
class StreamingMultiprocessor:
    """What the programs of an NVIDIA chip share; None is known to nobody."""

    warps: int | None
    programs: int | None
    shared_bytes: int
    tensor_memory_columns: int = 0


# Warps, programs, shared memory: NVIDIA/cccl, libcudacxx/include/cuda/__device/arch_traits.h (2026).
# Tensor memory: PTX ISA, tcgen05, "512 columns and 128 rows a CTA".
NVIDIA: dict[int, StreamingMultiprocessor] = {
    75: StreamingMultiprocessor(warps=32, programs=16, shared_bytes=64 << 10),
    80: StreamingMultiprocessor(warps=64, programs=32, shared_bytes=164 << 10),
    86: StreamingMultiprocessor(warps=48, programs=16, shared_bytes=100 << 10),
    87: StreamingMultiprocessor(warps=48, programs=16, shared_bytes=164 << 10),
    89: StreamingMultiprocessor(warps=48, programs=24, shared_bytes=100 << 10),
    90: StreamingMultiprocessor(warps=64, programs=32, shared_bytes=228 << 10),
    100: StreamingMultiprocessor(warps=64, programs=32, shared_bytes=228 << 10, tensor_memory_columns=512),
    103: StreamingMultiprocessor(warps=64, programs=32, shared_bytes=228 << 10, tensor_memory_columns=512),
    # Rubin: "up to 328 KB and 288 KB of tensor memory", triton-lang/triton PR 10936; 576 columns, its compiler.py.
    107: StreamingMultiprocessor(warps=None, programs=None, shared_bytes=328 << 10, tensor_memory_columns=576),
    110: StreamingMultiprocessor(warps=48, programs=24, shared_bytes=228 << 10, tensor_memory_columns=512),
    120: StreamingMultiprocessor(warps=48, programs=24, shared_bytes=100 << 10),
    121: StreamingMultiprocessor(warps=48, programs=24, shared_bytes=100 << 10),
}
REGISTERS = 64 << 10
"""Of a multiprocessor, 32 bits each: the same arch_traits.h."""
REGISTER_UNIT = 256
"""Registers are given to a warp in units of this: cuda_occupancy.h, cudaOccRegAllocationGranularity."""
SHARED_UNIT = 128
"""cuda_occupancy.h, cudaOccSMemAllocationGranularity."""
SHARED_RESERVED = 1024
"""Taken by the driver from every program's share: arch_traits.h, reserved_shared_memory_per_block."""


@dataclass(frozen=True)
class ComputeUnit:
    """What the workgroups of an AMD chip share: a compute unit, or the pair of them that RDNA gives to a workgroup."""

    waves_per_simd: int
    lds_bytes: int
    lds_unit: int


# LLVM, llvm/lib/Target/AMDGPU: getMaxWavesPerEU and getLdsDwGranularity of AMDGPUBaseInfo.cpp, and the features
# AddressableLocalMemorySize of AMDGPU.td; two compute units of gfx12 have 128 KiB together (getLocalMemorySize).
# gfx1250's unit: llvm/test/CodeGen/AMDGPU/lds-size-hsa-gfx1250.ll, 327680 bytes are 320 of them.
AMD: dict[str, ComputeUnit] = {
    "gfx90a": ComputeUnit(waves_per_simd=8, lds_bytes=64 << 10, lds_unit=512),
    "gfx942": ComputeUnit(waves_per_simd=8, lds_bytes=64 << 10, lds_unit=512),
    "gfx950": ComputeUnit(waves_per_simd=8, lds_bytes=160 << 10, lds_unit=1280),
    "gfx1200": ComputeUnit(waves_per_simd=16, lds_bytes=128 << 10, lds_unit=512),
    "gfx1201": ComputeUnit(waves_per_simd=16, lds_bytes=128 << 10, lds_unit=512),
    "gfx1250": ComputeUnit(waves_per_simd=16, lds_bytes=320 << 10, lds_unit=1024),
}
SIMDS = 4
"""Of each of them: LLVM, getEUsPerCU."""


def nvidia_occupancy(
    architecture: int, warps: int, registers: int, shared_bytes: int, tensor_memory_columns: int
) -> Occupancy:
    """Programs on one multiprocessor.

    Args:
        architecture: compute capability, 100 for sm_100.
        warps: of one program.
        registers: of one thread.
        shared_bytes: of one program, what the driver reserves not counted.
        tensor_memory_columns: of one program.
    """
    limits = NVIDIA.get(architecture)
    if limits is None:
        return Occupancy(unknown=f"the limits of sm_{architecture} are in no table")
    reserved = SHARED_RESERVED if architecture >= 80 else 0
    fits = {"shared memory": limits.shared_bytes // max(_round_up(shared_bytes, SHARED_UNIT) + reserved, 1)}
    if tensor_memory_columns:
        fits["tensor memory"] = limits.tensor_memory_columns // tensor_memory_columns
    if limits.warps is None or limits.programs is None:
        # What alone is too much for the chip is too much whatever else is unknown.
        if 0 in fits.values():
            return _lowest(fits, warps, warps)
        return Occupancy(unknown=f"nobody published how many warps a multiprocessor of sm_{architecture} holds")
    fits = {
        "warps": limits.warps // warps,
        "registers": REGISTERS // max(_round_up(32 * registers, REGISTER_UNIT), 1) // warps,
        **fits,
        "programs": limits.programs,
    }
    return _lowest(fits, warps, limits.warps)


def amd_occupancy(architecture: str, waves: int, register_waves_per_simd: int, lds_bytes: int) -> Occupancy:
    """Workgroups on one compute unit.

    Args:
        architecture: for example gfx942.
        waves: of one workgroup.
        register_waves_per_simd: waves that the registers leave room for on each SIMD; the compiler's own account.
        lds_bytes: of one workgroup.
    """
    limits = AMD.get(architecture)
    if limits is None:
        return Occupancy(unknown=f"the limits of {architecture} are in no table")
    by_registers = min(register_waves_per_simd, limits.waves_per_simd) * SIMDS // waves
    fits = {"waves" if register_waves_per_simd >= limits.waves_per_simd else "registers": by_registers}
    if lds_bytes:
        fits["LDS"] = limits.lds_bytes // _round_up(lds_bytes, limits.lds_unit)
    return _lowest(fits, waves, limits.waves_per_simd * SIMDS)


def _lowest(fits: dict[str, int], warps: int, most_warps: int) -> Occupancy:
    """The first of the tightest limits."""
    limiter = min(fits, key=lambda name: fits[name])
    return Occupancy(programs=fits[limiter], share=fits[limiter] * warps / most_warps, limiter=limiter)


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
