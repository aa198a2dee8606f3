"""Bundles of a world of one number, whose artifacts are texts that say how many ms each call takes."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porting import runners
from porting.bundle import RECORD, Bundle, digest_file
from porting.comparison import sides
from porting.record import ArtifactRecord, FileRecord, TraceRecord
from porting.trace.data import Trace
from tests.throughput.fakes import Bench, FakeRunner, make_bench
from tests.verdict.records import TARGET, make_record, with_target

MakeBundle = Callable[..., Path]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = make_bench()
    monkeypatch.setattr(time, "perf_counter", made.clock.now)
    return made


@pytest.fixture
def make_bundle(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeBundle:
    """Writes a bundle: name, ms of its calls in turn, the recorded actions, and what else its record says."""

    def open_runner(backend: str, folder: Path, artifact: ArtifactRecord, *_: Any) -> FakeRunner:
        assert artifact.path is not None
        return bench.runner(*map(float, (folder / artifact.path).read_text().split()))

    def read_trace(folder: Path) -> Trace:
        actions = np.load(folder / "actions.npy")
        return Trace((replace(bench.trace.sessions[0], frame_inputs={"action": actions}),), ())

    monkeypatch.setattr(runners, "open_runner", open_runner)
    monkeypatch.setattr(sides, "read_trace", read_trace)

    def make(name: str, *ms: float, frames: int = 7, scale: float = 1.0, chosen: bool = True, **changes: Any) -> Path:
        folder = tmp_path / name
        (folder / "trace").mkdir(parents=True)
        (folder / "targets").mkdir()
        actions = np.asarray(bench.trace.sessions[0].frame_inputs["action"], np.float32)
        np.save(folder / "trace/actions.npy", np.float32(scale) * actions[:frames])
        (folder / "targets/world.fake").write_text(" ".join(map(str, ms)))
        artifact = ArtifactRecord(
            component="world", backend="fake", precision="fp32", path="targets/world.fake", chosen=chosen
        )
        trace = TraceRecord(
            path="trace", sessions=1, frames=7, precision="fp32", gold="fp64", seed=0, source="drawn for a test"
        )
        files = tuple(
            FileRecord(path=path, sha256=digest_file(folder / path), nbytes=(folder / path).stat().st_size)
            for path in ("targets/world.fake", "trace/actions.npy")
        )
        given = {"program": bench.program, "components": (), "trace": trace, "files": files, "stages": ()}
        record = with_target(
            make_record().model_copy(update={**given, **changes}),
            artifacts=(artifact,),
            parity=None,
            throughput=None,
            verdict=None,
        )
        assert TARGET in record.targets
        (folder / RECORD).write_text(record.model_dump_json(by_alias=True))
        assert Bundle(folder).read_record() == record
        return folder

    return make
