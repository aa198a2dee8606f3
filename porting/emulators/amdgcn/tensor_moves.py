"""gfx1250's tensor data mover: copies a tile of a tensor of up to five dimensions between global memory and LDS.

Source: the descriptor's fields as Triton's AMD backend and LLVM's AMDGPU dialect document them. Gathering, iterating,
clusters and barriers that count arrivals are unknown here.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.amdgcn.operands import Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context, Step, register
from porting.emulators.amdgcn.state import Selection, Waves
from porting.emulators.amdgcn.text import Instruction
from porting.emulators.faults import Fault, FaultKind

Addresses = npt.NDArray[np.int64]
IMAGE_TYPE = 2
"""What a descriptor of a tensor says that it is."""


@dataclass(frozen=True)
class Descriptor:
    """What one tile is, innermost dimension first."""

    valid: bool
    lds: int
    address: int
    element: int
    """Bytes."""
    tile: tuple[int, ...]
    """Elements of the tile."""
    limits: tuple[int, ...]
    """Elements of the tensor from the tile's first one on: those beyond are zeros, and are not written."""
    strides: tuple[int, ...]
    """In elements; 1 for the innermost dimension."""
    pad_every: int
    """Bytes of LDS after which a gap follows; 0: there are no gaps."""
    pad_bytes: int


def field(words: npt.NDArray[np.uint32], first: int, bits: int) -> int:
    """Bits of a group of words, counted from the lowest of the first."""
    whole = int.from_bytes(words.astype("<u4").tobytes(), "little")
    return whole >> first & ((1 << bits) - 1)


def read_descriptor(groups: list[npt.NDArray[np.uint32]]) -> Descriptor:
    """Read the two or four groups of words of one descriptor.

    Raises:
        Fault: it is no descriptor of a tensor, or asks for what is unknown here.
    """
    first, second = groups[0], groups[1]
    third, fourth = (groups[2], groups[3]) if len(groups) == 4 else (np.zeros(4, np.uint32),) * 2
    if field(first, 126, 2) != IMAGE_TYPE:
        raise Fault(FaultKind.MISUSE, f"tensor descriptor of type {field(first, 126, 2)}, not {IMAGE_TYPE}")
    if field(first, 30, 2) or field(second, 0, 16) or field(second, 18, 2):
        raise Fault(FaultKind.UNKNOWN, "a tensor descriptor that gathers, iterates, multicasts or signals a barrier")
    tile = [field(second, 112, 16), field(second, 128, 16), field(second, 144, 16), field(third, 112, 16)]
    tile.append(field(fourth, 80, 16))
    limits = (
        field(second, 48, 32),
        field(second, 80, 32),
        field(third, 0, 32),
        field(third, 32, 32),
        field(fourth, 48, 32),
    )
    strides = (1, field(second, 160, 48), field(second, 208, 48), field(third, 64, 48), field(fourth, 0, 48))
    # A dimension without a size in the tile is not there.
    rank = max((place + 1 for place, size in enumerate(tile) if size), default=0)
    padded = field(second, 20, 1)
    return Descriptor(
        valid=bool(field(first, 0, 2)),
        lds=field(first, 32, 32),
        address=field(first, 64, 57),
        element=1 << field(second, 16, 2),
        tile=tuple(tile[:rank]),
        limits=limits[:rank],
        strides=strides[:rank],
        pad_every=8 << field(second, 22, 3) if padded else 0,
        pad_bytes=4 * (field(second, 25, 7) + 1) if padded else 0,
    )


def tile_bytes(descriptor: Descriptor, padded: bool) -> tuple[Addresses, Addresses, npt.NDArray[np.bool_]]:
    """Every byte of the tile, innermost dimension fastest: its global address, its LDS address, whether it is there."""
    size = descriptor.element
    counts = descriptor.tile[::-1]
    elements = np.indices(counts, dtype=np.int64).reshape(len(counts), -1)[::-1]
    offsets = sum((place * stride for place, stride in zip(elements, descriptor.strides, strict=True)), np.int64(0))
    inside = np.ones(elements.shape[1], np.bool_)
    for place, limit in zip(elements, descriptor.limits, strict=True):
        inside &= place < limit
    within = np.arange(size, dtype=np.int64)
    outer = (descriptor.address + np.asarray(offsets)[:, None] * size + within).reshape(-1)
    linear = np.arange(elements.shape[1] * size, dtype=np.int64)
    inner = descriptor.lds + linear
    if padded and descriptor.pad_every:
        inner += linear // descriptor.pad_every * descriptor.pad_bytes
    return outer, inner, np.repeat(inside, size)


def load(waves: Waves, wave: int, descriptor: Descriptor) -> None:
    """Global memory -> LDS, for one wave; zeros where the tensor ends."""
    outer, inner, inside = tile_bytes(descriptor, padded=True)
    data = np.zeros(outer.shape, np.uint8)
    data[inside] = waves.memory.read(outer[inside], None, 1)[0].astype(np.uint8) if inside.any() else 0
    waves.local.write_bytes(int(waves.groups[wave]), int(waves.places[wave]), inner, data)


def store(waves: Waves, wave: int, descriptor: Descriptor) -> None:
    """LDS -> global memory, for one wave; only where the tensor is. Gaps are not skipped."""
    outer, inner, inside = tile_bytes(descriptor, padded=False)
    if inside.any():
        data = waves.local.read_bytes(int(waves.groups[wave]), int(waves.places[wave]), inner[inside])
        waves.memory.write(outer[inside], None, data.astype(np.uint32)[None], 1)


def check_groups(operands: list[Operand]) -> list[tuple[int, int]]:
    """The scalar registers of a descriptor: first register and count of each group.

    Raises:
        UndecodedError: they are not groups of 4, 8 and, where there are more, twice 4.
    """
    present = [operand for operand in operands if (operand.kind, operand.count) != ("scalar", 2)]
    shape = [(operand.kind, operand.count) for operand in present]
    if shape not in ([("scalar", 4), ("scalar", 8)], [("scalar", count) for count in (4, 8, 4, 4)]):
        raise UndecodedError(f"groups of a tensor descriptor: {shape}")
    return [(operand.index, operand.count) for operand in present]


@register("tensor_load_to_lds tensor_store_from_lds", modifiers="th scope nv")
def decode_move(instruction: Instruction, context: Context) -> Step:
    """Once a wave, whatever EXEC says; tensorcnt counts it."""
    if context.target.name != "gfx1250":
        raise UndecodedError(f"{instruction.mnemonic} on {context.target.name}")
    groups = check_groups(context.operands(instruction))
    move = load if instruction.mnemonic == "tensor_load_to_lds" else store

    def step(waves: Waves) -> None:
        issued = np.ones(waves.count, np.bool_) if waves.active is None else waves.active
        descriptors = {
            int(wave): read_descriptor([waves.scalars[wave, first : first + count] for first, count in groups])
            for wave in np.flatnonzero(issued)
        }

        def action(selection: Selection) -> None:
            for wave, descriptor in descriptors.items():
                if descriptor.valid and (selection is None or selection[wave]):
                    move(waves, wave, descriptor)

        waves.defer("tensorcnt", action, instruction)

    return step
