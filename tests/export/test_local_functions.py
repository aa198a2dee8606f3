"""Kernels in ONNX graphs: calls of local functions that compute what the kernel's reference computes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import openvino
import pytest
import torch
from torch import Tensor, nn

from porting.errors import ExportError
from porting.export.local_functions import DOMAIN, METADATA, convert_with_functions, inline_functions
from porting.kernel_library import Kernel, load_kernel
from porting.kernel_library.operators import computing_by, make_outputs, register_operators
from porting.program import ComponentSpec
from porting.tensor_spec import TensorSpec

KERNELS = register_operators()
OPSET = 20
ROUNDOFF = 2.0**-24
Array = npt.NDArray[np.generic]


class GatedTwice(nn.Module):
    """Two uses of a kernel on the same shapes, and one on another."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(10, 28), nn.Linear(14, 6)

    def forward(self, x: Tensor) -> Tensor:
        gate: Any = torch.ops.worldport.gated_mlp
        hidden = gate(self.wide(x)) - gate(self.wide(x * 2))
        return torch.relu(gate(self.narrow(hidden)))


class Using(nn.Module):
    """One operator on its example's tensors."""

    def __init__(self, kernel: Kernel, inputs: tuple[Any, ...]) -> None:
        super().__init__()
        self.kernel, self.inputs = kernel.name, inputs

    def forward(self, *tensors: Tensor) -> Any:
        left = iter(tensors)
        inputs = [next(left) if isinstance(value, Tensor) else value for value in self.inputs]
        return getattr(torch.ops.worldport, self.kernel)(*inputs)


def _convert(module: nn.Module, tensors: tuple[Tensor, ...], outputs: tuple[Tensor, ...], opset: int) -> ir.Model:
    spec = ComponentSpec(name="part", inputs=_describe("x", tensors), outputs=_describe("y", outputs))
    program = torch.export.export(module.eval().requires_grad_(False), tensors)
    model, _ = convert_with_functions(program, spec, opset)
    return model


def _describe(name: str, tensors: tuple[Tensor, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=f"{name}_{i}", shape=tuple(t.shape), dtype=str(t.dtype).removeprefix("torch."))
        for i, t in enumerate(tensors)
    )


def _run(model: ir.Model, folder: Path, tensors: tuple[Tensor, ...]) -> list[Array]:
    path = folder / "part.onnx"
    ir.save(model, path)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    made: list[Array] = session.run(None, {f"x_{i}": tensor.numpy() for i, tensor in enumerate(tensors)})
    return made


def _gated(opset: int = OPSET) -> tuple[ir.Model, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]), torch.no_grad(), computing_by("reference"):
        torch.manual_seed(1)
        module, x = GatedTwice(), torch.randn(5, 10)
        wanted = module(x)
        return _convert(module, (x,), (wanted,), opset), x, wanted


@pytest.mark.parametrize("opset", [18, 23])
def test_an_operator_is_a_call_of_a_function_that_says_which_kernel_it_is(opset: int, tmp_path: Path) -> None:
    model, x, wanted = _gated(opset)
    calls = [node.op_type for node in model.graph if node.domain == DOMAIN]
    assert len(calls) == 3
    assert calls[0] == calls[1] != calls[2]
    assert {function.name for function in model.functions.values()} == set(calls)
    described = json.loads(model.metadata_props[METADATA])
    kernel = KERNELS["gated_mlp"]
    assert described[calls[0]] == {
        "kernel": "gated_mlp",
        "sha256": kernel.digest,
        "inputs": {"x": ["float32", [5, 28]]},
        "scalars": {},
        "outputs": [["float32", [5, 14]]],
    }
    assert described[calls[2]]["inputs"] == {"x": ["float32", [5, 6]]}
    (made,) = _run(model, tmp_path, (x,))
    assert np.abs(made - wanted.numpy()).max() < 16 * ROUNDOFF


