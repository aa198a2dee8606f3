"""What every family's tests do with its tiny checkpoint: roll it out with exported graphs, spoil it, port it whole."""

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.bundle import Bundle
from porting.cli.app import load_commands
from porting.errors import CheckpointError, ConfigError
from porting.export import export_component
from porting.export.session import GraphSession
from porting.pipeline.drivers import eager_drivers
from porting.program import ComponentSpec
from porting.record import Outcome, PortRecord, Step, TargetRecord
from porting.rollout import Rollout
from porting.runners.base import BoundCall, Buffer, Runner
from porting.runners.eager import TorchRunner
from porting.trace.metrics import relative_error

Array = npt.NDArray[np.float32]
OPSET = 20

PROFILE = """
schema = 1
name = "onnxruntime-only"
title = "This host's CPU, by onnxruntime"

[device]
kind = "cpu"

[compile]
backends = ["onnxruntime"]
precisions = ["fp32"]
opset = 20

[parity]
error_budget_ratio = 2.0
envelope_margin_db = 3.0
envelope_margin_ssim = 0.005
psnr_cap_db = 100.0
component_samples = 8
teacher_forced_frames = 24
free_running_frames = 24

[throughput]
frames_per_second = 0.1
max_missed_share = 1.0
max_memory_slope_bytes_per_frame = 1e9
timed_frames = 12
paced_frames = 1
"""
"""The budgets of the cpu profile; frames past every tiny model's window; a frame rate that no busy machine misses."""


class GraphRunner:
    """A component's exported graph, as the contract's proof runs it."""

    backend = "onnx"

    def __init__(self, path: Path, spec: ComponentSpec) -> None:
        self.session = GraphSession(path, spec)

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`."""
        return lambda: self.session.run(inputs, outputs)

    def close(self) -> None:
        """Nothing to let go of."""


def roll_out(model: WorldModel, exported: tuple[str, ...], folder: Path, frames: int) -> tuple[list[Array], float]:
    """Free-running frames of PyTorch, and the worst relative error of a rollout whose `exported` components are graphs.

    Their state contracts are proved on the way. What is exported is small: weights lie inside the graph.
    """
    program = model.program
    plain: dict[str, Runner] = {}
    ported: dict[str, Runner] = {}
    for spec in program.components:
        plain[spec.name] = TorchRunner(model.modules[spec.name], spec, compute="fp32")
        ported[spec.name] = plain[spec.name]
        if spec.name in exported:
            record = export_component(model, spec.name, folder, OPSET)
            assert "closed loop" in record.contract.exercised
            assert ir.load(folder / f"{spec.name}.onnx").graph.inputs
            ported[spec.name] = GraphRunner(folder / f"{spec.name}.onnx", spec)
    reference, port = Rollout(program, plain), Rollout(program, ported)
    sample = model.samples[0]
    generator = np.random.default_rng(3)
    for rollout in (reference, port):
        rollout.open(sample.session_inputs)
    made: list[Array] = []
    worst = 0.0
    for index in range(frames):
        inputs = {name: array[index] for name, array in sample.frame_inputs.items()}
        for given in program.inputs:
            if given.scope == "frame" and given.kind == "noise":
                inputs[given.tensor.name] = generator.standard_normal(given.tensor.shape).astype(np.float32)
        made.append(reference.step(inputs).copy())
        worst = max(worst, relative_error(port.step(inputs), made[-1].astype(np.float64)))
    return made, worst


def check_alive(frames: list[Array]) -> None:
    """Frames in [0, 1] that are neither flat nor clamped, and keep changing to the end."""
    for frame in frames:
        assert np.isfinite(frame).all()
        assert frame.min() >= 0
        assert frame.max() <= 1
        assert frame.std() > 0.02
        assert ((frame > 0) & (frame < 1)).mean() > 0.5
    changes = [float(np.abs(after - before).mean()) for before, after in itertools.pairwise(frames)]
    assert min(changes) > 1e-3, changes


def port(checkpoint: Path, folder: Path) -> tuple[PortRecord, TargetRecord, str]:
    """The whole command on one backend; the record, its target, and what was printed."""
    return port_named([str(checkpoint)], folder)


def port_named(named: list[str], folder: Path) -> tuple[PortRecord, TargetRecord, str]:
    """The same of a checkpoint as it is named on the command line, with the options that belong to it."""
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles/onnxruntime-only.toml").write_text(PROFILE)
    command = ["port", *named, "--target", "onnxruntime-only", "--profiles", str(folder / "profiles")]
    # torch.compile, which takes longest, has tests of its own.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("porting.pipeline.port.eager_drivers", lambda *given: {"eager": eager_drivers(*given)["eager"]})
        result = CliRunner().invoke(load_commands(), [*command, "--out", str(folder / "bundle")])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    record = Bundle(folder / "bundle").read_record()
    return record, record.targets["onnxruntime-only"], result.output


def check_proved(target: TargetRecord, output: str) -> None:
    """Every check up to parity passed, over frames past the window; timing is a quiet machine's business."""
    assert target.verdict is not None, output
    steps = list(Step)
    upto = [check for check in target.verdict.checks if steps.index(check.step) <= steps.index(Step.PARITY)]
    refused = [(c.name, c.subject, c.reason) for c in upto if c.outcome is not Outcome.PASSED]
    assert not refused, refused
    assert {check.step for check in upto} >= {Step.EXPORTED, Step.COMPILED, Step.ATTESTED, Step.PARITY}
    assert target.parity is not None
    assert target.parity.free_running is not None
    assert target.parity.free_running.first_failing_frame is None
    assert len(target.parity.free_running.psnr_db) == 24
    assert all(len(level.ratio) == 24 for level in target.parity.teacher_forced)


def change_config(folder: Path, changes: Mapping[str, Any], name: str = "config.json") -> None:
    """Other values in a JSON file of a checkpoint; None takes a key out."""
    path = folder / name
    values = {**(json.loads(path.read_text()) if path.exists() else {}), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def check_config_refused(folder: Path, part: str, changes: Mapping[str, Any], words: str) -> None:
    """Changed values of a part's config, or of the settings beside all parts, are refused in these words, by place."""
    change_config(folder / part, changes, "config.json" if part else "worldport.json")
    with pytest.raises((CheckpointError, ConfigError)) as error:
        inspect_checkpoint(folder)
    assert words in str(error.value)
    assert str(folder) in str(error.value)


def check_spoilt(folder: Path, weights: Path, name: str) -> None:
    """A value that is not finite is named with its tensor when the folder's weights are read."""
    spoil(weights, name)
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)}: holds nan"):
        load_world_model(folder)


def spoil(weights: Path, name: str) -> None:
    """Make one value of one tensor NaN."""
    tensors = load_file(weights)
    with torch.no_grad():
        tensors[name].reshape(-1)[0] = float("nan")
    save_file(tensors, weights)
