"""Runs a batch of compiles in other processes and turns whatever comes of each into an answer, crashes included."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

import porting
from porting.kernel_compiler.request import ENVIRONMENT, Batch, Ended, KernelAnswer, KernelRequest

KEPT_VARIABLES = ("HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONPATH", "TMPDIR", "USER", "VIRTUAL_ENV")
"""What of the environment reaches the compiler; no option of Triton does."""
IMPORT_SECONDS = 300.0
"""What a batch may take beside its compiles."""
ENDING_SECONDS = 10.0
LOOK_SECONDS = 0.1
LAST_CHARACTERS = 600
REPEATABLE_SIGNALS = (signal.SIGABRT,)
"""How LLVM ends a process over code that it cannot compile; any other signal may be the machine's doing."""
MACHINE_ERRORS = ("MemoryError", "OSError", "FileNotFoundError", "PermissionError", "TimeoutExpired")
NOTHING = "(none)"
EXCEPTION = re.compile(r"^((?:\w+\.)*\w+)(?::|$)")


class Asked(Protocol):
    """What any request to a worker has."""

    @property
    def kernel(self) -> str:
        """The kernel's name."""

    @property
    def where(self) -> str:
        """How messages name it."""

    @property
    def timeout_seconds(self) -> float:
        """What it may take."""


def answer_requests(
    requests: Sequence[KernelRequest], jobs: int
) -> Generator[tuple[int, KernelAnswer, Path], None, None]:
    """Answers as they come, each with the index of its request and the folder that holds its files until the next.

    Close it when it is left early, so that nothing runs on.

    Args:
        requests: those of one kernel share a process and their inputs, wherever they stand.
        jobs: compiles at once.
    """
    text = Batch(requests=tuple(requests), jobs=max(jobs, 1)).model_dump_json()
    for index, folder, words in run_batch("porting.kernel_compiler.worker", text, requests, ENVIRONMENT):
        yield index, _read_answer(requests[index], folder, words), folder


def run_batch(
    module: str, text: str, requests: Sequence[Asked], environment: Mapping[str, str]
) -> Generator[tuple[int, Path, str], None, None]:
    """Run a worker on a batch; request i is over when `i/ended.json` is there.

    Yields:
        Index, the folder of its files until the next, and how the worker ended where it never came to the request.
    """
    if not requests:
        return
    with tempfile.TemporaryDirectory(prefix="worldport-kernels-") as name:
        folder = Path(name)
        waiting = set(range(len(requests)))
        with _run_worker(module, text, folder, environment) as worker:
            limit = time.monotonic() + IMPORT_SECONDS + sum(request.timeout_seconds for request in requests)
            running = True
            while running and time.monotonic() < limit:
                # Looked at first: what a worker that has ended did last is found then, too.
                running = worker.poll() is None
                for index in sorted(index for index in waiting if (folder / str(index) / "ended.json").is_file()):
                    waiting.remove(index)
                    yield index, folder / str(index), ""
                    # Compiled kernels and their caches are large, and many.
                    shutil.rmtree(folder / str(index), ignore_errors=True)
                time.sleep(LOOK_SECONDS if running else 0.0)
        said = last_words(folder / "output.txt")
        status = worker.returncode
        words = "the batch took too long" if running else f"the worker {_say_status(status)}; its last words: {said}"
        for index in sorted(waiting):
            yield index, folder / str(index), words


@contextmanager
def _run_worker(
    module: str, text: str, folder: Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The worker while the context lasts; it ends with it, and all that it started."""
    path, output = folder / "batch.json", folder / "output.txt"
    path.write_text(text, encoding="utf-8")
    with output.open("wb") as stream:
        worker = subprocess.Popen(
            [sys.executable, "-m", module, str(path)],
            cwd=folder,
            env=_clean_environment(folder, environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield worker
        finally:
            _end(worker)


def _end(worker: "subprocess.Popen[bytes]") -> None:
    """End a worker that still runs: first so that it ends its children, which have sessions of their own."""
    if worker.poll() is not None:
        return
    os.killpg(worker.pid, signal.SIGTERM)
    try:
        worker.wait(timeout=ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _clean_environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Only what the compiler needs, and the way to this package."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES or name.startswith("LC_")}
    here = str(Path(porting.__file__).parent.parent)
    path = [here, kept["PYTHONPATH"]] if kept.get("PYTHONPATH") else [here]
    return {
        **kept,
        **environment,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TRITON_HOME": str(folder),
    }


def _read_answer(request: KernelRequest, own: Path, words: str) -> KernelAnswer:
    """The answer that the child wrote, or one that says how it ended."""
    try:
        answer = KernelAnswer.model_validate_json((own / "answer.json").read_text(encoding="utf-8"))
        lost = [name for name in answer.digests if not (own / name).is_file()]
        if not lost:
            return answer
    except (OSError, ValidationError):
        pass
    error, repeatable = explain(request, own, words)
    record = request.unfinished().model_copy(update={"error": f"{request.where}: {error}"})
    return KernelAnswer(record=record, repeatable=repeatable)


def explain(request: Asked, own: Path, words: str) -> tuple[str, bool]:
    """Why there is no answer in a request's folder, and whether it would be the same again."""
    try:
        ended = Ended.model_validate_json((own / "ended.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        said = last_words(own.parent / f"kernel-{request.kernel}.txt")
        return (f"was not compiled: {said}" if said != NOTHING else f"was not reached; {words}"), False
    if ended.timed_out:
        limit = f"{request.timeout_seconds:g} s"
        return f"took longer than {limit}; allow more time or list the architecture in UNSUPPORTED", False
    said = last_words(own / "output.txt")
    if ended.status == 1:
        return said, not said.startswith(MACHINE_ERRORS)
    repeatable = -ended.status in REPEATABLE_SIGNALS
    return f"the compiler {_say_status(ended.status)}; its last words: {said}", repeatable


def _say_status(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"


def last_words(path: Path) -> str:
    """What a process said at its end: an exception's name, and its last line; without one, the last line."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return NOTHING
    lines = [line.rstrip() for line in lines if line.strip() and not line.startswith("Repro command:")]
    if not lines:
        return NOTHING
    begin = max((index for index, line in enumerate(lines) if line.startswith("Traceback ")), default=None)
    if begin is None:
        return lines[-1].strip()[-LAST_CHARACTERS:]
    raised = [index for index in range(begin + 1, len(lines)) if EXCEPTION.match(lines[index])]
    first = re.sub(r"^(?:\w+\.)+(?=\w)", "", lines[raised[0]] if raised else lines[-1])
    many = bool(raised) and raised[0] < len(lines) - 1
    return (f"{first} {lines[-1].strip()}" if many else first.strip())[:LAST_CHARACTERS]
