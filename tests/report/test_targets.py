"""A target that was compiled and not run: its chain, its kernels, and that nothing else was measured."""

import pytest

from porting.record import ChainLink, PortRecord, Step
from porting.report import render_html
from porting.report.targets import list_chain, ran_nowhere, say_spilled
from tests.report.records import TEMPLATES, not_measured
from tests.verdict.test_kernels import GOOD

ABSENT = GOOD.model_copy(
    update={"kernel": "scaled <matmul>", "error": "no native fp4 on this chip", "unsupported": True, "files": ()}
)
BROKEN = GOOD.model_copy(update={"kernel": "conv", "error": "LLVM ERROR: cannot select", "files": ()})
UNREAD = GOOD.model_copy(update={"kernel": "norm", "spill_load_bytes": None, "occupancy": None})
CHAIN = (
    ChainLink(backend="tensorrt", builds=False, reason="is not installed"),
    ChainLink(backend="triton", builds=True, reason="builds here, runs on the device only"),
)


@pytest.fixture
def record() -> PortRecord:
    """Nothing was measured; kernels of every fate were compiled."""
    empty = not_measured()
    targets = {
        name: target.model_copy(update={"chain": CHAIN, "kernels": (GOOD, ABSENT, BROKEN, UNREAD)})
        for name, target in empty.targets.items()
    }
    return empty.model_copy(update={"targets": targets})


def test_kernels_and_chain_are_shown_and_escaped(record: PortRecord) -> None:
    page = render_html(record, TEMPLATES, TEMPLATES)
    for words in (
        "UTCHMMA",
        "196",
        "no native fp4 on this chip",
        "LLVM ERROR: cannot select",
        "is not installed",
    ):
        assert words in page
    assert "scaled <matmul>" not in page


def test_what_could_not_be_read_is_not_zero(record: PortRecord) -> None:
    assert say_spilled(GOOD) == "none"
    assert say_spilled(UNREAD) == "not measured"
    assert say_spilled(GOOD.model_copy(update={"spill_store_bytes": 64, "spill_load_bytes": 32})) == "96 B"


def test_the_chain_tells_the_first_error_of_one_that_was_tried(record: PortRecord) -> None:
    (target,) = record.targets.values()
    assert [(row.backend, row.made, row.reason) for row in list_chain(target)] == [
        ("tensorrt", 0, "is not installed"),
        ("triton", 0, "builds here, runs on the device only"),
    ]


def test_evidence_of_another_host_counts_as_run(record: PortRecord) -> None:
    (target,) = record.targets.values()
    assert target.verdict is not None
    assert ran_nowhere(target) == (target.verdict.highest_possible is Step.ATTESTED)
    here = target.verdict.model_copy(update={"highest_possible": Step.THROUGHPUT})
    assert not ran_nowhere(target.model_copy(update={"verdict": here}))
