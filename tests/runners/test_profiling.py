"""Runtimes tell operator by operator where a call's time goes; what they do not tell is said, and none stops a port."""

from typing import Any

import numpy as np
import pytest

from porting.record import Peaks
from porting.record.limit import Bandwidth
from porting.roofline.operator_times import doubt_profile, floor_of_operator, raise_peaks, settle_profile
from porting.runners import inductor_profile
from porting.runners.inductor_profile import ONEDNN, parse_onednn
from porting.runners.onnxruntime_profile import count_flops, split_calls
from porting.runners.profiling import OperatorRun, Profiled, ProfileRequest, profile_artifacts, take_medians
from tests.runners.artifacts import BACKENDS, SPEC, compiled, make_inputs

CONVOLUTION = 2 * 6 * 64 * 4 * 9
"""Operations of the small component's one product."""
PADDED = 2 * 16 * 64 * 4 * 9
"""The same where a runtime fills up a vector of output channels."""
PEAKS = Peaks(
    name="made up",
    matrix_flops_per_second=1e9,
    bandwidths=(Bandwidth(working_set_bytes=0, bytes_per_second=1e9),),
    shared_units=True,
    projected=False,
    source="this test",
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_cpu_backend_tells_where_a_call_goes(backend: str) -> None:
    folder, artifact = compiled(backend)
    inputs = {name: np.ascontiguousarray(array) for name, array in make_inputs().items()}
    (found,) = profile_artifacts([ProfileRequest(artifact, SPEC, inputs)], folder, threads=1)
    assert found.calls > 0
    assert found.call_ms is not None
    assert found.call_ms > 0
    # The three profilers count the same product, each in its own way.
    counted = sum(run.matrix_flops or 0 for run in found.operators)
    assert counted == (PADDED if backend == "onnxruntime" and counted > CONVOLUTION else CONVOLUTION)
    (product,) = [run for run in found.operators if run.matrix_flops]
    assert "conv" in product.kind.lower()
    assert [run.ms for run in found.operators] == sorted((run.ms for run in found.operators), reverse=True)


def test_what_cannot_be_profiled_says_why() -> None:
    folder, artifact = compiled("onnxruntime")
    inputs = make_inputs()
    gone = artifact.model_copy(update={"path": "nowhere.onnx"})
    other = artifact.model_copy(update={"backend": "tensorrt"})
    failed = artifact.model_copy(update={"path": None})
    requests = [ProfileRequest(made, SPEC, inputs) for made in (gone, other, failed)]
    reasons = [found.reason for found in profile_artifacts(requests, folder, threads=1)]
    assert "could not be profiled" in reasons[0]
    assert reasons[1:] == ["tensorrt has no profiler here", "it did not compile"]
    assert settle_profile("small", "tensorrt", Profiled(reason=reasons[1]), PEAKS).reason == reasons[1]


def test_an_operators_time_is_its_median_over_calls_of_all_its_runs() -> None:
    calls = [[OperatorRun("a", "MatMul", ms, 10), OperatorRun("a", "MatMul", 1.0, 10)] for ms in (1.0, 2.0, 90.0)]
    (made,) = take_medians(calls)
    assert (made.ms, made.matrix_flops) == (3.0, 20)
    assert take_medians([[], []]) == ()


def node(name: str, ts: int, kind: str = "MatMul") -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": 5, "args": {"op_name": kind}}


def test_runs_of_onnxruntime_are_told_apart_and_other_events_left_out() -> None:
    events: list[dict[str, Any]] = [
        node("a", 1),
        node("b", 2),
        node("a", 3),
        {"cat": "Session", "name": "run"},
        node("b", 4),
    ]
    assert [[run.name for run in call] for call in split_calls(events)] == [["a", "b"], ["a", "b"]]


@pytest.mark.parametrize(
    ("kind", "taken", "made", "flops"),
    [
        ("MatMul", [[1, 3, 5], [5, 7]], [1, 3, 7], 2 * 3 * 5 * 7),
        ("MatMul", [[1, 3, 5]], [1, 3, 7], 2 * 3 * 5 * 7),
        ("Gemm", [[5, 3], [5, 7]], [3, 7], 2 * 3 * 5 * 7),
        ("FusedConv", [[1, 4, 8, 8], [6, 4, 3, 3]], [1, 6, 8, 8], CONVOLUTION),
        ("Add", [[3], [3]], [3], 0),
        ("MultiHeadAttention", [[1, 3, 8]], [1, 3, 8], None),
    ],
)
def test_products_are_counted_from_shapes(
    kind: str, taken: list[list[int]], made: list[int], flops: int | None
) -> None:
    arguments = {
        "op_name": kind,
        "input_type_shape": [{"float": shape} for shape in taken],
        "output_type_shape": [{"float": made}],
    }
    assert count_flops(arguments) == flops


LINE = (
    "onednn_verbose,v1,primitive,exec,cpu,convolution,brg_conv_fwd:avx512_core,forward_inference,src:f32::blocked:acdb"
    "::f0 wei:f32:a:blocked:Acdb64a::f0,attr-scratchpad:user,alg:convolution_direct,"
    "mb1_ic16oc64_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1,0.25"
)


def test_onednns_lines_are_read() -> None:
    matches = [
        match for line in (LINE, "onednn_verbose,v1,info,cpu", LINE) if (match := ONEDNN.match(line)) is not None
    ]
    first, second = parse_onednn(matches)
    assert first.name.startswith("convolution 0 ")
    assert second.name.startswith("convolution 1 ")
    assert (first.ms, first.matrix_flops) == (0.25, 2 * 64 * 64 * 16 * 9)


@pytest.mark.parametrize(
    ("name", "shapes", "concrete", "flops"),
    [
        ("aten::mm", [[3, 5], [5, 7]], [], 210),
        ("aten::addmm", [[7], [3, 5], [5, 7]], [], 210),
        ("aten::linear", [[3, 5], [7, 5], [7]], [], 210),
        (
            "aten::_slow_conv2d_forward",
            [[1, 4, 8, 8], [6, 4, 3, 3], [6]],
            [None, None, [3, 3], None, [2, 2], [1, 1]],
            2 * 6 * 16 * 4 * 9,
        ),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [[1, 2, 3, 4]], [], None),
        ("aten::copy_", [[3], [3]], [], 0),
    ],
)
def test_torchs_products_are_counted(
    name: str, shapes: list[list[int]], concrete: list[object], flops: int | None
) -> None:
    assert inductor_profile.count_flops(name, shapes, concrete) == flops


