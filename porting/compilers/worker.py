"""The child process of a compile: `python -m porting.compilers.worker REQUEST.json`.

Reads the request, writes `answer.json` beside it: the artifact's files and attestation, or the error. Anything that is
not a user's error leaves a traceback and no answer.
"""

import importlib
import json
import sys
from pathlib import Path

from porting.compilers.base import CompileRequest, check_attestation, require_backend
from porting.errors import CompileError
from porting.record import Attestation


def compile_request(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Compile, and hold the attestation against the request.

    Raises:
        CompileError: it cannot be compiled, or the artifact is not what was asked for.
    """
    require_backend(request)
    compiler = importlib.import_module(f"porting.compilers.{request.backend}")
    files, attestation = compiler.compile_artifact(request)
    check_attestation(request, attestation)
    return files, attestation


def main(arguments: list[str]) -> None:
    """Answer the request whose file is the only argument."""
    (path,) = map(Path, arguments)
    request = CompileRequest.model_validate_json(path.read_text(encoding="utf-8"))
    try:
        files, attestation = compile_request(request)
        answer = {"files": [file.name for file in files], "attestation": attestation.model_dump(mode="json")}
    except CompileError as failure:
        answer = {"error": str(failure)}
    path.with_name("answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
