"""Parity of the variant with kernels without a device: its kernels run in Triton's interpreter, in a process apart.

`python -m porting.parity.interpreted REQUEST.json` measures all three levels on a short rollout and writes
`answer.json` beside the request. What it proves is the kernels' arithmetic inside the component; what a compiler made
of them is another evidence.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

import porting
from porting.errors import PortingError, RunnerError
from porting.parity.evidence import measure_parity
from porting.profile import ParityBudget
from porting.program import Program
from porting.record import ParityEvidence
from porting.tensor_spec import Model, Precision
from porting.trace.data import Trace, TracedSession
from porting.trace.storage import read_trace

BACKEND = "triton interpreter"
"""What the evidence calls it: it is not the device's."""
ENVIRONMENT = {"TRITON_INTERPRET": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
"""Triton must know before it is imported; at a kernel's sizes more threads cost more than they bring."""
TAIL_CHARACTERS = 2000
Count = Annotated[int, Field(gt=0)]


class InterpretedRequest(Model):
    """What to measure, and how little of the trace: the interpreter takes about a second a call of a small denoiser."""

    program: Program
    components_dir: Path
    """Holds `<component>.triton.pt2` of every component."""
    trace_dir: Path
    out_dir: Path
    """Gets the sheets of frames."""
    bundle_folder: str
    """`out_dir` as the record names it."""
    budget: ParityBudget
    precision: Precision
    sessions: Count = 1
    frames: Count = 3
    samples: Count = 2
    """Recorded calls of each component; hard inputs are all taken."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 900.0


def measure_interpreted(request: InterpretedRequest) -> ParityEvidence:
    """The evidence, measured in a child process.

    Raises:
        RunnerError: a variant cannot be opened, the trace is not the program's, or the child crashed or took too long;
            the message has its words.
    """
    with tempfile.TemporaryDirectory(prefix="worldport-interpreted-") as folder:
        question, output = Path(folder) / "request.json", Path(folder) / "output.txt"
        paths = {name: getattr(request, name).absolute() for name in ("components_dir", "trace_dir", "out_dir")}
        question.write_text(request.model_copy(update=paths).model_dump_json(), encoding="utf-8")
        here = str(Path(porting.__file__).parent.parent)
        path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        with output.open("wb") as stream:
            child = subprocess.Popen(
                [sys.executable, "-m", "porting.parity.interpreted", str(question)],
                cwd=folder,
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            status = _wait(child, request.timeout_seconds)
        said = output.read_text(encoding="utf-8", errors="replace").strip()[-TAIL_CHARACTERS:]
        if status != 0:
            raise RunnerError(f"{BACKEND}: exited with {status}; its last words: {said or '(none)'}")
        try:
            answer = _Answer.model_validate_json((Path(folder) / "answer.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError) as cause:
            raise RunnerError(f"{BACKEND}: left no answer; its last words: {said or '(none)'}") from cause
    if answer.evidence is None:
        raise RunnerError(f"{BACKEND}: {answer.error}")
    return answer.evidence


class _Answer(Model):
    """What the child found, or the user's error that stopped it."""

    evidence: ParityEvidence | None = None
    error: str = "measured nothing"


def _wait(child: "subprocess.Popen[bytes]", seconds: float) -> int:
    try:
        return child.wait(timeout=seconds)
    except subprocess.TimeoutExpired as cause:
        raise RunnerError(f"{BACKEND}: took longer than {seconds:g} s; ask for fewer frames or samples") from cause
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def measure_here(request: InterpretedRequest) -> ParityEvidence:
    """The evidence, measured in this process, which interprets.

    Raises:
        RunnerError: this process compiles kernels, or a component has no exported variant.
        ComparisonError: the trace is of another program or precision.
    """
    from porting.runners.triton import open_interpreted

    trace = shorten(read_trace(request.trace_dir), request.sessions, request.frames, request.samples)
    runners = {
        spec.name: open_interpreted(request.components_dir / f"{spec.name}.triton.pt2", spec)
        for spec in request.program.components
    }
    return measure_parity(
        request.program,
        runners,
        trace,
        request.budget,
        request.precision,
        request.out_dir,
        dict.fromkeys(runners, BACKEND),
        request.bundle_folder,
    )


def shorten(trace: Trace, sessions: int, frames: int, samples: int) -> Trace:
    """The first sessions, their first frames, and the first recorded calls of each component and kind of inputs."""
    seen: Counter[tuple[str, str]] = Counter()
    calls = []
    for call in trace.calls:
        kind = (call.component, call.inputs_kind)
        if seen[kind] < samples:
            calls.append(call)
        seen[kind] += 1
    return replace(trace, sessions=tuple(_cut(s, frames) for s in trace.sessions[:sessions]), calls=tuple(calls))


def _cut(session: TracedSession, frames: int) -> TracedSession:
    return replace(
        session,
        frame_inputs={name: array[:frames] for name, array in session.frame_inputs.items()},
        frames=session.frames[:frames],
        envelope_psnr_db=session.envelope_psnr_db[:, :frames],
        envelope_ssim=session.envelope_ssim[:, :frames],
    )


def main(arguments: list[str]) -> None:
    """Answer the request whose file is the only argument; what is no user's error leaves a traceback and no answer."""
    (path,) = map(Path, arguments)
    request = InterpretedRequest.model_validate_json(path.read_text(encoding="utf-8"))
    try:
        answer = _Answer(evidence=measure_here(request))
    except PortingError as failure:
        answer = _Answer(error=str(failure))
    path.with_name("answer.json").write_text(answer.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
