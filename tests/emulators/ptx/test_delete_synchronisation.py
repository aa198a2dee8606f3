"""Every barrier and every wait of a compiled kernel is needed, and the emulator knows it; what is not is explained."""

from collections import Counter

import numpy as np

from porting.emulators import Launch
from porting.emulators.ptx.parse import parse
from tests.emulators.ptx.conftest import Compiled
from tests.emulators.ptx.delete_synchronisation import UNEXPLAINED, delete_all, find_deletions, is_fenced_before
from tests.emulators.ptx.snippets import kernel_text, launch_of
from tests.emulators.ptx.test_planted_faults import PROBLEMS, launch_for

HEAD = (
    ".reg .b64 %base; .reg .b32 %t; ld.param.b64 %base, [kernel_param_0]; mov.u32 %t, %tid.x;",
    ".reg .b64 %to; .reg .b32 %at, %far, %v; mad.wide.u32 %to, %t, 4, %base; mad.lo.s32 %at, %t, 4, global_smem;",
    "xor.b32 %far, %t, 32; mad.lo.s32 %far, %far, 4, global_smem;",
)


def launch(*lines: str, threads: int = 64) -> Launch:
    return launch_of(kernel_text([*HEAD, *lines], 1, threads), threads, np.arange(1024).astype(np.uint8), 1024)


def how(launch: Launch) -> list[str]:
    return [found for _, found in delete_all(launch)]


def test_every_deletion_in_a_reduction_is_found(compiled: Compiled) -> None:
    code = compiled["soften", 80]
    assert how(launch_for(PROBLEMS["soften"](), 80, code, code["text"])) == ["race"] * 3


def test_a_second_barrier_is_one_too_many(compiled: Compiled) -> None:
    code = compiled["soften", 80]
    text = code["text"].replace("bar.sync \t0;", "bar.sync 0; bar.sync 0;", 1)
    assert text != code["text"]
    assert Counter(how(launch_for(PROBLEMS["soften"](), 80, code, text))) == {"race": 2, "another right beside it": 2}


def test_a_barrier_that_parts_nothing() -> None:
    exchange = "st.shared.b32 [%at], %t; bar.sync 0; ld.shared.b32 %v, [%far]; bar.sync 0; st.global.b32 [%to], %v;"
    assert how(launch(exchange)) == ["race", "no two warps touch one byte"]


def test_a_barrier_that_is_jumped_over() -> None:
    lines = ".reg .pred %p; setp.lt.u32 %p, %t, 64; @%p bra over; bar.sync 0; over: st.global.b32 [%to], %t;"
    assert how(launch(lines)) == ["never executed"]


COPY = "cp.async.ca.shared.global [%at], [%to], 4; "
USE = "ld.shared.b32 %v, [%at]; st.global.b32 [%to+512], %v;"


def test_groups_of_copies() -> None:
    commit, wait = "cp.async.commit_group; ", "cp.async.wait_group 0; "
    pending = "use before it is there"
    assert how(launch(COPY, commit, wait, USE)) == [pending, pending]
    # A group that is empty is missed by no wait for all; one that a wait leaves under way is.
    assert how(launch(COPY, commit, "mov.b32 %v, 0;", commit, wait, USE)) == [
        "another right beside it",
        "another right beside it",
        pending,
    ]
    second = "cp.async.ca.shared.global [%at+512], [%to+256], 4; "
    assert how(launch(COPY, commit, second, commit, wait, USE))[0] == "every wait brings the same copies"
    assert how(launch(COPY, commit, second, commit, "cp.async.wait_group 1; ", USE)) == [pending] * 3


def test_a_wait_is_taken_to_be_over() -> None:
    waiting = "again: { .reg .pred done; mbarrier.try_wait.parity.shared::cta.b64 done, [%at], 0; @!done bra again; }"
    (deletion,) = find_deletions(launch(waiting).text)
    assert "setp.eq.b32 done, 0, 0; @!done bra again;" in deletion.text


def test_the_guard_stays_on_the_probe() -> None:
    (deletion,) = find_deletions(launch(".reg .pred %p; setp.eq.b32 %p, %t, 0; @!%p bar.warp.sync -1;").text)
    assert "@!%p never_executed;" in deletion.probe
    assert "bar.warp" not in deletion.text


def test_a_fence_between_products_that_share_registers() -> None:
    product = "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%a, %b, %c, %d}, %x, %y, 1, 1, 1, 0, 0; "
    fence = "wgmma.fence.sync.aligned; "
    for between, needless in (
        ("", True),
        ("mov.b32 %z, 0; ", True),
        ("mov.b64 %x, 0; ", True),
        ("mov.b32 %a, 0; ", False),
    ):
        program = parse(launch(fence, product, between, fence, product, "wgmma.commit_group.sync.aligned;").text)
        fences = [one for one in program.instructions if one.mnemonic == "wgmma.fence.sync.aligned"]
        assert is_fenced_before(program, fences[1]) is needless
        assert not is_fenced_before(program, fences[0])


def test_what_orders_threads_of_one_warp_is_not_explained() -> None:
    """Warps are executed in step."""
    store = "st.shared.b32 [%at], %t; bar.sync 0; bar.warp.sync -1; "
    assert how(launch(store + "ld.shared.b32 %v, [%far]; st.global.b32 [%to], %v;")) == ["race", UNEXPLAINED]


def test_copies_that_nobody_uses() -> None:
    lines = COPY + "cp.async.commit_group; mov.b32 %v, 0; cp.async.wait_group 0;"
    assert how(launch(lines)) == ["nobody touches what it brings"] * 2
