"""One look tells apart what was proved, what ran nowhere, what failed and what was not measured."""

from porting.record import Outcome, PortRecord, Step, TargetRecord, Verdict
from porting.report import matrix
from tests.report.records import cpu_profile, failing, make_check, make_record, not_measured, passing


def unrun() -> TargetRecord:
    """Compiled and attested on a host without the device."""
    checks = tuple(make_check(step, step.value) for step in (Step.EXPORTED, Step.COMPILED, Step.ATTESTED))
    verdict = Verdict(outcome=Outcome.PASSED, reached=Step.ATTESTED, highest_possible=Step.ATTESTED, checks=checks)
    return TargetRecord(profile=cpu_profile(), precision="fp32", verdict=verdict)


def mixed() -> PortRecord:
    targets = {"cpu": passing().targets["cpu"], "b200": unrun(), "mi300x": unrun(), "bad": failing().targets["cpu"]}
    return make_record({**targets, "unknown": not_measured().targets["cpu"]})


def test_a_pass_that_ran_nowhere_is_not_called_just_passed() -> None:
    words = {name: matrix.say_word(target) for name, target in mixed().targets.items()}
    assert words["b200"].text == "passed, not run"
    assert {words[name].text for name in ("cpu", "bad", "unknown")} == {"passed", "failed", "not measured"}
    assert len({word.mark for word in words.values()}) == 4
    assert len({word.css for word in words.values()}) == 4


def test_what_failed_is_said_first() -> None:
    found = [(group.names, group.sentence) for group in matrix.group_targets(mixed())]
    assert found == [
        (("bad",), "failed"),
        (("unknown",), "was not measured"),
        (("cpu",), "passed up to throughput"),
        (("b200", "mi300x"), "passed up to attested and ran on no device: frames and speed are not measured"),
    ]
    assert matrix.group_targets(make_record({})) == []


def test_cells_that_passed_show_the_figures_asked_for_first() -> None:
    record = passing()
    row = {item.cell.step: item for item in matrix.make_row(record, record.targets["cpu"])}
    assert row[Step.COMPILED].lines == ("onnxruntime: 2 components",)
    parity = row[Step.PARITY].lines
    assert parity[0] == "worst error 1.14x PyTorch's own (limit 2)"
    assert parity[1].startswith("24 frames, PSNR ≥ ")
    assert row[Step.THROUGHPUT].lines == ("102 frames/s of 24", "p99 13.7 ms of 41.7 ms", "1 of 312 missed")
    assert [item.section for item in row.values()] == ["checks", "artifacts", "artifacts", "parity", "throughput"]


def test_a_cell_that_failed_shows_the_check_that_decided_it() -> None:
    record = failing()
    parity = matrix.make_row(record, record.targets["cpu"])[3]
    assert parity.cell.word == "failed"
    assert parity.lines == ("error budget ratio: 41 (limit 2)",)
    assert not parity.brief


def test_a_cell_of_a_target_that_ran_nowhere_leads_to_why() -> None:
    record = mixed()
    row = matrix.make_row(record, record.targets["b200"])
    assert [item.section for item in row[3:]] == ["run", "run"]
    assert all(item.brief for item in row)
