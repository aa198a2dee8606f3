"""wgmma: products exact, fragments by PTX ISA 9's formulas ("Register Fragments"), operands laid out by rows.

Also what its asynchrony forbids: each rule's fault, by a text that lacks one instruction.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators import Buffer, Launch, Schedule
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.ptx import run, undecoded
from tests.emulators.ptx.operand_images import NUMBERS, SWIZZLES, Array, lay_out, wgmma_descriptor
from tests.emulators.ptx.snippets import kernel_text

THREADS = 128
BASE = 0x10000
SHARED = 1024
"""Address of the first byte of shared memory."""
ROUND = 16 * THREADS
ORDERED = "fence.proxy.async.shared::cta;\nbar.sync 0;\nwgmma.fence.sync.aligned;"
WAITED = "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;"
BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "e5m2": 8, "s8": 8, "u8": 8}


@dataclass
class Trial:
    """Bytes for shared memory, registers loaded before and stored after some lines."""

    image: npt.NDArray[np.uint8]
    registers: dict[str, Array] = field(default_factory=dict)
    """Name -> (count, 128) words: %name0, %name1, ..."""
    declared: dict[str, int] = field(default_factory=dict)
    """Name -> count of registers that nothing is loaded to."""

    def run(self, lines: str, stored: str, count: int, schedule: Schedule | None = None, threads: int = THREADS) -> Any:
        """(count, 128) words of %stored0 and on."""
        image = np.resize(self.image, -(-len(self.image) // ROUND) * ROUND)
        words = [row for rows in self.registers.values() for row in rows]
        content = np.concatenate([image, *(np.ascontiguousarray(row).view(np.uint8) for row in words)])
        content = np.concatenate([content, np.zeros(count * 4 * THREADS, np.uint8)])
        text = kernel_text([*self._head(len(image)), lines, *self._tail(stored, count, len(content))], 1, threads)
        launch = Launch(text, "cuda:90", (1, 1, 1), (BASE.to_bytes(8, "little"),), (Buffer("memory", BASE, content),),
                        threads // 32, len(image))  # fmt: skip
        run(launch, schedule or Schedule())
        return content[-count * 4 * THREADS :].view(np.uint32).reshape(count, THREADS)

    def _head(self, size: int) -> list[str]:
        lines = [
            ".reg .b64 %base;\n.reg .b64 %wide;\n.reg .b64 %own;\n.reg .b32 %t;\n.reg .b32 %s;\n.reg .b32 %q<4>;",
            "ld.param.b64 %base, [kernel_param_0];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %wide, %t, 16;",
            "add.s64 %wide, %wide, %base;\nmul.wide.u32 %own, %t, 4;\nadd.s64 %own, %own, %base;",
            "mov.u32 %s, global_smem;\nmad.lo.u32 %s, %t, 16, %s;",
        ]
        for at in range(0, size, ROUND):
            lines += [
                f"ld.global.v4.b32 {{%q0, %q1, %q2, %q3}}, [%wide+{at}];",
                f"st.shared.v4.b32 [%s+{at}], {{%q0, %q1, %q2, %q3}};",
            ]
        at = size
        for name, rows in self.registers.items():
            lines.append(f".reg .b32 %{name}<{len(rows)}>;")
            for place in range(len(rows)):
                lines.append(f"ld.global.b32 %{name}{place}, [%own+{at}];")
                at += 4 * THREADS
        return lines + [f".reg .b32 %{name}<{count}>;" for name, count in self.declared.items()]

    def _tail(self, stored: str, count: int, size: int) -> list[str]:
        start = size - count * 4 * THREADS
        return [f"st.global.b32 [%own+{start + 4 * THREADS * place}], %{stored}{place};" for place in range(count)]


def registers(name: str, count: int) -> str:
    return "{" + ", ".join(f"%{name}{place}" for place in range(count)) + "}"


def place_d(thread: int, i: int) -> tuple[int, int]:
    """Row and column of element i of D: "Register Fragments for D", rows 16 * warp + lane / 4."""
    return 16 * (thread // 32) + thread % 32 // 4 + 8 * (i // 2 % 2), 8 * (i // 4) + thread % 4 * 2 + i % 2


def place_a(thread: int, i: int, bits: int) -> tuple[int, int]:
    """Row and column of element i of A in registers: runs of 32 bits, below each other, then K's second half."""
    run_length = 32 // bits
    word, part = divmod(i, run_length)
    return (
        16 * (thread // 32) + thread % 32 // 4 + 8 * (word % 2),
        thread % 4 * run_length + part + 4 * run_length * (word // 2),
    )


def gather(words: Array, kind: str, columns: int) -> Array:
    """(64, columns) from D's registers."""
    per = 4 // np.dtype(NUMBERS[kind]).itemsize
    numbers = np.ascontiguousarray(words.T).view(NUMBERS[kind])  # (threads, elements)
    assert numbers.shape == (THREADS, len(words) * per)
    got = np.zeros((64, columns), NUMBERS[kind])
    for thread in range(THREADS):
        for i in range(numbers.shape[1]):
            got[place_d(thread, i)] = numbers[thread, i]
    return got


def spread(matrix: Array, bits: int) -> Array:
    """A's four registers of every thread: (4, 128) words."""
    count = 4 * 32 // bits
    rows = np.array([[matrix[place_a(thread, i, bits)] for i in range(count)] for thread in range(THREADS)])
    return np.ascontiguousarray(rows.astype(matrix.dtype).view(np.uint32).T)


def spread_d(matrix: Array) -> Array:
    """D's 32-bit registers: (N / 2, 128) words."""
    count = matrix.shape[1] // 2
    rows = np.array([[matrix[place_d(thread, i)] for i in range(count)] for thread in range(THREADS)], matrix.dtype)
    return np.ascontiguousarray(rows.view(np.uint32).T)


def draw(rows: int, kind: str, seed: int) -> tuple[Array, Array]:
    """(rows, K) small whole numbers of that type, and the same as float64."""
    low = 0 if kind == "u8" else -8
    numbers = np.random.default_rng(seed).integers(low, 9, (rows, 256 // BITS[kind])).astype(NUMBERS[kind])
    return numbers, numbers.astype(np.float64)


def both_images(a: Array, b: Array, swizzles: tuple[int, int], turned: tuple[bool, bool]) -> tuple[Array, int, int]:
    """A's and B's bytes, each from a multiple of 1024, and their descriptors."""
    image_a, leading_a, stride_a = lay_out(a, swizzles[0], turned[0])
    image_b, leading_b, stride_b = lay_out(b, swizzles[1], turned[1])
    gap = -len(image_a) % 1024
    start_b = SHARED + len(image_a) + gap
    image = np.concatenate([image_a, np.zeros(gap, np.uint8), image_b])
    return (
        image,
        wgmma_descriptor(SHARED, leading_a, stride_a, swizzles[0]),
        wgmma_descriptor(start_b, leading_b, stride_b, swizzles[1]),
    )


def multiply(kinds: tuple[str, str, str], swizzles: tuple[int, int], turned: tuple[bool, bool], n: int = 64) -> None:
    kind_d, kind_a, kind_b = kinds
    a, exact_a = draw(64, kind_a, 1)
    b, exact_b = draw(n, kind_b, 2)
    image, first, second = both_images(a, b, swizzles, turned)
    count = n // 4 if kind_d == "f16" else n // 2
    literals = "" if kind_d == "s32" else ", 1, 1"
    if BITS[kind_a] == 16:
        literals += f", {int(turned[0])}, {int(turned[1])}"
    product = (
        f"wgmma.mma_async.sync.aligned.m64n{n}k{256 // BITS[kind_a]}.{kind_d}.{kind_a}.{kind_b} "
        f"{registers('d', count)}, {first}, {second}, 0{literals};"
    )
    words = Trial(image, declared={"d": count}).run(f"{ORDERED}\n{product}\n{WAITED}", "d", count)
    assert (gather(words, kind_d, n).astype(np.float64) == exact_a @ exact_b.T).all()


@pytest.mark.parametrize("swizzle", SWIZZLES)
@pytest.mark.parametrize("turned", [*itertools.product((False, True), repeat=2)])
def test_every_layout_of_two_bytes(swizzle: int, turned: tuple[bool, bool]) -> None:
    multiply(("f32", "bf16", "bf16"), (swizzle, SWIZZLES[SWIZZLES.index(swizzle) - 1]), turned)


@pytest.mark.parametrize(
    "kinds",
    [
        ("f32", "f16", "f16"), ("f16", "f16", "f16"), ("f32", "tf32", "tf32"), ("f32", "e4m3", "e5m2"),
        ("f16", "e5m2", "e4m3"), ("s32", "s8", "u8"), ("s32", "u8", "u8"),
    ],
)  # fmt: skip
def test_every_type(kinds: tuple[str, str, str]) -> None:
    multiply(kinds, (0, 32), (False, False), n=24 if kinds[0] != "s32" else 16)


def test_the_widest_tile() -> None:
    multiply(("f32", "f16", "f16"), (32, 128), (False, True), n=256)


@pytest.mark.parametrize("kind", ["bf16", "tf32", "e4m3", "s8"])
def test_a_in_registers_and_accumulators(kind: str) -> None:
    a, exact_a = draw(64, kind, 3)
    b, exact_b = draw(8, kind, 4)
    whole = kind == "s8"
    there = np.random.default_rng(5).integers(-99, 99, (64, 8)).astype(np.int32 if whole else np.float32)
    image, leading, stride = lay_out(b, 32, transposed=False)
    trial = Trial(image, {"a": spread(a, BITS[kind]), "d": spread_d(there)})
    literals = "" if whole else ", -1, 1" + (", 0" if kind == "bf16" else "")
    kind_d = "s32" if whole else "f32"
    lines = (
        f"{ORDERED}\nwgmma.mma_async.sync.aligned.m64n8k{256 // BITS[kind]}.{kind_d}.{kind}.{kind} "
        f"{registers('d', 4)}, {registers('a', 4)}, {wgmma_descriptor(SHARED, leading, stride, 32)}, 1{literals};\n"
        f"{WAITED}"
    )
    got = gather(trial.run(lines, "d", 4), kind_d, 8)
    assert (got == (1 if whole else -1) * (exact_a @ exact_b.T) + there).all()


def test_integers_wrap_or_stay() -> None:
    ones = np.full((64, 32), 127, np.int8)
    image, first, second = both_images(ones, ones[:8], (0, 0), (False, False))
    there = spread_d(np.full((64, 8), 2**31 - 1, np.int32))
    for modifier, wanted in (("", 32 * 127 * 127 - 2**31 - 1), (".satfinite", 2**31 - 1)):
        lines = f"{ORDERED}\nwgmma.mma_async.sync.aligned.m64n8k32{modifier}.s32.s8.s8 {registers('d', 4)}, "
        words = Trial(image, {"d": there}).run(f"{lines}{first}, {second}, 1;\n{WAITED}", "d", 4)
        assert set(gather(words, "s32", 8).ravel().tolist()) == {wanted}


def small(scale: str = "0", second: str = "") -> tuple[Trial, str]:
    """A product m64n8k16 of ones, so that each element is 16 more; its accumulators are %d."""
    ones = np.ones((64, 16), np.float16)
    image, first, other = both_images(ones, ones[:8], (32, 32), (False, False))
    there = spread_d(np.ones((64, 8), np.float32))
    trial = Trial(image, {"d": there, "e": there, "a": spread(ones, 16)}, {"moved": 4})
    return trial, (
        f"wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {registers('d', 4)}, {first}, {second or other}, "
        f"{scale}, 1, 1, 0, 0;"
    )


def expect(kind: FaultKind, match: str, lines: str, trial: Trial) -> None:
    for schedule in (Schedule(), Schedule(lazy=False), Schedule(reverse=True)):
        with pytest.raises(Fault, match=match) as caught:
            trial.run(lines, "d", 4, schedule)
        assert caught.value.kind is kind


def test_scale_d_by_a_predicate() -> None:
    trial, product = small("%keeps")
    for threshold, wanted in ((0, 16.0), (200, 17.0)):
        head = f".reg .pred %keeps;\nsetp.lt.u32 %keeps, %t, {threshold};\n"
        words = trial.run(f"{head}{ORDERED}\n{product}\n{WAITED}", "d", 4)
        assert set(gather(words, "f32", 8).ravel().tolist()) == {wanted}
    expect(FaultKind.MISUSE, "different scale-d", f"{head.replace('200', '64')}{ORDERED}\n{product}\n{WAITED}", trial)


@pytest.mark.parametrize(
    ("missing", "kind", "match"),
    [
        ("fence.proxy.async.shared::cta;", FaultKind.RACE, "no fence of the asynchronous proxy"),
        ("bar.sync 0;", FaultKind.RACE, "no fence of the asynchronous proxy"),
        ("wgmma.fence.sync.aligned;", FaultKind.RACE, "written since the last wgmma.fence"),
        ("wgmma.wait_group.sync.aligned 0;", FaultKind.PENDING, "in flight"),
        ("wgmma.commit_group.sync.aligned;", FaultKind.PENDING, "in flight"),
    ],
)
def test_one_instruction_less(missing: str, kind: FaultKind, match: str) -> None:
    trial, product = small("1")
    whole = f"{ORDERED}\n{product}\n{WAITED}"
    assert set(gather(trial.run(whole, "d", 4), "f32", 8).ravel().tolist()) == {17.0}
    expect(kind, match, whole.replace(missing, ""), trial)


def test_waiting_for_all_but_the_newest() -> None:
    trial, product = small("1")
    other = product.replace("%d", "%e")
    commit = "wgmma.commit_group.sync.aligned;"
    lines = f"{ORDERED}\n{product}\n{commit}\n{other}\n{commit}\nwgmma.wait_group.sync.aligned 1;\n"
    assert set(gather(trial.run(lines, "d", 4), "f32", 8).ravel().tolist()) == {17.0}
    with pytest.raises(Fault, match="%e0 is in flight"):
        trial.run(lines, "e", 4)
    again = f"{ORDERED}\n{product}\n{product}\n{WAITED}"  # accumulators of one shape follow each other
    assert set(gather(trial.run(again, "d", 4), "f32", 8).ravel().tolist()) == {33.0}


def test_moves_pass_on_what_is_in_flight() -> None:
    trial, product = small("1")
    moved = "\n".join(f"mov.b32 %moved{place}, %d{place};" for place in range(4))
    head = f"{ORDERED}\n{product}\nwgmma.commit_group.sync.aligned;\n{moved}\n"
    words = trial.run(f"{head}wgmma.wait_group.sync.aligned 0;", "moved", 4)
    assert set(gather(words, "f32", 8).ravel().tolist()) == {17.0}
    with pytest.raises(Fault, match="%moved0 is in flight"):
        trial.run(head, "moved", 4)
    used = "add.f32 %moved1, %moved1, %moved1;\nwgmma.wait_group.sync.aligned 0;"
    expect(FaultKind.PENDING, "%moved1 is in flight", head + used, trial)


def test_registers_in_flight_may_not_be_written() -> None:
    trial, product = small("1")
    expect(FaultKind.PENDING, "%d2 is written while", f"{ORDERED}\n{product}\nmov.b32 %d2, 0;\n{WAITED}", trial)
    first = product.split("}, ")[1].split(",")[0]
    by_register = product.replace(first, registers("a", 4)).replace("1, 1, 0, 0;", "1, 1, 0;")
    whole = f"{ORDERED}\n{by_register}\n{WAITED}"
    assert set(gather(trial.run(whole, "d", 4), "f32", 8).ravel().tolist()) == {17.0}
    expect(FaultKind.PENDING, "%a3 is written while", f"{ORDERED}\n{by_register}\nmov.b32 %a3, 0;\n{WAITED}", trial)
    late = f"{ORDERED}\nmov.b32 %a3, 0;\n{by_register}\n{WAITED}"
    expect(FaultKind.RACE, "%a3 was written since", late, trial)


def test_shared_memory_is_read_until_the_wait() -> None:
    trial, product = small("1")
    store = "bar.sync 0;\nst.shared.b32 [%s], %t;\n"
    early = f"{ORDERED}\n{product}\nwgmma.commit_group.sync.aligned;\n{store}wgmma.wait_group.sync.aligned 0;"
    expect(FaultKind.RACE, "writes shared memory at offset .*, which wgmma of warp . read", early, trial)
    own = f"{ORDERED}\n{product}\n{WAITED}\nst.shared.b32 [%s+2048], %t;"  # other warps may still read B
    expect(FaultKind.RACE, "which wgmma of warp", own, trial)
    assert set(gather(trial.run(f"{ORDERED}\n{product}\n{WAITED}\n{store}", "d", 4), "f32", 8).ravel().tolist()) == {
        17.0
    }


def test_misuse() -> None:
    trial, product = small()
    head = ".reg .b64 %desc;\ncvt.u64.u32 %desc, %t;\nor.b64 %desc, %desc, 64;\n"
    _, varied = small(second="%desc")
    expect(FaultKind.MISUSE, "different matrix descriptors", f"{head}{ORDERED}\n{varied}\n{WAITED}", trial)
    half = f".reg .pred %few;\nsetp.lt.u32 %few, %t, 64;\n{ORDERED}\n@%few {product}\n{WAITED}"
    expect(FaultKind.DIVERGENT, "no whole warpgroups", half, trial)
    far = wgmma_descriptor(SHARED + 0x20000, 16, 256, 32)
    expect(FaultKind.OUT_OF_BOUNDS, "shared memory", f"{ORDERED}\n{small(second=str(far))[1]}\n{WAITED}", trial)


def test_unknown_forms_are_not_guessed() -> None:
    names = registers("d", 4)
    for line in (
        f"wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {names}, 1, 1, 1, 1, 1, 0;",
        f"wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.bf16 {names}, 1, 1, 1, 1, 1, 0, 0;",
        f"wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {names}, 1, 1, 1, 1, 1, 0, 0;",
        f"wgmma.mma_async.sync.aligned.m64n40k32.s32.s8.s8 {names}, 1, 1, 1;",
    ):
        assert len(undecoded(kernel_text([".reg .b32 %d<4>;", line], 1, 128), "cuda:90")) == 1
