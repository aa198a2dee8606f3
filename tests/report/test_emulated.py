"""Executed kernels in the report: figures of all launches, trouble where there is some, and what was not covered."""

from pathlib import Path

from porting import content
from porting.record import EMULATED, Check, EmulatedKernel, Outcome, Step
from porting.report import render_html
from porting.report.emulated import any_trouble, list_rows, summarise
from porting.report.matrix import make_row
from tests.report.records import passing, write_bundle
from tests.verdict.test_emulated import GOOD, GOOD_LAUNCH
from tests.verdict.test_kernels import GOOD as COMPILED

ABSENT = GOOD.model_copy(update={"launches": (), "unsupported": "no fp4", "variant": "nvfp4"})
BROKEN = GOOD.model_copy(
    update={"kernel": "rms_silu", "launches": (GOOD_LAUNCH.model_copy(update={"fault": "line 3: ld: <race>"}),)}
)


def test_figures_are_summed_over_launches() -> None:
    launch = GOOD_LAUNCH.model_copy(
        update={
            "ratio": 1.4,
            "bytes_read": {"global": 100, "shared": 7},
            "bank_conflicts": 2,
            "executed_as": "cuda:103",
        }
    )
    (row,) = list_rows([GOOD.model_copy(update={"launches": (GOOD_LAUNCH, launch)})])
    assert (row.ratio, row.launches, row.steps, row.bytes_read, row.bank_conflicts) == (1.4, 2, 16, 100, 2)
    assert row.executed_as == "cuda:100, cuda:103"


def test_summary_counts_trouble_and_what_the_chip_lacks() -> None:
    told = dict(summarise([GOOD, ABSENT, BROKEN]))
    assert (told["emulated"], told["not for this chip"], told["trouble"]) == ("1 of 2", "1", "✕ 1")
    assert told["largest error budget ratio"].endswith("(adaln, bfloat16)")
    assert any_trouble([GOOD, BROKEN])
    assert not any_trouble([GOOD, ABSENT])
    assert dict(summarise([ABSENT]))["largest error budget ratio"] == "not measured"


def page(tmp_path: Path, *emulated: EmulatedKernel) -> str:
    record = passing()
    (name, target), *_ = record.targets.items()
    changed = record.model_copy(
        update={"targets": {name: target.model_copy(update={"emulated": emulated, "kernels": (COMPILED,)})}}
    )
    return render_html(changed, write_bundle(tmp_path, changed), content.folder("reports"))


def test_the_page_shows_them_and_what_they_do_not_prove(tmp_path: Path) -> None:
    text = page(tmp_path, GOOD, ABSENT, BROKEN)
    assert "Executed without the device" in text
    assert "the assembler, the hardware, the last bits of approximate functions and timing are not" in text
    assert "✓ same bits in every order" in text
    assert "line 3: ld: &lt;race&gt;" in text
    assert "not for this chip: no fp4" in text
    assert "Executed without the device" not in page(tmp_path)


def test_the_matrix_tells_of_them_in_the_attested_cell() -> None:
    record = passing()
    (target, *_) = record.targets.values()
    lines = {cell.cell.step: cell.lines for cell in make_row(record, target.model_copy(update={"emulated": (GOOD,)}))}
    (attested,) = (told for step, told in lines.items() if step.value == "attested")
    assert attested[-1] == "1 kernel emulated: error 1.1x the reference's own"


def test_the_matrix_tells_it_once_where_it_decides_the_cell() -> None:
    record = passing()
    (target, *_) = record.targets.values()
    assert target.verdict is not None
    closest = Check(
        step=Step.ATTESTED,
        name=EMULATED,
        subject="kernels",
        outcome=Outcome.PASSED,
        value=1.9,
        limit=2.0,
        reason="Near.",
    )
    verdict = target.verdict.model_copy(update={"checks": (*target.verdict.checks, closest)})
    row = make_row(record, target.model_copy(update={"emulated": (GOOD,), "verdict": verdict}))
    (attested,) = (cell.lines for cell in row if cell.cell.step is Step.ATTESTED)
    assert attested == ("1 kernel emulated: error 1.1x the reference's own",)
