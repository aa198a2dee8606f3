"""The real calls, each in a process of its own, whose slice ends with it."""

import json
import platform
import subprocess
import sys

import pytest

from porting.comparison import time_slice

ASK = """
import json, os, threading
from porting.comparison.time_slice import SHORTEST, ask_for_slice, read_slice

before, niceness, seen = read_slice(), os.getpriority(os.PRIO_PROCESS, 0), []
granted = ask_for_slice(SHORTEST)
thread = threading.Thread(target=lambda: seen.append(read_slice()))
thread.start()
thread.join()
during = read_slice()
ask_for_slice(0)
same = os.getpriority(os.PRIO_PROCESS, 0) == niceness
print(json.dumps([before, granted, during, seen[0], read_slice(), same]))
"""


def ask(script: str = ASK) -> list[object]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    answer: list[object] = json.loads(done.stdout)
    return answer


def test_what_is_granted_holds_for_new_threads_and_is_given_back() -> None:
    before, granted, during, of_thread, after, same = ask()
    assert same
    assert after == before
    # Whether a system has slices to grant is seen by asking it: what it says must fit what it did.
    assert (during == of_thread == time_slice.SHORTEST) is granted
    assert granted or during == before


def test_another_class_of_scheduling_has_none() -> None:
    script = "import os\nos.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n" + ASK
    assert ask(script)[:3] == [None, False, None]


def test_a_machine_whose_calls_are_not_known_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert time_slice.read_slice() is None
    assert time_slice.ask_for_slice(time_slice.SHORTEST) is False
