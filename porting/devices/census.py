"""The census of one kind of accelerator, taken in a child process; it knows no vendor's library."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["cuda", "hip"]
TIME_LIMIT_SECONDS = 20.0
"""For a driver that must first wake its devices; a machine with eight of them takes some seconds."""
PROBES: dict[Kind, str] = {"cuda": "nvidia", "hip": "amd"}
"""Kind -> the module that asks its drivers."""


@dataclass(frozen=True)
class FoundDevice:
    """One accelerator that programs on this host can use."""

    kind: Kind
    name: str
    """As the driver calls it; empty where it does not tell."""
    architecture: str
    """As compilers call it: sm_90, gfx942."""
    memory_bytes: int | None = None
    multiprocessors: int | None = None


@dataclass(frozen=True)
class Census:
    """Every accelerator of one kind."""

    kind: Kind
    devices: tuple[FoundDevice, ...] = ()
    driver: str = ""
    """Version of the driver, empty where none told."""
    note: str = ""
    """Why there are none, or in what the drivers contradict each other."""


@cache
def find_devices(kind: Kind, time_limit_seconds: float = TIME_LIMIT_SECONDS) -> Census:
    """Every usable accelerator of a kind; asked once in a process.

    Args:
        kind: whose drivers are asked.
        time_limit_seconds: after this the child is ended, and its driver counts as hanging.

    Returns:
        The devices and the driver's version; `note` says why there is none.
    """
    package_root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([package_root, inherited] if inherited else [package_root])
    # -P: a file in the working directory is no module of ours.
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "porting.devices.worker", PROBES[kind]],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        answer, complaint = child.communicate(timeout=time_limit_seconds)
    except subprocess.TimeoutExpired:
        return Census(kind, note=f"the driver gave no answer in {time_limit_seconds:g} s; is it hanging?")
    finally:
        if child.poll() is None:
            _end(child)
    if child.returncode != 0:
        return Census(kind, note=f"asking the driver {_say_end(child.returncode)}: {_last_line(complaint)}")
    return _read_answer(kind, answer)


def _end(child: "subprocess.Popen[str]") -> None:
    """End it with all it started. One that is stuck in the kernel cannot be waited for: it stays behind."""
    os.killpg(child.pid, signal.SIGKILL)
    try:
        child.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return
    finally:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def _say_end(status: int) -> str:
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"failed with exit code {status}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no word was left"


def _read_answer(kind: Kind, answer: str) -> Census:
    try:
        given = json.loads(answer)
        devices = tuple(FoundDevice(kind=kind, **device) for device in given["devices"])
        return Census(kind, devices, given["driver"], given["note"])
    except (ValueError, TypeError, KeyError) as cause:
        return Census(kind, note=f"asking the driver gave no readable answer ({cause!r})")
