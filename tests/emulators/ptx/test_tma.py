"""Bulk copies and tensor maps as PTX ISA 9, "cp.async.bulk.tensor", "Tensors" and "tensormap.replace", have them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators import Fault, FaultKind, Schedule
from tests.emulators.ptx.programs import SCHEDULES, copy_in, copy_out, in_every_schedule, run_program, wait_for

MAP, TENSOR, OUT = 0, 128, 128 + 8192
"""Places in memory: of the map, of a tensor, of what is written."""
SCRATCH, BARRIER, BOX = 0, 128, 1024
"""Places in shared memory."""
BASE = 1024
SHARED = BOX + 8192
CODES = {2: 6, 4: 7, 1: 0}
"""Bytes of an element -> a type of that size."""
SWIZZLES = {0: 0, 32: 1, 64: 2, 128: 3}
CHANGES: dict[int, Callable[[int], int]] = {
    0: lambda line: 0,
    32: lambda line: line // 4 % 2,
    64: lambda line: line // 2 % 4,
    128: lambda line: line % 8,
}


def make_map(
    dimensions: list[int], strides: list[int], box: list[int], element: int, swizzle: int = 0, place: int = TENSOR,
    fence: bool = True,
) -> str:  # fmt: skip
    """Lines by which warp 0 makes a map at the beginning of memory; innermost dimension first, strides in bytes."""
    name = "@%warp0 tensormap.replace.tile.{0}.shared::cta.b1024.{1} [%s+0], {2};"
    words = [("rank", f"{len(dimensions) - 1}"), ("elemtype", f"{CODES[element]}"), ("interleave_layout", "0")]
    words += [("swizzle_mode", f"{SWIZZLES[swizzle]}"), ("fill_mode", "0")]
    for number in range(len(dimensions)):
        words += [("box_dim", f"{number}, {box[number]}"), ("global_dim", f"{number}, {dimensions[number]}")]
        words += [("element_stride", f"{number}, 1")]
    lines = ["{ .reg .b32 %z; shl.b32 %z, %t, 2; add.u32 %z, %z, %s;", "@%warp0 st.shared.b32 [%z], 0; }"]
    lines += [f"add.u64 %at, %base, {place};", name.format("global_address", "b64", "%at")]
    lines += ["bar.warp.sync -1;"] + [name.format(field, "b32", value) for field, value in words]
    for number, stride in enumerate(strides):
        lines += [f"mov.b64 %wide0, {stride};", name.format("global_stride", "b64", f"{number}, %wide0")]
    lines += [
        "cvt.u64.u32 %wide1, %s;",
        "@%warp0 tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned "
        "[%base], [%wide1], 0x80;",
        "@%warp0 fence.proxy.tensormap::generic.acquire.gpu [%base], 0x80;" if fence else "",
        f"@%first mbarrier.init.shared::cta.b64 [%s+{BARRIER}], 1;",
        "bar.sync 0;",
    ]
    return "\n".join(lines)


def load(size: int, coordinates: list[int], wait: bool = True) -> str:
    """Lines by which one thread loads a box of that many bytes and all wait for it."""
    into = f"add.u32 %u0, %s, {BOX}; add.u32 %u1, %s, {BARRIER};\n"
    names = "".join(f"mov.b32 %u{2 + number}, {value};" for number, value in enumerate(coordinates))
    listed = ", ".join(f"%u{2 + number}" for number in range(len(coordinates)))
    return f"""{into}{names}
