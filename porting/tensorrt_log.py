"""The log of a process's TensorRT: what the library said when it refused something.

TensorRT and TensorRT-RTX have the same classes here, so the module is given as `trt`; neither is imported.
"""

import functools
from collections.abc import Sequence
from typing import Any

MESSAGE_CHARACTERS = 600
"""Of TensorRT's own words, in an error: some hold the whole call stack."""


@functools.cache
def make_logger(trt: Any) -> Any:
    """The process's logger of that binding, which keeps errors in `lines`: TensorRT writes to the first one only."""

    class KeepingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.lines.append(message.strip())

    return KeepingLogger()


def last_words(logger: Any) -> str:
    """The last error that was logged, on one line; says so where there is none."""
    lines: Sequence[str] = logger.lines
    return shorten(lines[-1]) if lines else "it said nothing"


def shorten(text: str) -> str:
    """The beginning of a long message, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_CHARACTERS else f"{line[:MESSAGE_CHARACTERS]}..."