def test_an_operators_floor_is_the_slower_of_computing_and_moving() -> None:
    assert floor_of_operator(OperatorRun("a", "MatMul", 1.0, 10**6, 10), PEAKS) == pytest.approx(1.0)
    assert floor_of_operator(OperatorRun("a", "Add", 1.0, 0, 2 * 10**6), PEAKS) == pytest.approx(2.0)
    assert floor_of_operator(OperatorRun("a", "Add", 1.0, 0), PEAKS) is None
    assert floor_of_operator(OperatorRun("a", "Attention", 1.0, None, 5), PEAKS) is None


def test_a_peak_is_raised_to_what_a_large_operator_was_seen_to_do() -> None:
    slow, fast = OperatorRun("slow", "Conv", 10.0, 5_000_000), OperatorRun("fast", "Conv", 2.5, 5_000_000)
    short = OperatorRun("short", "Conv", 1e-3, 10_000)

    def peak(*runs: OperatorRun) -> float:
        return raise_peaks(PEAKS, {"small": Profiled("a profiler", 1.0, 1, runs)}).matrix_flops_per_second

    assert peak(slow, short) == 1e9
    assert peak(slow, fast) == pytest.approx(2e9)
    raised = raise_peaks(PEAKS, {"small": Profiled("a profiler", 1.0, 1, (fast,))})
    assert "seen in fast of small" in raised.source
    assert "this test, 1 GFLOP/s" in raised.source


def test_a_profile_of_disturbed_calls_says_so() -> None:
    found = Profiled("a profiler", 3.0, 5, (OperatorRun("a", "Add", 1.0),))
    profile = settle_profile("small", "openvino", found, PEAKS)
    assert doubt_profile(profile, 2.5).reason == ""
    assert doubt_profile(profile, None).reason == ""
    assert "one took 3 ms without the profiler, and 1 ms in the rollout" in doubt_profile(profile, 1.0).reason


def test_operators_beyond_the_first_are_one_sum() -> None:
    runs = tuple(OperatorRun(f"op {index}", "Add", 1.0) for index in range(20))
    made = settle_profile("small", "onnxruntime", Profiled("a profiler", 20.0, 5, runs), PEAKS)
    assert len(made.operators) == 8
    assert made.others_ms == pytest.approx(12.0)
    assert made.operators[0].share == pytest.approx(0.05)
