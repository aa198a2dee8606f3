"""A killed port goes on where it stopped: finished stages are not redone, half-written ones are not trusted."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from porting.bundle import PARTIAL, Bundle
from porting.errors import BundleError
from porting.pipeline.port import port
from porting.pipeline.progress import Silent
from tests.pipeline.fakes import Fakes, make_request

STAGES = (
    "export encoder",
    "export decoder",
    "trace",
    "compile encoder openvino",
    "compile encoder onnxruntime",
    "compile decoder openvino",
    "compile decoder onnxruntime",
    "parity",
    "throughput",
)


class Ports:
    """A process that runs one port at a time, each in a process that can be killed."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.pipeline.fakes"]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root, bufsize=1
        )

    def run(self, bundle: Path, log: Path, stop_at: str = "") -> str:
        """What the port says: "stopped PID" in the middle of that stage, or its outcome."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{bundle}\t{log}\t{stop_at}\n")
        return self.process.stdout.readline().strip()

    def kill_in(self, stage: str, bundle: Path, log: Path) -> None:
        word, number = self.run(bundle, log, stage).split()
        assert word == "stopped"
        os.kill(int(number), signal.SIGKILL)


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    made = Ports()
    yield made
    made.process.communicate()


@pytest.mark.parametrize("stage", STAGES)
def test_a_port_that_is_killed_in_a_stage_goes_on_there(tmp_path: Path, ports: Ports, stage: str) -> None:
    bundle, log = tmp_path / "bundle", tmp_path / "log"
    ports.kill_in(stage, bundle, log)
    ran = log.read_text().splitlines()
    record = Bundle(bundle).read_record()
    # Compiles run beside other stages, so which of them had ended is known from the record alone.
    finished = {made.name.replace(" cpu", "") for made in record.stages}
    assert stage in ran
    assert stage not in finished
    assert finished <= set(ran)
    assert any((bundle / PARTIAL).rglob("half")) == (stage != "trace")
    assert all(target.verdict is None for target in record.targets.values())
    log.unlink()
    assert ports.run(bundle, log) == "passed"
    assert sorted(log.read_text().splitlines()) == sorted(set(STAGES) - finished)
    opened = Bundle(bundle)
    opened.verify_files(opened.read_record())
    assert not list(bundle.rglob("half"))
    assert not any((bundle / PARTIAL).iterdir())
    log.unlink()
    assert ports.run(bundle, log) == "passed"
    assert not log.exists()


@pytest.mark.parametrize(
    ("damaged", "redone"),
    [
        ("trace/trace.json", {"trace", "parity", "throughput"}),
        (
            "components/decoder.onnx",
            {
                "export decoder",
                "compile decoder openvino",
                "compile decoder onnxruntime",
                "parity",
                "throughput",
            },
        ),
        ("targets/cpu/frames.csv", {"throughput"}),
        ("targets/cpu/rollout_port.png", {"parity", "throughput"}),
        ("targets/cpu/encoder.openvino.bin", {"compile encoder openvino", "parity", "throughput"}),
    ],
)
def test_a_damaged_file_redoes_its_stage_and_what_was_built_on_it(
    tmp_path: Path, fakes: Fakes, damaged: str, redone: set[str]
) -> None:
    request = make_request(tmp_path / "bundle")
    port(request, Silent())
    assert set(fakes.log.read_text().splitlines()) == set(STAGES)
    fakes.log.write_text("")
    (request.out / damaged).write_text("damaged")
    record = port(request, Silent())
    assert set(fakes.log.read_text().splitlines()) == redone
    Bundle(request.out).verify_files(record)


@pytest.mark.parametrize(
    ("changes", "redone"),
    [
        ({}, set()),
        ({"command": "worldport port fake --json"}, set()),
        ({"jobs": 2}, set()),
        ({"threads": 2}, set(STAGES) - {"export encoder", "export decoder", "trace"}),
        ({"precision": "bf16"}, set(STAGES) - {"export encoder", "export decoder"}),
    ],
)
def test_only_what_depends_on_a_changed_option_is_redone(
    tmp_path: Path, fakes: Fakes, changes: dict[str, object], redone: set[str]
) -> None:
    port(make_request(tmp_path / "bundle"), Silent())
    fakes.log.write_text("")
    port(make_request(tmp_path / "bundle", **changes), Silent())
    assert set(fakes.log.read_text().splitlines()) == redone


def test_another_checkpoint_redoes_everything_and_keeps_nothing(tmp_path: Path, fakes: Fakes) -> None:
    request = make_request(tmp_path / "bundle")
    port(request, Silent())
    fakes.log.write_text("")
    fakes.digest = "b" * 64
    record = port(request, Silent())
    assert set(fakes.log.read_text().splitlines()) == set(STAGES)
    assert record.checkpoint.digest == "b" * 64
    assert (request.out / "components/decoder.onnx").read_text() == "b" * 64


def test_an_unreadable_record_is_not_overwritten(tmp_path: Path, fakes: Fakes) -> None:
    request = make_request(tmp_path / "bundle")
    port(request, Silent())
    (request.out / "port.json").write_text("{")
    with pytest.raises(BundleError, match="is no record"):
        port(request, Silent())
    assert (request.out / "port.json").read_text() == "{"
