import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from porting.comparison.priority import HIGHEST, prefer_this_process
from porting.comparison.time_slice import SHORTEST


@pytest.fixture
def niceness(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was set; the process itself is left alone."""
    asked: list[int] = []
    monkeypatch.setattr(os, "getpriority", lambda kind, who: 3)
    monkeypatch.setattr(os, "setpriority", lambda kind, who, value: asked.append(value))
    monkeypatch.setattr("porting.comparison.priority.ask_for_slice", lambda nanoseconds: False)
    return asked


def test_what_was_granted_is_said_and_given_back(niceness: list[int], tmp_path: Path) -> None:
    autogroup = tmp_path / "autogroup"
    autogroup.write_text("/autogroup-25 nice 5\n")
    with prefer_this_process(autogroup) as granted:
        assert autogroup.read_text() == str(HIGHEST)
        assert "in place of 3" in granted
        assert "in place of 5" in granted
    assert niceness == [HIGHEST, 3]
    assert autogroup.read_text() == "5\n"


def test_the_shortest_slice_is_asked_for_and_given_back(
    niceness: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slices: list[int] = []

    def grant(nanoseconds: int) -> bool:
        slices.append(nanoseconds)
        return True

    monkeypatch.setattr("porting.comparison.priority.ask_for_slice", grant)
    with prefer_this_process(tmp_path / "none") as granted:
        assert slices == [SHORTEST]
        assert granted.endswith(", a slice of 0.1 ms")
    assert slices == [SHORTEST, 0]


def test_it_is_given_back_after_an_error(niceness: list[int], tmp_path: Path) -> None:
    def fail() -> None:
        with prefer_this_process(tmp_path / "none"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the test's own
        fail()
    assert niceness == [HIGHEST, 3]


def test_a_refusal_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(kind: int, who: int, value: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    autogroup = tmp_path / "autogroup"
    autogroup.write_text("/autogroup-25 nice 5\n")
    with prefer_this_process(autogroup) as granted:
        assert granted == "no priority over other processes was granted (Permission denied)"
    assert autogroup.read_text() == "/autogroup-25 nice 5\n"


def test_a_killed_process_leaves_nothing_raised(tmp_path: Path) -> None:
    autogroup = tmp_path / "autogroup"
    autogroup.write_text("/autogroup-25 nice 5\n")
    program = (
        "import os, pathlib, signal, sys\n"
        "os.setpriority = lambda *given: None\n"
        "from porting.comparison.priority import prefer_this_process\n"
        "with prefer_this_process(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(autogroup)], check=False, timeout=60)
    waited = time.monotonic() + 30
    while autogroup.read_text() != "5\n" and time.monotonic() < waited:
        time.sleep(0.02)
    assert autogroup.read_text() == "5\n"
