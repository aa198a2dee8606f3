"""Tensor maps: what a bulk tensor copy goes by, made in memory by tensormap.replace, seen through a proxy of its own.

The architecture does not say how the 128 bytes are laid out. Here a map that a kernel makes itself has a layout of this
module's own, with a mark; one that a driver made on the host is not known. Whoever uses a map must have been told of it
by a fence of that proxy. Semantics: PTX ISA 9, "tensormap.replace", "tensormap.cp_fenceproxy", "fence.proxy.tensormap".
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx.active import WARP, Active
from porting.emulators.ptx.machine import Machine
from porting.emulators.ptx.matrix import expect_whole
from porting.emulators.ptx.parse import Instruction
from porting.emulators.ptx.table import Step, instruction

SIZE = 128
"""Bytes of a map."""
_MARK, _MARKED = b"tensor map here!", slice(112, 128)
_FIELDS = {
    "global_address": (0, 8, 1), "rank": (8, 1, 1), "elemtype": (9, 1, 1), "swizzle_mode": (10, 1, 1),
    "interleave_layout": (11, 1, 1), "box_dim": (12, 4, 5), "global_dim": (32, 4, 5), "element_stride": (52, 1, 5),
    "fill_mode": (57, 1, 1), "swizzle_atomicity": (58, 1, 1), "global_stride": (64, 8, 5),
}  # fmt: skip
"""Field -> first byte, bytes of one value, values."""
_ELEMENTS = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 5: 8, 6: 2, 7: 4, 8: 4, 9: 8, 10: 2, 11: 4, 12: 4}
"""Code of a type -> bytes."""
_SWIZZLES = {0: 0, 1: 32, 2: 64, 3: 128}


@dataclass(frozen=True)
class TensorMap:
    """A tensor in global memory, and the box that one copy moves; the innermost dimension first."""

    address: int
    element: int
    """Bytes."""
    swizzle: int
    """Bytes of a line of shared memory that is swizzled; 0: none."""
    box: tuple[int, ...]
    dimensions: tuple[int, ...]
    strides: tuple[int, ...]
    """Bytes, of every dimension."""

    @property
    def bytes(self) -> int:
        """Of one box, what lies outside of the tensor included."""
        return int(np.prod(self.box)) * self.element


def read_map(raw: npt.NDArray[np.uint8]) -> TensorMap:
    """What 128 bytes say.

    Raises:
        Fault: UNKNOWN for a map that was not made here, or says what is not covered; MISUSE; MISALIGNED.
    """
    content = raw.tobytes()
    if content[_MARKED] != _MARK:
        raise Fault(FaultKind.UNKNOWN, "a tensor map that no tensormap.replace of this kernel made")

    def field(name: str) -> list[int]:
        start, size, several = _FIELDS[name]
        return [int.from_bytes(content[start + size * n : start + size * (n + 1)], "little") for n in range(several)]

    rank = field("rank")[0] + 1
    kind, swizzle = field("elemtype")[0], field("swizzle_mode")[0]
    others = {name: field(name)[0] for name in ("interleave_layout", "fill_mode", "swizzle_atomicity")}
    strides = field("element_stride")[:rank]
    if any(others.values()) or set(strides) != {1} or kind not in _ELEMENTS or swizzle not in _SWIZZLES or rank > 5:
        raise Fault(
            FaultKind.UNKNOWN,
            f"a tensor map of rank {rank}, element type {kind}, swizzle {swizzle}, element strides {strides}, {others}",
        )
    element = _ELEMENTS[kind]
    made = TensorMap(
        field("global_address")[0],
        element,
        _SWIZZLES[swizzle],
        tuple(field("box_dim")[:rank]),
        tuple(field("global_dim")[:rank]),
        (element, *field("global_stride")[: rank - 1]),
    )
    _expect_defined(made)
    return made


def _expect_defined(made: TensorMap) -> None:
    if made.address % 16 or any(stride % 16 for stride in made.strides[1:]):
        raise Fault(FaultKind.MISALIGNED, f"address or strides of {made} are no multiples of 16 bytes")
    line = made.box[0] * made.element
    if line % 16 or (made.swizzle and line > made.swizzle) or not all(0 < size <= 256 for size in made.box):
        raise Fault(FaultKind.MISUSE, f"the box of {made}")
    if not all(made.dimensions) or any(stride >= 1 << 40 for stride in made.strides):
        raise Fault(FaultKind.MISUSE, f"the dimensions or strides of {made}")


class TensorMaps:
    """Which maps in global memory were written, and which warps fenced them since."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._fenced: dict[int, list[tuple[int, int]]] = {}
        """Address of a written map -> who fenced it, and when."""

    def reset(self) -> None:
        """None is written."""
        self._fenced.clear()

    def finish(self) -> None:
        """Nothing is asked of maps at the end."""

    def written(self, address: int) -> None:
        """A map was written: it has to be fenced anew."""
        self._fenced[address] = []

    def fence(self, address: int, warp: int) -> None:
        """A warp fenced a map."""
        clocks = self.machine.clocks
        if address in self._fenced:
            self._fenced[address].append((warp, clocks.time))
            clocks.tell([warp])  # who learns of this warp before now does not know of the fence

    def use(self, address: int, warp: int) -> TensorMap:
        """The map there, for a copy that a warp starts.

        Raises:
            Fault: RACE if it was not fenced since it was written; as `read_map`.
        """
        if self.machine.schedule.check and address in self._fenced:
            known = self.machine.clocks.known[warp]
            if not any(other == warp or known[other] >= time for other, time in self._fenced[address]):
                raise Fault(
                    FaultKind.RACE,
                    f"the tensor map at {address:#x} was written, and not fenced since (fence.proxy.tensormap)",
                )
        if address % 64:
            raise Fault(FaultKind.MISALIGNED, f"a tensor map at {address:#x}")
        return read_map(self.machine.memory.read(np.array([address]), 8, SIZE // 8).view(np.uint8))


def _once(active: Active, *rows: npt.NDArray[np.int64]) -> list[tuple[int, ...]]:
    """What the active threads say, each warp and different thing once: (warp, ...)."""
    warps = active.index // WARP
    return sorted(set(zip(warps.tolist(), *(row.tolist() for row in rows), strict=True)))


@instruction(
    *(f"tensormap.replace.tile.{name}.{space}.b1024.{'b64' if size == 8 else 'b32'}"
      for name, (_, size, _) in _FIELDS.items() for space in ("shared::cta", "global")),
)  # fmt: skip
def _replace(one: Instruction, machine: Machine) -> Step:
    name, space = one.mnemonic.split(".")[3:5]
    start, size, several = _FIELDS[name]
    if len(one.operands) != (3 if several > 1 else 2):
        raise Fault(FaultKind.UNKNOWN, f"operands of {one.text}")
    number = int(one.operands[1], 0) if several > 1 else 0
    if not 0 <= number < several:
        raise Fault(FaultKind.MISUSE, f"{name} {number} of a tensor map")
    address, value = machine.address(one.operands[0]), machine.source(one.operands[-1], "u64" if size == 8 else "u32")
    place = start + size * number
    maps = machine.unit(TensorMaps)

    def write_shared(warp: int, at: int, content: bytes) -> None:
        places = at + np.arange(len(content))
        shadow = machine.shadow
        agents = np.full(len(places), warp)
        doubts = shadow.shared_write(places, 1, agents, tolerant=True) if shadow is not None else []
        machine.shared.write(places, 1, np.frombuffer(content, np.uint8), machine.schedule.check)
        if shadow is not None:
            shadow.settle(doubts)

    def step(active: Active) -> None:
        for warp, at, number in _once(active, address(active), value[active.index].astype(np.int64)):
            content = (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            for offset, part in ((place, content), (_MARKED.start, _MARK)):
                if space == "shared::cta":
                    write_shared(warp, at + offset, part)
                else:
                    machine.memory.write(at + offset + np.arange(len(part)), 1, np.frombuffer(part, np.uint8))
                    maps.written(at)

    return step


@instruction("tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned")
def _copy(one: Instruction, machine: Machine) -> Step:
    maps = machine.unit(TensorMaps)
    target, source = machine.address(one.operands[0]), machine.address(one.operands[1])
    if int(one.operands[2], 0) != SIZE:
        raise Fault(FaultKind.MISUSE, f"{one.operands[2]} bytes of a tensor map")

    def step(active: Active) -> None:
        expect_whole(active)
        for warp, to, at in _once(active, target(active), source(active)):
            if machine.shadow is not None:
                machine.shadow.shared_read(np.array([at]), SIZE, np.array([warp]))
            content = machine.shared.read(np.array([at]), 8, SIZE // 8, machine.schedule.check)
            machine.memory.write(np.array([to]), 8, content)
            maps.written(to)

    return step


@instruction(*(f"fence.proxy.tensormap::generic.acquire.{scope}" for scope in ("cta", "cluster", "gpu", "sys")))
def _fence(one: Instruction, machine: Machine) -> Step:
    maps = machine.unit(TensorMaps)
    address = machine.address(one.operands[0])
    if int(one.operands[1], 0) != SIZE:
        raise Fault(FaultKind.MISUSE, f"{one.operands[1]} bytes of a tensor map")

    def step(active: Active) -> None:
        for warp, at in _once(active, address(active)):
            maps.fence(at, warp)

    return step
