"""The processes of a batch of compiles: `python -m porting.kernel_compiler.worker BATCH.json`.

The first process imports torch and triton, which takes longer than most compiles; it forks one process a kernel, which
makes the inputs, and that one forks a child for each compile. Only the children have a driver and run a compiler, so
that a crash costs one binary. Request i is answered in the folder named i: `answer.json` when it ended by itself,
`ended.json` in any case, `output.txt` whatever was said. Nothing here judges.
"""

import hashlib
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from triton.backends.amd import compiler as amd_compiler
from triton.backends.nvidia import compiler as nvidia_compiler
from triton.runtime.cache import triton_key

from porting.errors import CompileError
from porting.kernel_compiler import amd, nvidia
from porting.kernel_compiler.offline import BINARIES, TEXTS, compile_launch, make_inputs
from porting.kernel_compiler.request import Batch, Ended, KernelAnswer, KernelRequest
from porting.kernel_library import Kernel, load_kernel
from porting.record import KernelRecord

READERS = {"cuda": nvidia.read_evidence, "hip": amd.read_evidence}
LOOK_SECONDS = 2.0
"""How often the first process looks whether it is still wanted."""
FORK = multiprocessing.get_context("fork")


def answer_request(kernel: Kernel, inputs: tuple[Any, ...], request: KernelRequest, folder: Path) -> None:
    """Compile one request and write its files and `answer.json` into the folder; what Triton raises passes through."""
    start = time.perf_counter()
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    backend = request.architecture.partition(":")[0]
    try:
        code, metadata = compile_launch(kernel, inputs, request)
        evidence = READERS[backend](code)
    except CompileError as failure:
        answer = KernelAnswer(record=request.unfinished().model_copy(update={"error": str(failure)}))
        (folder / "answer.json").write_text(answer.model_dump_json(), encoding="utf-8")
        return
    contents = {
        f"{request.stem}.{BINARIES[backend]}": code.binary,
        f"{request.stem}.{TEXTS[backend]}": code.text.encode(),
        f"{request.stem}.json": (json.dumps(metadata, indent=1) + "\n").encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    found = {
        **asdict(evidence),
        "files": tuple(contents),
        "symbol": code.symbol,
        "warps": code.warps,
        "programs": math.prod(metadata["grid"]),
        "shared_bytes": code.shared_bytes,
        "tensor_memory_columns": code.tensor_memory_columns,
        "compile_seconds": time.perf_counter() - start,
    }
    answer = KernelAnswer(
        record=KernelRecord.model_validate({**request.unfinished().model_dump(), **found}),
        digests={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )
    (folder / "answer.json").write_text(answer.model_dump_json(), encoding="utf-8")


class Children:
    """Running pieces of work, each in a process of its own, at most `most` at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.running: dict[ForkProcess, tuple[Path, float]] = {}

    def start(self, work: Callable[[], None], folder: Path, seconds: float) -> None:
        """Fork a child as soon as there is room; it may take so many seconds, and says how it ended in the folder."""
        self.wait_below(self.most)
        child = FORK.Process(target=_work_in_child, args=(work, folder))
        # An interrupt waits until the child is known: one that came between would leave it running.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            child.start()
            self.running[child] = folder, time.monotonic() + seconds
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def wait_below(self, most: int) -> None:
        """Return when fewer than `most` run; those past their time limit are ended."""
        while len(self.running) >= most:
            nearest = min(deadline for _, deadline in self.running.values())
            wait([child.sentinel for child in self.running], timeout=max(nearest - time.monotonic(), 0.0))
            for child, (folder, deadline) in list(self.running.items()):
                late = child.is_alive() and time.monotonic() >= deadline
                if late:
                    _kill(child)
                if late or not child.is_alive():
                    child.join()
                    status = child.exitcode if child.exitcode is not None else -signal.SIGKILL
                    ended = Ended(status=status, timed_out=late)
                    # Renamed, since its being there says that it is whole.
                    partial = folder / "ended.json.partial"
                    partial.write_text(ended.model_dump_json(), encoding="utf-8")
                    partial.rename(folder / "ended.json")
                    del self.running[child]

    def end(self) -> None:
        """End what still runs, as when this process is interrupted."""
        for child in self.running:
            _kill(child)


def _work_in_child(work: Callable[[], None], folder: Path) -> None:
    # A session of its own, so that a time limit ends the assembler with it.
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    _speak_into(folder / "output.txt")
    work()


def _kill(child: ForkProcess) -> None:
    if child.pid is None:
        return
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        # Not yet the leader of its session.
        child.kill()


def interrupt_once(signum: int, frame: FrameType | None) -> None:
    """Interrupt this process so that it ends its children, and let no second signal interrupt that.

    The first process and its process group are told at once, and then it tells again whom it started.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _speak_into(path: Path) -> None:
    """Let whatever this process or its compiler says go into a file."""
    with path.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


def compile_kernel(requests: Sequence[tuple[int, KernelRequest]], jobs: int, folder: Path) -> None:
    """Answer all requests of one kernel; the process of that kernel."""
    signal.signal(signal.SIGTERM, interrupt_once)
    _speak_into(folder / f"kernel-{requests[0][1].kernel}.txt")
    kernel = load_kernel(requests[0][1].path)
    children = Children(jobs)
    asked, inputs = None, ()
    try:
        for index, request in requests:
            if request.source_digest != kernel.digest:
                raise CompileError(f"{kernel.path}: was changed while it was compiled; compile it again")
            if asked != (request.variant, request.sizes):
                asked, inputs = (request.variant, request.sizes), make_inputs(kernel, request.variant, request.sizes)
            own = folder / str(index)
            children.start(partial(answer_request, kernel, inputs, request, own), own, request.timeout_seconds)
        children.wait_below(1)
    finally:
        children.end()


def compile_batch(batch: Batch, folder: Path) -> None:
    """Answer every request, kernel after kernel, each in a process of its own."""
    asked_by = os.getppid()
    kernels: dict[Path, list[tuple[int, KernelRequest]]] = {}
    for index, request in enumerate(batch.requests):
        (folder / str(index)).mkdir()
        kernels.setdefault(request.path, []).append((index, request))
    for requests in kernels.values():
        process = FORK.Process(target=compile_kernel, args=(requests, batch.jobs, folder))
        process.start()
        try:
            while process.is_alive():
                process.join(LOOK_SECONDS)
                # Whoever asked was killed: nobody reads the answers.
                if os.getppid() != asked_by:
                    return
        finally:
            if process.is_alive():
                process.terminate()
                process.join()


def prepare() -> None:
    """Have everything found out that every child would find out again: digests of Triton, versions of its tools."""
    # Threads of this process do not live on in a child that was forked from it.
    torch.set_num_threads(1)
    triton_key()
    for architecture in (80, 90):
        nvidia_compiler.get_ptxas_version(architecture)
        _ = nvidia_compiler.get_ptxas(architecture).version
    amd_compiler.get_amd_codegen_revision()


def main(arguments: list[str]) -> None:
    """Answer the batch whose file is the only argument, beside it."""
    (path,) = map(Path, arguments)
    signal.signal(signal.SIGTERM, interrupt_once)
    batch = Batch.model_validate_json(path.read_text(encoding="utf-8"))
    prepare()
    compile_batch(batch, path.parent)


if __name__ == "__main__":
    main(sys.argv[1:])
