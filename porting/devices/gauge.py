"""Gauges of this host's devices, read again and again: energy used, clock, and what slows the clock.

As with a census, drivers are asked in a child process with a time limit; a gauge that once gave no answer gives none
any more. What it reads is only handed on: that a counter lies is for whoever compares two readings to see.
"""

import json
import os
import selectors
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

Kind = Literal["cpu", "cuda", "hip"]
TIME_LIMIT_SECONDS = 20.0
"""For the first answer, as a driver may have to wake its devices."""
LATER_LIMIT_SECONDS = 2.0
"""For every other: a driver that takes longer would disturb what is measured."""
READERS: dict[Kind, str] = {"cpu": "rapl", "cuda": "nvidia_gauge", "hip": "amd_gauge"}
"""Kind -> the module that reads its counters."""


@dataclass(frozen=True)
class GaugeReading:
    """What one device told at one moment; None is what it does not tell, and `note` why."""

    source: str
    energy_joules: float | None = None
    """A running total, from some moment on."""
    clock_mhz: float | None = None
    slowed_by: tuple[str, ...] = ()
    """Reasons for a lower clock, as the driver names them: heat, or a power supply that cannot follow."""
    note: str = ""


class Gauge:
    """A child process that reads one device whenever it is asked; `with` ends it."""

    def __init__(self, kind: Kind, command: tuple[str, ...] | None = None) -> None:
        """Start the child.

        Args:
            kind: whose counters.
            command: what to run instead of this package's own reader; tests put drivers that hang or lie there.
        """
        self._limit = TIME_LIMIT_SECONDS
        self._broken = ""
        self._source = READERS[kind]
        package_root = str(Path(__file__).resolve().parents[2])
        inherited = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([package_root, inherited] if inherited else [package_root])
        self._child = subprocess.Popen(
            command or (sys.executable, "-P", "-m", "porting.devices.gauge_worker", READERS[kind]),
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def read(self, time_limit_seconds: float | None = None) -> GaugeReading:
        """Ask once; a child that ended, hangs or answers nonsense is given up, and every reading says why."""
        if self._broken:
            return GaugeReading(self._source, note=self._broken)
        limit = self._limit if time_limit_seconds is None else time_limit_seconds
        self._limit = LATER_LIMIT_SECONDS
        try:
            answer = self._ask(limit)
            given = json.loads(answer)
            given["slowed_by"] = tuple(given.get("slowed_by", ()))
            return GaugeReading(**given)
        except TimeoutError:
            return self._give_up(f"the driver gave no answer in {limit:g} s; is it hanging?")
        except OSError as cause:
            return self._give_up(f"the driver's reader ended ({cause})")
        except (ValueError, TypeError, AttributeError) as cause:
            return self._give_up(f"the driver's reader gave no readable answer ({cause!r})")

    def _ask(self, limit: float) -> str:
        """One line of the child.

        Raises:
            TimeoutError: none came in time.
            OSError: the child has ended.
        """
        pipes = self._child.stdin, self._child.stdout
        if pipes[0] is None or pipes[1] is None:
            raise OSError("it has no pipes")
        pipes[0].write(b"read\n")
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipes[1], selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(limit):
                    raise TimeoutError
                piece = os.read(pipes[1].fileno(), 65536)
                if not piece:
                    raise OSError(f"exit code {self._child.poll()}")
                line += piece
        return line.decode("utf-8", "replace")

    def _give_up(self, reason: str) -> GaugeReading:
        self._broken = reason
        self.close()
        return GaugeReading(self._source, note=reason)

    def close(self) -> None:
        """End the child. One that is stuck in the kernel cannot be waited for: it stays behind."""
        if self._child.poll() is None:
            self._child.kill()
        try:
            self._child.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return
        finally:
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encode(reading: GaugeReading) -> str:
    """One line that `Gauge.read` understands."""
    return json.dumps(asdict(reading))
