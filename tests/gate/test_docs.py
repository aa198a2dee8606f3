"""docs/ci.md: its YAML is a workflow, and every command in it exists with these options."""

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from porting.cli.app import load_commands
from porting.pytest_plugin import assert_ports

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ci.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [body for name, body in BLOCKS if name == language]


def workflows() -> list[dict[Any, Any]]:
    yaml = importlib.import_module("yaml")
    return [yaml.safe_load(body) for body in blocks("yaml")]


def commands() -> list[list[str]]:
    """Every worldport command of the workflows and shell blocks, as words."""
    scripts = [
        step["run"] for flow in workflows() for job in flow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    lines = [line for script in (*scripts, *blocks("sh")) for line in script.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("worldport ")]


def test_workflows_are_whole() -> None:
    flows = workflows()
    assert len(flows) == 2
    for flow in flows:
        # YAML 1.1 reads the key `on` as true.
        assert flow[True] is not None
        assert flow["permissions"]["contents"] == "read"
        for job in flow["jobs"].values():
            assert job["runs-on"]
            assert job["timeout-minutes"] <= 60
            assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def test_what_others_write_is_never_put_into_a_script() -> None:
    for flow in workflows():
        for job in flow["jobs"].values():
            assert not [step["run"] for step in job["steps"] if "${{" in step.get("run", "")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_exists_with_these_options(words: list[str]) -> None:
    app: Any = typer.main.get_command(load_commands())
    command = app.commands[words[1]]
    context = command.make_context(words[1], list(words[2:]))
    assert context.params


def test_the_commands_of_the_gate_are_among_them() -> None:
    assert {words[1] for words in commands()} == {"port", "baseline", "gate", "verify", "bench"}


def test_the_python_calls_fit_the_plugin() -> None:
    (code,) = blocks("python")
    calls = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "assert_ports"
    ]
    assert len(calls) == 2
    for call in calls:
        keywords = {word.arg: None for word in call.keywords if word.arg}
        inspect.signature(assert_ports).bind(*call.args, **keywords)
