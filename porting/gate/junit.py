"""The gate as JUnit XML, as CI systems render it: a suite a target, a test case a check, a failure with its reason.

What was not measured is a failure too, of its own type: a CI system counts skipped tests as success.
"""

import xml.etree.ElementTree as ET

from porting.escaping import one_line
from porting.gate.verdict import GateCheck, GateVerdict
from porting.record import Outcome


def format_junit(verdict: GateVerdict, seconds: float, stamp: str) -> str:
    """The XML document.

    Args:
        verdict: what is told.
        seconds: that the gate took.
        stamp: when it was made, ISO 8601.
    """
    root = ET.Element("testsuites", _count(verdict.checks, f"worldport gate {verdict.model}"))
    root.set("time", f"{seconds:.3f}")
    for target in dict.fromkeys(check.target for check in verdict.checks):
        checks = tuple(check for check in verdict.checks if check.target == target)
        suite = ET.SubElement(root, "testsuite", _count(checks, target))
        suite.set("timestamp", one_line(stamp))
        suite.set("skipped", "0")
        properties = ET.SubElement(suite, "properties")
        for name, value in (("model", verdict.model), ("against", verdict.against)):
            ET.SubElement(properties, "property", {"name": name, "value": one_line(value)})
        for check in checks:
            suite.append(_make_case(verdict.model, check))
    ET.indent(root)
    # Not left to ElementTree: it would declare the encoding of the user's locale.
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _count(checks: tuple[GateCheck, ...], name: str) -> dict[str, str]:
    bad = sum(check.outcome is not Outcome.PASSED for check in checks)
    return {"name": one_line(name), "tests": str(len(checks)), "failures": str(bad), "errors": "0"}


def _make_case(model: str, check: GateCheck) -> ET.Element:
    title = check.name + (f" of {check.subject}" if check.subject else "")
    classname = f"{model}.{check.target}"
    case = ET.Element("testcase", {"classname": one_line(classname), "name": one_line(title), "time": "0"})
    figures = {"value": check.value, "limit": check.limit, "baseline": check.baseline}
    told = ", ".join(f"{name} {value!r} {check.unit}".rstrip() for name, value in figures.items() if value is not None)
    if check.outcome is not Outcome.PASSED:
        trouble = ET.SubElement(case, "failure", {"type": check.outcome.value, "message": one_line(check.reason)})
        trouble.text = one_line(f"{check.outcome}: {check.reason} {told}")
    out = ET.SubElement(case, "system-out")
    out.text = one_line(" ".join(filter(None, (check.reason, told, check.unseen and f"Not seen: {check.unseen}."))))
    return case
