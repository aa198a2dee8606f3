"""Choosing by evidence: what is never chosen, what is better, and that the search finds it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from porting.kernel_compiler import search
from porting.kernel_compiler.request import KernelRequest
from porting.kernel_compiler.search import find_problem, score, search_tunings
from porting.kernel_library import Kernel, load_kernel
from porting.record import KernelRecord
from tests.kernel_compiler.sources import ADD, write_kernel, write_product

GOOD = KernelRecord(
    kernel="attention",
    variant="bfloat16",
    architecture="cuda:100",
    architecture_found="cuda:100",
    source_digest="0" * 64,
    sizes=(1,),
    tuning={"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4},
    tensor_cores_claimed=True,
    files=("a.cubin",),
    warps=4,
    programs=1000,
    registers=128,
    spill_store_bytes=0,
    spill_load_bytes=0,
    scratch_bytes=0,
    shared_bytes=40000,
    tensor_memory_columns=128,
    resident_programs=4,
    occupancy=0.25,
    occupancy_limiter="registers",
    instructions=1000,
    loop_instructions=400,
    tensor_instructions={"UTCHMMA": 8},
    native_tensor_instructions=8,
)
WAITS = GOOD.model_copy(
    update={"tensor_cores_claimed": False, "tensor_instructions": {}, "native_tensor_instructions": 0, "occupancy": 0.5}
)


def changed(record: KernelRecord = GOOD, **changes: Any) -> KernelRecord:
    return record.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"error": "LLVM ERROR"}, "LLVM ERROR"),
        ({"architecture_found": "cuda:90"}, "code for cuda:90"),
        ({"spill_store_bytes": 4}, "spills 4 bytes"),
        ({"spill_load_bytes": 4}, "spills 4 bytes"),
        ({"scratch_bytes": 8}, "spills 8 bytes"),
        ({"spill_store_bytes": None}, "unknown"),
        ({"resident_programs": 0}, "does not fit"),
        ({"tensor_instructions": {"HMMA": 4}, "native_tensor_instructions": 0}, "in none of: HMMA"),
        ({"native_tensor_instructions": None}, "claims matrix units"),
    ],
)
def test_an_unsound_binary_loses_against_any_sound_one(changes: dict[str, Any], words: str) -> None:
    bad = changed(**changes)
    problem = find_problem(bad)
    assert problem is not None
    assert words in problem
    assert score(changed(instructions=10**6, loop_instructions=10**6, resident_programs=1)) < score(bad)


def test_among_unsound_ones_the_fewest_spills_win_and_an_error_loses() -> None:
    few, many, none = changed(spill_store_bytes=4), changed(spill_store_bytes=400), changed(error="no")
    assert score(few) < score(many) < score(none)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        # Two programs of four warps wait for one another, one has nobody to wait for.
        (changed(resident_programs=2), changed(resident_programs=1)),
        # Beyond that, the work counts.
        (changed(resident_programs=2, loop_instructions=300), changed(resident_programs=4)),
        (changed(), changed(programs=30)),
        # A hundred programs for the second round of 148 multiprocessors, or one.
        (changed(programs=248), changed(programs=149)),
        (changed(loop_instructions=350), changed()),
        # The same work for a tile of twice the size.
        (changed(tuning={"BLOCK_M": 128, "BLOCK_N": 64}, loop_instructions=600), changed()),
        # More of a loop's loads on their way.
        (changed(shared_bytes=60000), changed()),
        (changed(instructions=900), changed()),
        (changed(WAITS), changed(WAITS, resident_programs=1, occupancy=0.125)),
        (changed(WAITS, loop_instructions=200), changed(WAITS)),
        (changed(WAITS, resident_programs=8, occupancy=1.0), changed(WAITS)),
    ],
)
def test_which_of_two_sound_binaries_is_better(better: KernelRecord, worse: KernelRecord) -> None:
    assert find_problem(better) is None
    assert find_problem(worse) is None
    assert score(better) < score(worse)


def test_a_few_instructions_are_nothing_to_a_kernel_that_waits_for_memory() -> None:
    assert score(changed(WAITS, loop_instructions=410)) == score(WAITS)


def test_all_that_a_short_launch_has_is_enough() -> None:
    """148 programs of four warps: one a multiprocessor, so that room for more is of no use."""
    short = changed(WAITS, programs=148, resident_programs=1, occupancy=0.0625)
    assert score(short)[1] == 0.0
    assert score(changed(short, programs=1480))[1] > 0.0


def test_a_chip_without_published_limits_is_chosen_for_by_a_stand_in() -> None:
    rubin = changed(architecture="cuda:107", architecture_found="cuda:107", resident_programs=None, occupancy=None)
    assert find_problem(rubin) is None
    assert score(rubin) < score(changed(rubin, registers=255, warps=4, shared_bytes=120000))


def fake_compiler(landscape: Any, asked: list[KernelRequest]) -> Any:
    def compile_requests(requests: Sequence[KernelRequest], *_: Any) -> list[KernelRecord]:
        asked.extend(requests)
        return [
            changed(
                **request.unfinished().model_dump(exclude={"tensor_cores_claimed"}, exclude_defaults=True),
                architecture_found=request.architecture,
                **landscape(request),
            )
            for request in requests
        ]

    return compile_requests


@pytest.fixture
def product(tmp_path: Path) -> Kernel:
    grid = '{"BLOCK_M": (32, 64, 128, 256), "BLOCK_N": (32, 64, 128), "num_warps": (2, 4, 8)}'
    more = '\nUNSUPPORTED = {"cuda:80 float8_e4m3fn": "sm_80 has no fp8"}\n'
    return load_kernel(write_product(tmp_path, search=grid, more=more))


def test_the_search_finds_the_best_of_its_landscape_and_skips_what_is_excluded(
    product: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def landscape(request: KernelRequest) -> dict[str, Any]:
        tile = request.tuning["BLOCK_M"] * request.tuning["BLOCK_N"]
        room = 128 * 128 if request.architecture == "cuda:100" else 64 * 64
        # Work a tile grows slower than the tile, until it no longer fits into registers.
        return {"loop_instructions": int(10 * tile**0.9), "spill_store_bytes": 64 if tile > room else 0}

    asked: list[KernelRequest] = []
    monkeypatch.setattr(search, "compile_requests", fake_compiler(landscape, asked))
    chosen = search_tunings(product, ("cuda:100", "cuda:80"))
    assert set(chosen) == {("cuda:100", "bfloat16"), ("cuda:100", "float8_e4m3fn"), ("cuda:80", "bfloat16")}
    for (architecture, _), choice in chosen.items():
        tile = choice.tuning["BLOCK_M"] * choice.tuning["BLOCK_N"]
        assert tile == (128 * 128 if architecture == "cuda:100" else 64 * 64)
        assert choice.problem is None
        assert choice.tuning["BLOCK_K"] == 32
    assert ("cuda:80", "float8_e4m3fn") not in {(request.architecture, request.variant) for request in asked}


def test_a_variant_that_is_unsound_with_the_common_tuning_gets_its_own(
    product: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def landscape(request: KernelRequest) -> dict[str, Any]:
        tile = request.tuning["BLOCK_M"] * request.tuning["BLOCK_N"]
        spills = request.variant == "float8_e4m3fn" and tile > 32 * 32
        return {"loop_instructions": int(10 * tile**0.9), "spill_store_bytes": tile if spills else 0}

    monkeypatch.setattr(search, "compile_requests", fake_compiler(landscape, []))
    chosen = search_tunings(product, ("cuda:100",))
    assert chosen["cuda:100", "bfloat16"].tuning["BLOCK_M"] == 256
    narrow = chosen["cuda:100", "float8_e4m3fn"]
    assert narrow.problem is None
    assert (narrow.tuning["BLOCK_M"], narrow.tuning["BLOCK_N"]) == (32, 32)


def test_siblings_share_one_search(product: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[KernelRequest] = []
    monkeypatch.setattr(search, "compile_requests", fake_compiler(lambda request: {}, asked))
    chosen = search_tunings(product, ("cuda:100", "cuda:103"))
    assert chosen["cuda:103", "bfloat16"].tuning == chosen["cuda:100", "bfloat16"].tuning
    assert len([request for request in asked if request.architecture == "cuda:103"]) == 2
    alone = search_tunings(product, ("cuda:103",))
    assert set(alone) == {("cuda:103", "bfloat16"), ("cuda:103", "float8_e4m3fn")}


def test_what_is_equal_stays_as_it_was(product: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def landscape(request: KernelRequest) -> dict[str, Any]:
        tile = request.tuning["BLOCK_M"] * request.tuning["BLOCK_N"]
        return {"loop_instructions": tile, "tensor_cores_claimed": False, "occupancy": 0.5, "warps": 4}

    monkeypatch.setattr(search, "compile_requests", fake_compiler(landscape, []))
    chosen = search_tunings(product, ("cuda:100",))
    assert chosen["cuda:100", "bfloat16"].tuning == product.tunables["default"]


def test_a_cell_without_a_sound_tuning_says_what_is_wrong(product: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def landscape(request: KernelRequest) -> dict[str, Any]:
        return {"scratch_bytes": request.tuning["BLOCK_M"]}

    monkeypatch.setattr(search, "compile_requests", fake_compiler(landscape, []))
    (choice, _) = search_tunings(product, ("cuda:100",)).values()
    assert choice.problem == "spills 32 bytes"


def test_a_real_kernel_is_tuned(tmp_path: Path) -> None:
    kernel = load_kernel(write_kernel(tmp_path, "add", ADD, search='{"num_warps": (1, 4)}'))
    chosen = search_tunings(kernel, ("cuda:90", "hip:gfx942"), tmp_path / "cache", 2)
    assert set(chosen) == {("cuda:90", "float32"), ("hip:gfx942", "float32")}
    assert all(choice.problem is None and choice.tuning["BLOCK"] == 256 for choice in chosen.values())
