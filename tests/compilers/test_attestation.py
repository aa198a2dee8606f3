"""What the compilers read back from a backend's own account of an artifact."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13

from porting.compilers import inductor, onnxruntime_session, openvino
from porting.compilers.base import check_attestation
from porting.errors import CompileError
from tests.runners.artifacts import make_request


@pytest.mark.parametrize(
    ("reads", "makes", "precision"),
    [
        (["float", "int64"], ["float"], "fp32"),
        (["int64"], ["bool"], "integer"),
        (["float"], ["float16"], "fp16"),
        (["float", "bfloat16"], ["float"], "bf16"),
        (["double"], ["double"], "fp64"),
    ],
)
def test_a_node_counts_as_the_coarsest_it_touches(reads: list[str], makes: list[str], precision: str) -> None:
    node = {"input_type_shape": [{kind: [1]} for kind in reads], "output_type_shape": [{kind: [1]} for kind in makes]}
    assert onnxruntime_session.precision_of(node) == precision


@pytest.mark.parametrize(
    ("arguments", "precision"),
    [
        ("const float* in_ptr0,\n const int64_t* in_ptr1, float* out_ptr0", "fp32"),
        ("const float* in_ptr0, bfloat16* out_ptr0", "bf16"),
        ("const at::Half* in_ptr0, float* out_ptr0", "fp16"),
        ("const int64_t* in_ptr0, bool* out_ptr0", "integer"),
        ("double* out_ptr0", "fp64"),
    ],
)
def test_a_kernel_counts_as_its_coarsest_pointer(arguments: str, precision: str) -> None:
    assert inductor.kernel_precision(arguments) == precision


def test_openvino_bf16_that_nobody_asked_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hint OpenVINO takes bfloat16 wherever the CPU has it; where it has not, nothing is refused."""
    request = make_request("openvino", tmp_path)
    (artifact, _), _ = openvino.compile_artifact(request)
    hints = {name: value for name, value in openvino.OPTIONS.items() if name != "INFERENCE_PRECISION_HINT"}
    monkeypatch.setattr(openvino, "OPTIONS", hints)
    found = openvino.attest(request, artifact)
    taken = found.detail["precision hint"] == "bf16"
    assert taken == ("bf16" in found.layers_by_precision)
    with pytest.raises(CompileError, match="silently computes layers in") if taken else nullcontext():
        check_attestation(request, found)


def test_openvino_layers_in_half_precision_are_seen(tmp_path: Path) -> None:
    """A graph that holds half precision, though float32 was asked for."""
    x = opset13.parameter([1, 8], np.float16, name="x")
    weights = np.ones((8, 8), np.float16)
    model = ov.Model([opset13.matmul(opset13.exp(x), weights, False, False)], [x], "half")
    ov.save_model(model, tmp_path / "half.xml", compress_to_fp16=False)
    found = openvino.attest(make_request("openvino", tmp_path), tmp_path / "half.xml")
    # The f32 hint makes the CPU widen them: what is attested is what runs, not what the file says.
    assert found.layers_by_precision.get("fp32", 0) > 0
    assert found.detail["precision hint"] == "f32"
