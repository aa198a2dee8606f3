"""What differs between the processors, as data: one profile each. No other module asks for a processor's name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from porting.emulators.faults import Fault, FaultKind


@dataclass(frozen=True)
class Target:
    """One processor, as far as executing its code goes."""

    name: str
    lanes: int
    """Of a wave."""
    fp8: np.dtype[Any]
    bf8: np.dtype[Any]
    """FNUZ on gfx942, OCP elsewhere."""
    load_counter: str
    store_counter: str
    """Of vector memory; one and the same on gfx9."""
    local_counter: str
    """Of LDS."""
    scalar_counter: str
    """Of scalar memory; one with LDS on gfx9."""
    async_counter: str
    """Of copies to LDS that pass no register."""
    counter_limits: Mapping[str, int]
    """A full counter stalls the wave: that many operations can be outstanding, no more."""
    workgroup_ids_in_trap_registers: bool
    """ttmp9 = x, ttmp7 = y | z << 16 (gfx12), else in the scalar registers after the user's."""
    descriptor_records_bits: int
    """Of a buffer descriptor's number of records: 32, or 45 with a 57-bit base before it (gfx1250)."""
    signed_offsets: bool
    """A 32-bit vector offset to a scalar base is signed."""
    keeps_high_half: bool
    """A 16-bit result leaves the upper half of its register as it was (gfx12's true 16-bit); gfx9 clears it."""
    lds_banks: int
    wide_registers: bool
    """s_set_vgpr_msb gives the upper bits of vector registers."""


GFX9_LIMITS = {"vmcnt": 63, "lgkmcnt": 15}
GFX12_LIMITS = {
    "loadcnt": 63,
    "storecnt": 63,
    "dscnt": 63,
    "kmcnt": 31,
    "asynccnt": 63,
    "tensorcnt": 63,
}
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
E5M2 = np.dtype(ml_dtypes.float8_e5m2)


def _gfx9(name: str, fp8: np.dtype[Any], bf8: np.dtype[Any], banks: int) -> Target:
    """CDNA: waves of 64 lanes, two counters."""
    return Target(
        name=name,
        lanes=64,
        fp8=fp8,
        bf8=bf8,
        load_counter="vmcnt",
        store_counter="vmcnt",
        local_counter="lgkmcnt",
        scalar_counter="lgkmcnt",
        async_counter="vmcnt",
        counter_limits=GFX9_LIMITS,
        workgroup_ids_in_trap_registers=False,
        descriptor_records_bits=32,
        signed_offsets=False,
        keeps_high_half=False,
        lds_banks=banks,
        wide_registers=False,
    )


def _gfx12(name: str, records_bits: int, signed_offsets: bool, banks: int, wide_registers: bool) -> Target:
    """RDNA 4 and its relatives: waves of 32 lanes, a counter for each path."""
    return Target(
        name=name,
        lanes=32,
        fp8=E4M3,
        bf8=E5M2,
        load_counter="loadcnt",
        store_counter="storecnt",
        local_counter="dscnt",
        scalar_counter="kmcnt",
        async_counter="asynccnt",
        counter_limits=GFX12_LIMITS,
        workgroup_ids_in_trap_registers=True,
        descriptor_records_bits=records_bits,
        signed_offsets=signed_offsets,
        keeps_high_half=True,
        lds_banks=banks,
        wide_registers=wide_registers,
    )


TARGETS = {
    target.name: target
    for target in (
        _gfx9("gfx942", np.dtype(ml_dtypes.float8_e4m3fnuz), np.dtype(ml_dtypes.float8_e5m2fnuz), 32),
        _gfx9("gfx950", E4M3, E5M2, 64),
        _gfx12("gfx1250", 45, True, 64, True),
        _gfx12("gfx1201", 32, False, 32, False),
    )
}


def find_target(name: str) -> Target:
    """The profile of one processor, "gfx950" or "hip:gfx950".

    Raises:
        Fault: none of that name is known.
    """
    target = TARGETS.get(name.removeprefix("hip:"))
    if target is None:
        raise Fault(FaultKind.UNKNOWN, f"processor {name}; known are {', '.join(sorted(TARGETS))}")
    return target
