"""The child process of `profiling`: `python -m porting.runners.profile_worker ASKED ANSWER`, both JSON files."""

import json
import sys
from pathlib import Path

import numpy as np

from porting.program import ComponentSpec
from porting.record import ArtifactRecord
from porting.runners.profiling import ProfileRequest, encode, profile_here


def main(asked: Path, answer: Path) -> None:
    """Profile every artifact that is asked for."""
    told = json.loads(asked.read_text())
    found = []
    for one in told["requests"]:
        with np.load(one["inputs"]) as inputs:
            request = ProfileRequest(
                ArtifactRecord.model_validate(one["artifact"]),
                ComponentSpec.model_validate(one["spec"]),
                dict(inputs),
            )
        found.append(encode(profile_here(Path(told["folder"]), request, told["threads"])))
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
