"""`assert_ports` in a team's own tests: what did not pass is named, and an unused plugin costs nothing."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from porting import pytest_plugin
from porting.gate import format_baseline
from tests.gate.records import baseline_of, ported, write_bundle
from tests.verdict.records import with_target

pytest_plugins = ["pytester"]
PLUGIN = "porting.pytest_plugin"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", ported())


def run_test(pytester: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    """A team's test with the fixture, in a process of its own."""
    pytester.makepyfile(f"def test_port(assert_ports):\n    {body}\n")
    # Installed, the plugin is there already; naming it once more would load it twice.
    named = () if _is_installed() else ("-p", PLUGIN)
    return pytester.runpytest_subprocess(*named, "-p", "no:cacheprovider", *options)


def _is_installed() -> bool:
    from importlib.metadata import entry_points

    return any(point.value == PLUGIN for point in entry_points(group="pytest11"))


def test_a_port_that_holds_passes(pytester: pytest.Pytester, bundle: Path) -> None:
    call = f"assert_ports({str(bundle)!r}, target='cpu', min_fps=24, max_error_budget_ratio=1.5, require='throughput')"
    result = run_test(pytester, call, "--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    assert 'name="cpu: frames per second asked for" value="100.0"' in (pytester.path / "out.xml").read_text()


def test_a_failure_names_the_checks_with_their_figures(pytester: pytest.Pytester, bundle: Path) -> None:
    result = run_test(pytester, f"assert_ports({str(bundle)!r}, min_fps=240, max_error_budget_ratio=1.1)")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "toy in *bundle: failed, held against no baseline",
            "failed - cpu: error budget ratio asked for of *: 1.2 times PyTorch's own error; at most 1.1 was"
            " asked for.",
            "failed - cpu: frames per second asked for: 100 fps over 240 frames; at least 240 fps is needed.",
            "* of * checks passed",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


def test_what_was_not_measured_fails_the_test(pytester: pytest.Pytester, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "empty", with_target(ported(), throughput=None, verdict=None))
    result = run_test(pytester, f"assert_ports({str(bundle)!r}, min_fps=24)")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["not measured - cpu: frames per second asked for: No frame was timed on any host."])


def test_a_folder_that_is_no_bundle_fails_the_test(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run_test(pytester, f"assert_ports({str(tmp_path)!r})")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BundleError: *has no port.json*"])


def test_a_target_that_is_not_there_fails_the_test(pytester: pytest.Pytester, bundle: Path) -> None:
    result = run_test(pytester, f"assert_ports({str(bundle)!r}, target=['cpu', 'b200'])")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["not measured - b200: targets: *"])


def test_a_baseline_is_held_against(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(format_baseline(baseline_of(ported(memory_high_water_bytes=2**20))))
    with pytest.raises(pytest.fail.Exception, match="memory high water"):
        pytest_plugin.assert_ports(bundle, baseline=path)
    verdict = pytest_plugin.assert_ports(bundle, baseline=path, ratios_only=True)
    assert verdict.exit_code == 0
    with pytest.raises(pytest.fail.Exception, match="there is no such baseline"):
        pytest_plugin.assert_ports(bundle, baseline=tmp_path / "none.json")


@pytest.mark.parametrize("limits", [{"min_fps": -1}, {"require": "perfection"}, {"min_fps": float("nan")}])
def test_a_limit_that_cannot_be_is_a_usage_error(bundle: Path, limits: dict[str, object]) -> None:
    with pytest.raises(pytest.UsageError, match=next(iter(limits))):
        pytest_plugin.assert_ports(bundle, **limits)  # type: ignore[arg-type]


def test_an_unused_plugin_imports_nothing_else_of_worldport() -> None:
    code = (
        f"import sys, pytest; old = set(sys.modules); import {PLUGIN}; new = set(sys.modules) - old;"
        "print(sorted(new - {'porting', 'porting.pytest_plugin'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ast.literal_eval(done.stdout) == []


def test_the_project_declares_the_plugin(project_root: Path) -> None:
    declared = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"worldport": PLUGIN}
    assert callable(import_module(declared["worldport"]).assert_ports)
