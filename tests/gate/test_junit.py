"""JUnit XML that any parser reads, whatever the names; what was not measured counts as a failure."""

import xml.etree.ElementTree as ET

import pytest

from porting.gate.junit import format_junit
from tests.gate.hostile import NAMES, hostile_verdict
from tests.gate.records import baseline_of, judge, ported
from tests.verdict.records import TARGET, with_target

STAMP = "2026-11-24T12:00:00+00:00"


def parse(text: str) -> ET.Element:
    return ET.fromstring(text.encode("utf-8"))


def test_a_case_a_check_and_a_suite_a_target() -> None:
    verdict = judge(ported(), baseline_of())
    root = parse(format_junit(verdict, 1.5, STAMP))
    assert root.tag == "testsuites"
    assert root.attrib["tests"] == str(len(verdict.checks))
    assert (root.attrib["failures"], root.attrib["errors"], root.attrib["time"]) == ("0", "0", "1.500")
    assert [suite.attrib["name"] for suite in root.iter("testsuite")] == ["bundle", TARGET]
    cases = list(root.iter("testcase"))
    assert len(cases) == len(verdict.checks)
    assert len({(case.attrib["classname"], case.attrib["name"]) for case in cases}) == len(cases)
    assert root.find(".//failure") is None
    out = next(case for case in cases if case.attrib["name"] == "ratio to eager").findtext("system-out")
    assert out is not None
    assert "value 4.0 x" in out
    assert "Not seen: a loss below" in out


def test_what_did_not_pass_is_a_failure_never_skipped() -> None:
    verdict = judge(with_target(ported(memory_high_water_bytes=2**31), verdict=None), baseline_of())
    root = parse(format_junit(verdict, 0.0, STAMP))
    failures = list(root.iter("failure"))
    assert len(failures) == len(verdict.troubles)
    assert {failure.attrib["type"] for failure in failures} == {"failed", "not measured"}
    assert all(failure.attrib["message"] and failure.text for failure in failures)
    assert root.attrib["failures"] == str(len(failures))
    assert root.find(".//skipped") is None


@pytest.mark.parametrize("name", NAMES)
def test_names_from_outside_stay_text(name: str) -> None:
    text = format_junit(hostile_verdict(name), 0.0, STAMP)
    root = parse(text)
    assert len(list(root.iter("testcase"))) == 3
    assert len(list(root.iter("failure"))) == 2
    assert {element.tag for element in root.iter()} == {
        *("testsuites", "testsuite", "properties", "property", "testcase", "failure", "system-out")
    }
    assert "\x1b" not in text
    assert "\x00" not in text
