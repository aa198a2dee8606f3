"""Compilers: a component and a profile to an artifact and its attestation, one module a backend.

Each compile runs in a child process with an environment of its own: an error inside a vendor's toolchain may end the
process, and some toolchains read what is set around them. A compile that fails is a record with its error.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import porting
from porting.compilers.base import NEEDS_DEVICE, PACKAGES, TIMES_KERNELS, BatchRange, CompileRequest
from porting.errors import CompileError
from porting.record import ArtifactRecord, Attestation

__all__ = ["NEEDS_DEVICE", "PACKAGES", "TIMES_KERNELS", "BatchRange", "CompileRequest", "compile_component"]

KEPT_VARIABLES = (
    "CXX", "HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONPATH", "TMPDIR", "USER", "VIRTUAL_ENV",
)  # fmt: skip
"""What of the environment reaches a compiler."""
TAIL_CHARACTERS = 2000
"""Of the child's output, in `error`."""


def compile_component(request: CompileRequest) -> ArtifactRecord:
    """Compile one component in a child process and move its files into `out_dir`.

    Args:
        request: what to compile; `out_dir` is made when it is not there.

    Returns:
        The record, paths relative to `out_dir`. When anything failed, `error` says what and there are no files.
    """
    start = time.perf_counter()
    request.out_dir.mkdir(parents=True, exist_ok=True)
    unfinished = ArtifactRecord(
        component=request.component.name, backend=request.backend, precision=request.precision, path=None
    )
    # Beside the target, so that files are moved and never half there.
    # Absolute, since the child runs in it.
    with tempfile.TemporaryDirectory(dir=request.out_dir.absolute(), prefix=".compile-") as folder:
        try:
            answer = _run_worker(request, Path(folder))
        except CompileError as failure:
            return unfinished.model_copy(update={"error": str(failure), "compile_seconds": time.perf_counter() - start})
        for name in answer["files"]:
            os.replace(Path(folder) / name, request.out_dir / name)
    return unfinished.model_copy(
        update={
            "path": answer["files"][0],
            "files": tuple(answer["files"]),
            "attestation": Attestation.model_validate(answer["attestation"]),
            "compile_seconds": time.perf_counter() - start,
        }
    )


def _run_worker(request: CompileRequest, folder: Path) -> dict[str, Any]:
    """What the child wrote; its files lie in `folder`.

    Raises:
        CompileError: it failed, crashed, took too long, or wrote nothing.
    """
    question, answer = folder / "request.json", folder / "answer.json"
    named = {"timing_cache": request.timing_cache, "plugins": request.plugins}
    found = {name: None if path is None else path.absolute() for name, path in named.items()}
    moved = request.model_copy(update={"components_dir": request.components_dir.absolute(), "out_dir": folder, **found})
    question.write_text(moved.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "porting.compilers.worker", str(question)]
    with (folder / "output.txt").open("w+b") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=_clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status = _wait(child, request)
        output.seek(0)
        tail = output.read().decode("utf-8", "replace").strip()[-TAIL_CHARACTERS:]
    if status != 0:
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
        raise CompileError(f"{request.where}: the compiler {how}; its last words: {tail or '(none)'}")
    if not answer.is_file():
        raise CompileError(f"{request.where}: the compiler left no answer; its last words: {tail or '(none)'}")
    given: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if given.get("error"):
        raise CompileError(f"{given['error']}{f'; last words: {tail}' if tail else ''}")
    lost = [name for name in given["files"] if not (folder / name).is_file()]
    if lost or not given["files"]:
        raise CompileError(f"{request.where}: the compiler did not write {lost or 'any file'}; try another backend")
    return given


def _wait(child: "subprocess.Popen[bytes]", request: CompileRequest) -> int:
    """The child's exit status; at the time limit, or when this process is interrupted, it ends with all it started.

    Raises:
        CompileError: the time limit was reached.
    """
    try:
        return child.wait(timeout=request.timeout_seconds)
    except subprocess.TimeoutExpired as cause:
        raise CompileError(
            f"{request.where}: took longer than {request.timeout_seconds:g} s; allow more time or drop the backend"
        ) from cause
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _clean_environment() -> dict[str, str]:
    """Only what a compiler needs, and the way to this package."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES or name.startswith("LC_")}
    here = str(Path(porting.__file__).parent.parent)
    path = [here, kept["PYTHONPATH"]] if kept.get("PYTHONPATH") else [here]
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
