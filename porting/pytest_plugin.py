"""A team's own tests about a port: `assert_ports(bundle, target="b200", min_fps=24)`, as a function and as a fixture.

pytest loads this module wherever worldport is installed, so nothing of worldport is imported before a test asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from porting.gate import GateVerdict

MOST_CHECKS = 12
"""Named in a failure."""


class AssertPorts(Protocol):
    """What the fixture gives: `assert_ports` itself, whose figures also go into pytest's own JUnit XML."""

    def __call__(
        self,
        bundle: str | Path,
        *,
        target: str | Sequence[str] | None = None,
        min_fps: float | None = None,
        max_error_budget_ratio: float | None = None,
        require: str | None = None,
        baseline: str | Path | None = None,
        ratios_only: bool = False,
    ) -> GateVerdict:
        """As `porting.pytest_plugin.assert_ports`."""
        ...


def assert_ports(
    bundle: str | Path,
    *,
    target: str | Sequence[str] | None = None,
    min_fps: float | None = None,
    max_error_budget_ratio: float | None = None,
    require: str | None = None,
    baseline: str | Path | None = None,
    ratios_only: bool = False,
) -> GateVerdict:
    """Fail the test unless a bundle's evidence passes; what was not measured fails it too.

    Args:
        bundle: folder of a port. Its files must be what was written, and its verdict must follow from its evidence.
        target: one or several of its targets; all by default.
        min_fps: frames per second that each must reach.
        max_error_budget_ratio: error over PyTorch's own that none may exceed.
        require: step of the evidence ladder that each must have reached: "parity", "throughput", ...
        baseline: what `worldport baseline` wrote, to be held against as well.
        ratios_only: leave out what holds on the baseline's own machine only.

    Returns:
        The verdict with every check, for tests that want to look closer.
    """
    __tracebackhide__ = True
    verdict = _judge(bundle, target, min_fps, max_error_budget_ratio, require, baseline, ratios_only)
    if verdict.exit_code != 0:
        pytest.fail(_explain(bundle, verdict), pytrace=False)
    return verdict


def _judge(
    bundle: str | Path,
    target: str | Sequence[str] | None,
    min_fps: float | None,
    max_error_budget_ratio: float | None,
    require: str | None,
    baseline: str | Path | None,
    ratios_only: bool,
) -> GateVerdict:
    __tracebackhide__ = True
    from pydantic import ValidationError

    from porting.errors import PortingError
    from porting.gate import Limits, read_baseline
    from porting.pipeline.gating import gate_bundle

    try:
        limits = Limits.model_validate(
            {
                "require": require,
                "min_fps": min_fps,
                "max_error_budget_ratio": max_error_budget_ratio,
                "targets": (target,) if isinstance(target, str) else tuple(target or ()),
                "ratios_only": ratios_only,
            }
        )
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise pytest.UsageError(f"assert_ports: {where}: {first['msg']}") from cause
    try:
        return gate_bundle(Path(bundle), read_baseline(Path(baseline)) if baseline is not None else None, limits)
    except PortingError as error:
        pytest.fail(f"{type(error).__name__}: {error}", pytrace=False)


def _explain(bundle: str | Path, verdict: GateVerdict) -> str:
    """The verdict first, then every check that did not pass, each with its figures."""
    from porting.escaping import one_line

    troubles = verdict.troubles
    lines = [f"{verdict.model} in {bundle}: {verdict.outcome}, held against {verdict.against}"]
    lines += [f"{check.outcome} - {check.title}: {check.reason}" for check in troubles[:MOST_CHECKS]]
    if len(troubles) > MOST_CHECKS:
        lines.append(f"and {len(troubles) - MOST_CHECKS} more that did not pass")
    passed = len(verdict.checks) - len(troubles)
    lines.append(f"{passed} of {len(verdict.checks)} checks passed")
    return "\n".join(map(one_line, lines))


@pytest.fixture(name="assert_ports")
def _assert_ports_fixture(record_property: Callable[[str, object], None]) -> AssertPorts:
    """`assert_ports`, with every figure recorded as a property of the test."""

    def asserting(
        bundle: str | Path,
        *,
        target: str | Sequence[str] | None = None,
        min_fps: float | None = None,
        max_error_budget_ratio: float | None = None,
        require: str | None = None,
        baseline: str | Path | None = None,
        ratios_only: bool = False,
    ) -> GateVerdict:
        __tracebackhide__ = True
        verdict = _judge(bundle, target, min_fps, max_error_budget_ratio, require, baseline, ratios_only)
        for check in verdict.checks:
            if check.value is not None:
                record_property(check.title, check.value)
        if verdict.exit_code != 0:
            pytest.fail(_explain(bundle, verdict), pytrace=False)
        return verdict

    return asserting
