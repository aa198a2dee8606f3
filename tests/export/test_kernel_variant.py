"""The exported variant with kernels: what is written, that it is proved first, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from porting.adapters.gwm.config import MINI, GwmConfig
from porting.adapters.gwm.with_kernels import KernelMlp
from porting.adapters.gwm.world_model import random_world_model, use_kernels
from porting.adapters.world_model import WorldModel
from porting.errors import ExportError, StateContractError
from porting.export.kernel_variant import export_kernel_graph, export_kernel_variant
from porting.export.local_functions import DOMAIN
from porting.kernel_library.operators import computing_by, registered_kernel


@pytest.fixture(scope="module")
def model() -> WorldModel:
    table = MINI.model_dump()
    table |= {"frame_height": 32, "frame_width": 32, "context_frames": 2}
    table["autoencoder"] |= {"widths": (8, 12)}
    table["denoiser"] |= {"width": 32, "heads": 2, "depth": 1, "mlp_width": 24, "stem_width": 8, "window": 3}
    return random_world_model(GwmConfig.model_validate(table), seed=2)


def _inputs(model: WorldModel, component: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for tensor in model.program.component(component).inputs:
        floating = tensor.dtype == "float32"
        made.append(torch.rand(tensor.shape, generator=generator) if floating else torch.ones(tensor.shape).long())
    return tuple(made)


@pytest.mark.parametrize("component", ["denoiser", "decoder"])
def test_the_file_holds_the_kernels_as_calls_and_computes_the_component(
    model: WorldModel, component: str, tmp_path: Path
) -> None:
    path = export_kernel_variant(model, component, tmp_path / "components")
    assert path == tmp_path / "components" / f"{component}.triton.pt2"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    program = torch.export.load(path)
    kernels = [registered_kernel(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert len([kernel for kernel in kernels if kernel is not None]) >= 4
    inputs = _inputs(model, component)
    with torch.no_grad(), computing_by("reference"):
        for made, wanted in zip(program.module()(*inputs), model.modules[component](*inputs), strict=True):
            assert torch.allclose(made, wanted, atol=2e-6)


def test_the_same_bytes_come_out_wherever_it_is_written(model: WorldModel, tmp_path: Path) -> None:
    one, other = (export_kernel_variant(model, "decoder", tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == other


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_lower_precision_keeps_inputs_and_outputs(model: WorldModel, precision: str, tmp_path: Path) -> None:
    path = export_kernel_variant(model, "decoder", tmp_path, precision)  # type: ignore[arg-type]
    program = torch.export.load(path)
    weights = {tensor.dtype for tensor in program.state_dict.values()}
    assert weights == {torch.float16 if precision == "fp16" else torch.bfloat16}
    inputs = _inputs(model, "decoder")
    with torch.no_grad(), computing_by("reference"):
        made, wanted = program.module()(*inputs), model.modules["decoder"](*inputs)
    for found, exact in zip(made, wanted, strict=True):
        assert found.dtype == torch.float32
        assert (found - exact).norm() / exact.norm() < 2e-2


def test_the_graph_has_a_function_for_every_kernel(model: WorldModel, tmp_path: Path) -> None:
    (path,) = export_kernel_graph(model, "denoiser", tmp_path, opset=20)
    assert path.name == "denoiser.kernels.onnx"
    graph = onnx.load(path)
    called = {node.op_type for node in graph.graph.node if node.domain == DOMAIN}
    assert called == {function.name for function in graph.functions}
    names = {name.rpartition("_")[0] for name in called}
    assert {"adaln", "gated_residual_adaln", "gated_mlp", "ring_attention", "sampler_step"} <= names


class _WrongMlp(KernelMlp):
    """One percent too large."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1.01


def _spoil(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    made = use_kernels(modules)
    for part in made["denoiser"].modules():
        if type(part) is KernelMlp:
            part.__class__ = _WrongMlp
    return made


def test_a_variant_that_computes_something_else_is_not_written(model: WorldModel, tmp_path: Path) -> None:
    wrong = replace(model, use_kernels=_spoil)
    reason = r"denoiser: output `\w+` of the exported graph is off by"
    with pytest.raises(StateContractError, match=reason):
        export_kernel_variant(wrong, "denoiser", tmp_path)
    with pytest.raises(StateContractError, match=reason):
        export_kernel_graph(wrong, "denoiser", tmp_path, opset=20)
    assert not list(tmp_path.rglob("*denoiser*"))


def test_a_family_without_a_variant_is_named(model: WorldModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="denoiser: family gwm has no variant with kernels; leave out backend triton"):
        export_kernel_variant(replace(model, use_kernels=None), "denoiser", tmp_path)
