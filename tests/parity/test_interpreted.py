"""Parity of the variant with kernels in the interpreter: all levels, and a wrong variant found."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from porting.adapters.world_model import WorldModel
from porting.errors import RunnerError
from porting.export.kernel_variant import export_kernel_variant
from porting.parity.interpreted import BACKEND, InterpretedRequest, measure_here, measure_interpreted, shorten
from porting.profile import ParityBudget
from porting.trace.data import Trace
from porting.trace.recorder import record_trace
from porting.trace.storage import write_trace
from tests.compilers.variants import tiny_variant_model

BUDGET = ParityBudget(
    error_budget_ratio=2.0,
    envelope_margin_db=3.0,
    psnr_cap_db=100.0,
    component_samples=2,
    teacher_forced_frames=8,
    free_running_frames=8,
)
FRAMES = 2


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return tiny_variant_model()


@pytest.fixture(scope="module")
def trace(model: WorldModel) -> Trace:
    return record_trace(model, sessions=1, frames=3, precision="fp32", seed=0, component_samples=3)


@pytest.fixture(scope="module")
def request_(model: WorldModel, trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> InterpretedRequest:
    folder = tmp_path_factory.mktemp("bundle")
    write_trace(trace, folder / "trace")
    for component in model.program.components:
        export_kernel_variant(model, component.name, folder / "components")
    return InterpretedRequest(
        program=model.program,
        components_dir=folder / "components",
        trace_dir=folder / "trace",
        out_dir=folder / "interpreted",
        bundle_folder="targets/kernels",
        budget=BUDGET,
        precision="fp32",
        frames=FRAMES,
        samples=1,
    )


def test_every_level_is_measured_in_a_process_apart(request_: InterpretedRequest, model: WorldModel) -> None:
    evidence = measure_interpreted(request_)
    assert {output.backend for output in evidence.outputs} == {BACKEND}
    assert {output.component for output in evidence.outputs} == {c.name for c in model.program.components}
    assert all(output.samples == 1 and output.finite for output in evidence.outputs)
    assert max(output.ratio for output in evidence.outputs) <= BUDGET.error_budget_ratio
    assert len(evidence.teacher_forced) > 5
    assert {len(frame.ratio) for frame in evidence.teacher_forced} == {FRAMES}
    assert max(max(frame.ratio) for frame in evidence.teacher_forced) <= BUDGET.error_budget_ratio
    assert evidence.free_running is not None
    assert len(evidence.free_running.psnr_db) == FRAMES
    assert evidence.free_running.first_failing_frame is None
    assert evidence.free_running.reference_frames == "targets/kernels"
    assert (request_.out_dir / "rollout_port.png").is_file()


def test_a_variant_of_other_weights_is_found(request_: InterpretedRequest, model: WorldModel, tmp_path: Path) -> None:
    for path in request_.components_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    program = torch.export.load(tmp_path / "decoder.triton.pt2")
    name = next(name for name in program.state_dict if name.endswith("norm_out.weight"))
    program.state_dict[name].mul_(1.001)
    torch.export.save(program, tmp_path / "decoder.triton.pt2")
    evidence = measure_here(request_.model_copy(update={"components_dir": tmp_path, "frames": 1}))
    wrong = {o.component for o in evidence.outputs if o.ratio > BUDGET.error_budget_ratio}
    assert wrong == {"decoder"}
    assert evidence.free_running is not None
    assert evidence.free_running.first_failing_frame == 0


def test_a_missing_variant_ends_with_its_name(request_: InterpretedRequest, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"triton interpreter: /.*/encoder\.triton\.pt2: cannot be loaded as an"):
        measure_interpreted(request_.model_copy(update={"components_dir": tmp_path}))


def test_a_child_that_crashes_leaves_its_last_words(request_: InterpretedRequest) -> None:
    broken = request_.model_copy(update={"program": None})
    with pytest.raises(RunnerError, match=r"triton interpreter: exited with 1; its last words: (.|\n)*ValidationError"):
        measure_interpreted(broken)


def test_a_child_that_takes_too_long_is_ended(request_: InterpretedRequest) -> None:
    with pytest.raises(RunnerError, match=r"took longer than 0\.2 s; ask for fewer frames or samples"):
        measure_interpreted(request_.model_copy(update={"timeout_seconds": 0.2}))


def test_a_trace_is_shortened_from_its_beginning(trace: Trace) -> None:
    two = replace(trace, sessions=trace.sessions * 2)
    short = shorten(two, sessions=1, frames=2, samples=1)
    assert [len(session.frames) for session in short.sessions] == [2]
    (session,) = short.sessions
    assert {array.shape[0] for array in session.frame_inputs.values()} == {2}
    assert session.envelope_psnr_db.shape[1] == session.envelope_ssim.shape[1] == 2
    assert np.array_equal(session.envelope_psnr_db, trace.sessions[0].envelope_psnr_db[:, :2])
    kinds = [(call.component, call.inputs_kind) for call in short.calls]
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == {(call.component, call.inputs_kind) for call in trace.calls}


def test_the_request_survives_its_file(request_: InterpretedRequest) -> None:
    told = json.loads(request_.model_dump_json())
    assert InterpretedRequest.model_validate(told) == request_
