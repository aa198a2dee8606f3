"""The processes of a batch of emulations: `python -m porting.emulation.worker BATCH.json`.

The first process imports torch, triton and the emulators, and forks a child for each request, so that a compile that
LLVM ends, or a kernel that never ends, costs one answer. Request i is answered in the folder named i: `answer.json`
when it ended by itself, `ended.json` in any case, `output.txt` whatever was said.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

from porting.emulation.execute import emulate
from porting.emulation.request import ANSWER, EmulationBatch, EmulationRequest
from porting.errors import CompileError, EmulationError, KernelError
from porting.kernel_compiler.worker import Children, interrupt_once, prepare
from porting.kernel_library import load_kernel


def answer_request(request: EmulationRequest, folder: Path) -> None:
    """Emulate one request and write `answer.json` into the folder; what nobody foresaw passes through."""
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    kernel = load_kernel(request.path)
    if kernel.digest != request.source_digest:
        raise KernelError(f"{request.path}: was changed meanwhile; emulate it again")
    try:
        answer = emulate(kernel, request)
    except (CompileError, EmulationError) as failure:
        answer = request.unfinished().model_copy(update={"error": str(failure)})
    (folder / ANSWER).write_text(answer.model_dump_json(), encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Answer the batch whose file is the only argument, beside it."""
    (path,) = map(Path, arguments)
    signal.signal(signal.SIGTERM, interrupt_once)
    batch = EmulationBatch.model_validate_json(path.read_text(encoding="utf-8"))
    prepare()
    asked_by = os.getppid()
    children = Children(batch.jobs)
    try:
        for index, request in enumerate(batch.requests):
            # Whoever asked was killed: nobody reads the answers.
            if os.getppid() != asked_by:
                return
            own = path.parent / str(index)
            own.mkdir()
            children.start(partial(answer_request, request, own), own, request.timeout_seconds)
        children.wait_below(1)
    finally:
        children.end()


if __name__ == "__main__":
    main(sys.argv[1:])