@%first mbarrier.arrive.expect_tx.shared::cta.b64 _, [%u1], {size};
@%first cp.async.bulk.tensor.{len(coordinates)}d.shared::cta.global.mbarrier::complete_tx::bytes [%u0],
 [%base, {{{listed}}}], [%u1];
{wait_for(BARRIER, 0, "LOADED") if wait else ""}"""


def swizzled_lines(image: npt.NDArray[np.uint8], width: int, swizzle: int) -> npt.NDArray[np.uint8]:
    """Lines of `width` bytes with their chunks put back: (lines, width), the swizzle's span being one line or more."""
    span = swizzle or width
    lines = image.reshape(-1, span)
    restored = np.empty_like(lines)
    for line in range(len(lines)):
        for chunk in range(span // 16):
            moved = chunk ^ CHANGES[swizzle](line)
            restored[line, 16 * chunk : 16 * chunk + 16] = lines[line, 16 * moved : 16 * moved + 16]
    return restored.reshape(-1, width)


def memory_of(tensor: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    memory = np.zeros(OUT + 8192, np.uint8)
    octets = tensor.view(np.uint8).ravel()
    memory[TENSOR : TENSOR + len(octets)] = octets
    return memory


def boxed(tensor: npt.NDArray[Any], box: list[int], coordinates: list[int]) -> npt.NDArray[Any]:
    """The box, zeros where it lies outside."""
    wanted = np.zeros(box[::-1], tensor.dtype)
    for place in np.ndindex(*wanted.shape):
        there = [start + step for start, step in zip(coordinates[::-1], place, strict=True)]
        if all(0 <= at < size for at, size in zip(there, tensor.shape, strict=True)):
            wanted[place] = tensor[tuple(there)]
    return wanted


CASES = [
    ([64, 20], [64, 16], [0, 0], np.float16, 128), ([64, 20], [64, 16], [8, 12], np.float16, 128),
    ([64, 20], [32, 16], [-3, -5], np.float16, 64), ([40, 30], [16, 32], [33, 7], np.float16, 32),
    ([48, 16], [32, 8], [20, 2], np.float32, 0), ([64, 10], [32, 16], [1, 3], np.uint8, 32),
    ([16, 6, 5], [16, 4, 4], [4, 3, -1], np.float16, 32), ([1024], [256], [900], np.float16, 0),
]  # fmt: skip
"""Dimensions, box and place, the innermost first; type; swizzle."""


@pytest.mark.parametrize(("dimensions", "box", "place", "dtype", "swizzle"), CASES)
def test_boxes_come(dimensions: list[int], box: list[int], place: list[int], dtype: Any, swizzle: int) -> None:
    element = np.dtype(dtype).itemsize
    tensor = np.arange(np.prod(dimensions)).reshape(dimensions[::-1]).astype(dtype)
    size = int(np.prod(box)) * element
    lines = make_map(dimensions, list(tensor.strides[-2::-1]), box, element, swizzle) + load(size, place)
    lines += copy_out(BOX, OUT, max(size, 2048)) if size >= 2048 else small_copy_out(size)
    result = in_every_schedule(lines, memory_of(tensor), shared=SHARED)
    got = swizzled_lines(result[OUT : OUT + size], box[0] * element, swizzle).view(dtype)
    np.testing.assert_array_equal(got.ravel(), boxed(tensor, box, place).ravel())


def small_copy_out(size: int) -> str:
    return f"setp.ge.u32 %done, %t, {size // 16};\n@%done bra END;\n{copy_out(BOX, OUT, size)}\nEND:"


def store(coordinates: list[int], wait: str = ".read", fence: str = "fence.proxy.async.shared::cta;") -> str:
    """Lines by which threads fill a box of shared memory from memory and one of them stores it into the tensor."""
    names = "".join(f"mov.b32 %u{2 + number}, {value};" for number, value in enumerate(coordinates))
    listed = ", ".join(f"%u{2 + number}" for number in range(len(coordinates)))
    waits = f"@%first cp.async.bulk.wait_group{wait} 0;" if wait is not None else ""
    return f"""{copy_in(OUT, BOX, 2048)}
{fence}
bar.sync 0;
add.u32 %u0, %s, {BOX}; {names}
@%first cp.async.bulk.tensor.{len(coordinates)}d.global.shared::cta.bulk_group [%base, {{{listed}}}], [%u0];
@%first cp.async.bulk.commit_group;
{waits}"""


@pytest.mark.parametrize("place", [[0, 0], [-8, 10], [40, -3]])
def test_boxes_go(place: list[int]) -> None:
    """What lies outside of the tensor is not written; the swizzle is undone on the way."""
    tensor = np.zeros((20, 64), np.float16)
    box = np.arange(1, 1025).reshape(16, 64).astype(np.float16)
    memory = memory_of(tensor)
    memory[OUT : OUT + 2048] = swizzled_lines(box.view(np.uint8).ravel(), 128, 128).ravel()  # its own inverse
    lines = make_map([64, 20], [128], [64, 16], 2, 128) + store(place, "")
    got = in_every_schedule(lines, memory, shared=SHARED)[TENSOR : TENSOR + tensor.nbytes].view(np.float16)
    want = tensor.copy()
    for row, column in np.ndindex(16, 64):
        at = row + place[1], column + place[0]
        if 0 <= at[0] < 20 and 0 <= at[1] < 64:
            want[at] = box[row, column]
    np.testing.assert_array_equal(got.reshape(20, 64), want)


def test_bytes_without_a_map() -> None:
    lines = f"""@%first mbarrier.init.shared::cta.b64 [%s+{BARRIER}], 1;
bar.sync 0;
add.u32 %u0, %s, {BOX}; add.u32 %u1, %s, {BARRIER}; add.u64 %at, %base, {TENSOR}; add.u64 %wide0, %base, {OUT};
@%first mbarrier.arrive.expect_tx.shared::cta.b64 _, [%u1], 2048;
@%first cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%u0], [%at], 2048, [%u1];
{wait_for(BARRIER, 0, "LOADED")}
@%first cp.async.bulk.global.shared::cta.bulk_group [%wide0], [%u0], 2048;
@%first cp.async.bulk.commit_group;
@%first cp.async.bulk.wait_group 0;"""
    memory = memory_of(np.arange(1024, dtype=np.uint16))
    got = in_every_schedule(lines, memory, shared=SHARED)
    np.testing.assert_array_equal(got[OUT : OUT + 2048], memory[TENSOR : TENSOR + 2048])


PLAIN: dict[str, Any] = {"dimensions": [64, 20], "strides": [128], "box": [64, 16], "element": 2, "swizzle": 128}
OVERWRITE = f"\nnot.b32 %u7, %t;\n@%first st.shared.b32 [%s+{BOX}], %u7;"


@pytest.mark.parametrize("schedule", SCHEDULES[:2])
@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        (make_map(**PLAIN) + load(2048, [0, 0], wait=False) + copy_out(BOX, OUT, 2048), "RACE PENDING"),
        (make_map(**PLAIN) + load(2048, [0, 0], wait=False) + OVERWRITE, "RACE PENDING"),
        (make_map(**PLAIN) + load(2064, [0, 0]), "DEADLOCK"),
        (make_map(**PLAIN) + load(2032, [0, 0]), "DEADLOCK"),
        (make_map(**PLAIN, fence=False) + load(2048, [0, 0]), "RACE"),
        (make_map(**PLAIN) + load(2048, [0]), "MISUSE"),
        (make_map(**PLAIN) + load(2048, [0, 0]).replace(f"%s, {BOX}", f"%s, {BOX + 64}"), "MISALIGNED"),
        (make_map(**{**PLAIN, "box": [128, 8]}) + load(2048, [0, 0]), "MISUSE"),  # beyond the swizzle's span
        (make_map(**{**PLAIN, "strides": [120]}) + load(2048, [0, 0]), "MISALIGNED"),
        (make_map(**{**PLAIN, "place": 1 << 24}) + load(2048, [0, 0]), "OUT_OF_BOUNDS"),
        (make_map(**PLAIN).replace("[%base]", f"[%base+{TENSOR}]") + load(2048, [0, 0]), "UNKNOWN"),
        (make_map(**PLAIN) + store([0, 0], fence=""), "RACE"),
        (make_map(**PLAIN) + store([0, 0]) + OVERWRITE, ""),
        (make_map(**PLAIN) + store([0, 0]).replace("wait_group.read 0", "wait_group.read 1") + OVERWRITE, "RACE"),
    ],
)
def test_misuse(lines: str, kinds: str, schedule: Schedule) -> None:
    memory = memory_of(np.zeros((20, 64), np.float16))
    if not kinds:
        run_program(lines, memory, shared=SHARED, schedule=schedule)
        return
    with pytest.raises(Fault) as raised:
        run_program(lines, memory, shared=SHARED, schedule=schedule)
    assert raised.value.kind in [FaultKind[kind] for kind in kinds.split()]


def test_a_program_must_not_end_while_it_is_being_read() -> None:
    lines = make_map(**PLAIN) + store([0, 0]).replace("wait_group.read 0", "wait_group.read 1")
    with pytest.raises(Fault, match="ends before") as raised:
        run_program(lines, memory_of(np.zeros((20, 64), np.float16)), shared=SHARED)
    assert raised.value.kind is FaultKind.MISUSE
