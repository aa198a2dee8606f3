"""PyTorch as a runner: computes in the precision asked for, whatever the buffers hold."""

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from porting.errors import RunnerError
from porting.program import ComponentSpec
from porting.runners.base import Buffer
from porting.runners.eager import TorchRunner
from porting.tensor_spec import Precision, TensorSpec
from tests.runners.artifacts import SPEC, Small, expected, make_inputs, make_outputs


def test_eager_is_the_module_and_buffers_are_shared() -> None:
    inputs, outputs = make_inputs(), make_outputs()
    runner = TorchRunner(Small(), SPEC, "fp32")
    call = runner.bind(inputs, outputs)
    for seed in (0, 1):
        for name, array in make_inputs(seed).items():
            inputs[name][...] = array
        call()
        for name, wanted in expected(inputs).items():
            np.testing.assert_array_equal(outputs[name], wanted)


@pytest.mark.parametrize(("compute", "error"), [("fp64", 1e-6), ("fp32", 1e-6), ("bf16", 0.05), ("fp16", 0.01)])
def test_it_computes_in_the_precision_asked_for(compute: Precision, error: float) -> None:
    seen: list[torch.dtype] = []

    class Watched(Small):
        def forward(self, x: Tensor, age: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            seen.extend([x.dtype, age.dtype, self.convolution.weight.dtype])
            return super().forward(x, age, scale)

    inputs, outputs = make_inputs(), make_outputs()
    TorchRunner(Watched(), SPEC, compute).bind(inputs, outputs)()
    kind = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[compute]
    assert seen == [kind, torch.int64, kind]
    wanted = expected(inputs)["y"]
    assert np.abs(outputs["y"] - wanted).max() < error * np.abs(wanted).max()


def test_float64_buffers_keep_what_float64_computed() -> None:
    inputs, outputs = make_inputs(), make_outputs()
    wide = {name: array.astype(np.float64) for name, array in outputs.items()}
    TorchRunner(Small(), SPEC, "fp64").bind(inputs, wide)()
    assert not np.array_equal(wide["y"], wide["y"].astype(np.float32))


def test_bfloat16_buffers_are_shared() -> None:
    spec = ComponentSpec(
        name="double",
        inputs=(TensorSpec(name="x", shape=(4,), dtype="bfloat16"),),
        outputs=(TensorSpec(name="y", shape=(4,), dtype="bfloat16"),),
    )

    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    x, y = (np.zeros(4, ml_dtypes.bfloat16) for _ in range(2))
    call = TorchRunner(Double(), spec, "bf16").bind({"x": x}, {"y": y})
    x[...] = [1, 2, 3, 4]
    call()
    assert y.tolist() == [2, 4, 6, 8]


def test_the_module_is_a_copy() -> None:
    module = Small()
    runner = TorchRunner(module, SPEC, "fp32")
    with torch.no_grad():
        module.convolution.weight.zero_()
    inputs, outputs = make_inputs(), make_outputs()
    runner.bind(inputs, outputs)()
    np.testing.assert_array_equal(outputs["y"], expected(inputs)["y"])
    assert next(TorchRunner(module, SPEC, "fp16")._module.parameters()).dtype == torch.float16  # type: ignore[union-attr]
    assert module.convolution.weight.dtype == torch.float32


def test_torch_compile_is_right_and_says_its_name() -> None:
    inputs, outputs = make_inputs(), make_outputs()
    runner = TorchRunner(Small(), SPEC, "fp32", compile=True)
    assert runner.backend == "torch.compile"
    runner.bind(inputs, outputs)()
    for name, wanted in expected(inputs).items():
        np.testing.assert_allclose(outputs[name], wanted, rtol=1e-5, atol=1e-5)


class Wrong(nn.Module):
    """Returns what it was told to."""

    def __init__(self, made: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.made = made

    def forward(self, *_: Tensor) -> tuple[Tensor, ...]:
        return self.made


GOOD = tuple(torch.zeros(t.shape) for t in SPEC.outputs)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (GOOD[:2], "returned 2 tensors; its outputs are 3"),
        ((*GOOD[:2], torch.zeros(1, 4, 8, 1)), r"small\.passed: returned \(1, 4, 8, 1\)"),
        ((GOOD[0].long(), *GOOD[1:]), r"small\.y: returned .*int64"),
    ],
)
def test_a_module_that_returns_something_else_is_refused(made: tuple[Tensor, ...], words: str) -> None:
    call = TorchRunner(Wrong(made), SPEC, "fp32").bind(make_inputs(), make_outputs())
    with pytest.raises(RunnerError, match=words):
        call()


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("x", np.zeros((1, 4, 8, 8), np.int64), "small.x"),
        ("age", np.zeros(5, np.float32), "small.age"),
        ("scale", np.zeros(2, np.float32), "small.scale"),
        ("noise", np.zeros(2, np.float32), "noise"),
    ],
)
def test_buffers_that_do_not_fit_are_refused(name: str, array: Buffer, words: str) -> None:
    with pytest.raises(RunnerError, match=words):
        TorchRunner(Small(), SPEC, "fp32").bind({**make_inputs(), name: array}, make_outputs())


def test_a_closed_runner_says_so() -> None:
    runner = TorchRunner(Small(), SPEC, "fp32")
    call = runner.bind(make_inputs(), make_outputs())
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        call()
