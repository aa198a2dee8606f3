"""Decodes the addresses of memory instructions into functions of the waves: int64 (waves, lanes)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.operands import Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context
from porting.emulators.amdgcn.state import Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.amdgcn.values import read_64

Addresses = npt.NDArray[np.int64]
Address = Callable[[Waves], Addresses]
Bounded = Callable[[Waves], tuple[Addresses, npt.NDArray[np.bool_]]]
"""Waves -> (addresses, which lanes lie within the descriptor's records)."""


def offset_of(instruction: Instruction, name: str = "offset") -> int:
    """The immediate offset in bytes."""
    return int(instruction.modifiers.get(name, "0"), 0)


def local_address(operand: Operand, offset: int = 0) -> Address:
    """Address in LDS: 32 bits of a vector register, and an immediate."""
    if operand.kind != "vector":
        raise UndecodedError(f"an LDS address in {operand.kind}")
    row = operand.index
    return lambda waves: waves.u32[row].astype(np.int64) + offset


def global_address(vector: Operand, scalar: Operand, instruction: Instruction, context: Context, size: int) -> Address:
    """Address of a global instruction: a 64-bit vector, or a scalar base and a 32-bit vector offset.

    size: of one access in bytes: what scale_offset multiplies the vector offset by.
    """
    offset = offset_of(instruction)
    if scalar.kind == "off":
        read = read_64(vector, "i64")
        return lambda waves: read(waves) + offset
    if vector.kind != "vector" or scalar.kind != "scalar" or scalar.index % 2:
        raise UndecodedError("an address that is neither a pair nor a base with an offset")
    row, base = vector.index, scalar.index
    signed = context.target.signed_offsets
    scale = size if "scale_offset" in instruction.modifiers else 1

    def address(waves: Waves) -> Addresses:
        offsets: Any = (waves.i32 if signed else waves.u32)[row]
        result: Addresses = offsets.astype(np.int64) * scale + waves.column64[base].view(np.int64) + offset
        return result

    return address


def scratch_address(vector: Operand, scalar: Operand, offset: int) -> Address:
    """Byte of the lane's private memory."""
    parts: list[Callable[[Waves], Any]] = []
    if vector.kind == "vector":
        row = vector.index
        parts.append(lambda waves: waves.i32[row].astype(np.int64))
    elif vector.kind != "off":
        raise UndecodedError(f"a scratch address in {vector.kind}")
    if scalar.kind == "scalar":
        index = scalar.index
        parts.append(lambda waves: waves.column[index].view(np.int32).astype(np.int64))
    elif scalar.kind not in ("off", "literal"):
        raise UndecodedError(f"a scratch address in {scalar.kind}")
    else:
        offset += int(scalar.value)

    def address(waves: Waves) -> Addresses:
        result = np.full((waves.count, waves.lanes), offset, np.int64)
        for part in parts:
            result += part(waves)
        return result

    return address


def buffer_address(
    vector: Operand, descriptor: Operand, scalar: Operand, instruction: Instruction, context: Context, size: int
) -> Bounded:
    """Address through a raw buffer descriptor: base, number of records in bytes, no stride.

    A lane is in range if all of its access is; hardware that looks at each word of a wider one by itself differs only
    where an access straddles the end.
    """
    if "idxen" in instruction.modifiers or descriptor.kind != "scalar" or descriptor.count != 4:
        raise UndecodedError("a buffer that is indexed")
    offset, first, bits = offset_of(instruction), descriptor.index, context.target.descriptor_records_bits
    by_lane = "offen" in instruction.modifiers
    if by_lane and vector.kind != "vector":
        raise UndecodedError(f"an offset in {vector.kind}")
    row = vector.index
    shared = _scalar_offset(scalar)

    def address(waves: Waves) -> tuple[Addresses, npt.NDArray[np.bool_]]:
        low, high = waves.column64[first], waves.column64[first + 2]
        base, records = _read_wide(low, high) if bits == 45 else _read_narrow(low, high)
        place = np.full((waves.count, waves.lanes), offset, np.int64) + shared(waves)
        if by_lane:
            place += waves.u32[row]
        return base + place, place + size <= records

    return address


def _scalar_offset(scalar: Operand) -> Callable[[Waves], Any]:
    """The offset that all lanes share."""
    if scalar.kind == "scalar":
        index = scalar.index
        return lambda waves: waves.column[index].astype(np.int64)
    if scalar.kind == "literal" and isinstance(scalar.value, int):
        constant = scalar.value
        return lambda waves: constant
    raise UndecodedError(f"a scalar offset in {scalar.kind}")


def _read_narrow(low: Any, high: Any) -> tuple[Any, Any]:
    """48-bit base, stride in bits 61:48, 32-bit number of records."""
    if ((low >> np.uint64(48)) & np.uint64(0x3FFF)).any():
        raise UndecodedError("a buffer descriptor with a stride")
    base = (low & np.uint64(0xFFFFFFFFFFFF)).astype(np.int64)
    return base, (high & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _read_wide(low: Any, high: Any) -> tuple[Any, Any]:
    """gfx1250: 57-bit base, 45-bit number of records after it."""
    base = (low & np.uint64((1 << 57) - 1)).astype(np.int64)
    records = (low >> np.uint64(57)) | ((high & np.uint64((1 << 38) - 1)) << np.uint64(7))
    return base, records.astype(np.int64)