def test_scalars_are_part_of_the_function(tmp_path: Path) -> None:
    kernel = KERNELS["rms_silu"]

    class Normed(nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            norm: Any = torch.ops.worldport.rms_silu
            return torch.add(norm(x, weight, 1e-6), norm(x, weight, 4.0))

    x, weight = torch.full((1, 3, 2, 2), 0.5), torch.ones(3)
    model = _convert(Normed(), (x, weight), (x,), OPSET)
    described = json.loads(model.metadata_props[METADATA])
    assert sorted(call["scalars"]["eps"] for call in described.values()) == [1e-6, 4.0]
    (made,) = _run(model, tmp_path, (x, weight))
    (exact,), (damped,) = _references(kernel, (x, weight, 1e-6)), _references(kernel, (x, weight, 4.0))
    assert np.abs(made - (exact + damped).numpy()).max() < 4 * ROUNDOFF


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if torch.float32 in kernel.dtypes])
def test_onnxruntime_runs_every_function_as_exactly_as_the_reference(name: str, tmp_path: Path) -> None:
    kernel = KERNELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = kernel.inputs(kernel.examples[-1], torch.float32)
    tensors = tuple(value for value in inputs if isinstance(value, Tensor))
    model = _convert(Using(kernel, inputs), tensors, make_outputs(kernel, inputs), OPSET)
    made = _run(model, tmp_path, tensors)
    exact = _references(kernel, [_widen(value) for value in inputs])
    for found, reference, gold in zip(made, _references(kernel, inputs), exact, strict=True):
        size = max(float(gold.norm()), ROUNDOFF)
        error = float((torch.from_numpy(found).double() - gold).norm()) / size
        # Four times: onnxruntime adds up long rows one by one, torch in a tree.
        assert error <= 4 * float((reference.double() - gold).norm()) / size + ROUNDOFF


def _references(kernel: Kernel, inputs: Any) -> list[Tensor]:
    made = kernel.reference(*inputs)
    return [value.double() for value in ((made,) if isinstance(made, Tensor) else made)]


def _widen(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def test_block_scaled_kernels_become_functions_too(tmp_path: Path) -> None:
    class Quantized(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            quantize: Any = torch.ops.worldport.block_quantize
            multiply: Any = torch.ops.worldport.block_scaled_matmul
            left, left_scales = quantize(a, None, "mxfp8")
            right, right_scales = quantize(b, None, "mxfp8")
            made: Tensor = multiply(left, left_scales, None, right, right_scales, None, "mxfp8", "float32")
            return made

    with torch.random.fork_rng(devices=[]), computing_by("reference"):
        torch.manual_seed(2)
        a, b = torch.randn(3, 64), torch.randn(5, 64)
        wanted = Quantized()(a, b)
    model = _convert(Quantized(), (a, b), (wanted,), 23)
    kernels = sorted(call["kernel"] for call in json.loads(model.metadata_props[METADATA]).values())
    assert kernels == ["block_quantize", "block_quantize", "block_scaled_matmul"]
    (made,) = _run(model, tmp_path, (a, b))
    assert np.abs(made - wanted.numpy()).max() <= 16 * ROUNDOFF * float(wanted.abs().max())


def test_inlined_there_is_nothing_left_but_standard_operators(tmp_path: Path) -> None:
    model, x, wanted = _gated()
    inline_functions(model)
    assert {node.domain for node in model.graph} == {""}
    assert model.functions == {}
    assert model.opset_imports == {"": OPSET}
    assert METADATA not in model.metadata_props
    (made,) = _run(model, tmp_path, (x,))
    assert np.abs(made - wanted.numpy()).max() < 16 * ROUNDOFF
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(tmp_path / "part.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (found,) = compiled(x.numpy()).values()
    assert np.abs(found - wanted.numpy()).max() < 64 * ROUNDOFF


def test_a_graph_without_kernels_stays_as_it_was() -> None:
    x = torch.ones(2, 2)
    model = _convert(nn.Sequential(nn.ReLU()), (x,), (x,), OPSET)
    assert model.functions == {}
    assert METADATA not in model.metadata_props
    assert model.opset_imports == {"": OPSET}


def test_the_same_graph_comes_out_twice(tmp_path: Path) -> None:
    for name in ("one.onnx", "other.onnx"):
        ir.save(_gated()[0], tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_a_reference_that_decides_by_values_is_refused(tmp_path: Path) -> None:
    source = KERNELS["gated_mlp"].path.read_text(encoding="utf-8")
    path = tmp_path / "choosy_mlp.py"
    path.write_text(
        source.replace("    gate, up = x.to(", "    if x.sum() > 0:\n        x = -x\n    gate, up = x.to("),
        encoding="utf-8",
    )
    kernel = load_kernel(path)
    register_operators({"choosy_mlp": kernel})
    inputs = kernel.inputs((2, 3), torch.float32)
    with pytest.raises(ExportError, match=r"choosy_mlp\.py: reference: cannot be traced"):
        _convert(Using(kernel, inputs), inputs, make_outputs(kernel, inputs), OPSET)
