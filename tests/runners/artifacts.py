"""A component of every kind of input, exported and compiled once per test run for every backend."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from porting.compilers import CompileRequest, compile_component
from porting.program import ComponentSpec
from porting.record import ArtifactRecord
from porting.runners.base import Buffer, aligned_zeros, numpy_dtype
from porting.tensor_spec import TensorSpec

BACKENDS = ("onnxruntime", "openvino", "inductor")
SPEC = ComponentSpec(
    name="small",
    inputs=(
        TensorSpec(name="x", shape=(1, 4, 8, 8), dtype="float32"),
        TensorSpec(name="age", shape=(5,), dtype="int64"),
        TensorSpec(name="scale", shape=(1,), dtype="float32"),
    ),
    outputs=(
        TensorSpec(name="y", shape=(1, 6, 8, 8), dtype="float32"),
        TensorSpec(name="total", shape=(1, 5), dtype="float32"),
        TensorSpec(name="passed", shape=(1, 4, 8, 8), dtype="float32"),
    ),
)


class Small(nn.Module):
    """A convolution, a gather by an integer input, and an input that leaves as it came."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.convolution = nn.Conv2d(4, 6, 3, padding=1)
        self.table = nn.Buffer(torch.randn(9, generator=generator))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, x: Tensor, age: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.nn.functional.silu(self.convolution(x)) * scale
        return y, (self.table[age] * y.mean())[None], x


@functools.cache
def components_folder() -> Path:
    """small.onnx and small.pt2; the folder goes with the process."""
    kept = tempfile.TemporaryDirectory(prefix="worldport-small-")
    _KEPT.append(kept)
    folder = Path(kept.name)
    module = Small().eval().requires_grad_(False)
    example = tuple(torch.from_numpy(array) for array in make_inputs().values())
    with torch.no_grad():
        program = torch.export.export(module, example)
        torch.export.save(program, folder / "small.pt2")
        graph = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=20,
            input_names=[t.name for t in SPEC.inputs],
            output_names=[t.name for t in SPEC.outputs],
            verbose=False,
        )
    if graph is None:
        raise RuntimeError("the exporter made no graph")
    graph.save(folder / "small.onnx")
    return folder


@functools.cache
def compiled(backend: str, architecture: str | None = None) -> tuple[Path, ArtifactRecord]:
    """The folder of the artifact, and its record."""
    folder = components_folder() / "artifacts"
    if architecture is not None:
        folder /= architecture
    request = make_request(backend, folder).model_copy(update={"architecture": architecture})
    return folder, compile_component(request)


def make_request(backend: str, out_dir: Path) -> CompileRequest:
    """The small component for one backend, on one thread."""
    return CompileRequest(
        component=SPEC,
        components_dir=components_folder(),
        backend=backend,
        precision="fp32",
        opset=20,
        out_dir=out_dir,
        threads=1,
    )


def make_inputs(seed: int = 0) -> dict[str, Buffer]:
    """Every input, in order."""
    random = np.random.default_rng(seed)
    return {
        "x": random.standard_normal((1, 4, 8, 8)).astype(np.float32),
        "age": random.integers(0, 9, 5),
        "scale": np.array([0.5 + seed], np.float32),
    }


def make_outputs() -> dict[str, Buffer]:
    """Every output, full of what is not a number."""
    outputs = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in SPEC.outputs}
    for array in outputs.values():
        array.fill(np.nan)
    return outputs


def expected(inputs: dict[str, Buffer]) -> dict[str, Buffer]:
    """What the module makes of them."""
    with torch.no_grad():
        made = Small().eval()(*[torch.from_numpy(array) for array in inputs.values()])
    return {t.name: tensor.numpy() for t, tensor in zip(SPEC.outputs, made, strict=True)}


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
