"""The runner of the triton backend: exact in the interpreter, and an error where the device is not there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import triton

from porting.adapters.world_model import WorldModel
from porting.errors import BackendMissingError, RunnerError
from porting.export.feeds import draw_example
from porting.export.kernel_variant import export_kernel_variant
from porting.export.probe import call_module
from porting.kernel_library.launch_cache import LaunchList, write_launches
from porting.kernel_library.operators import register_operators
from porting.program import ComponentSpec
from porting.record import ArtifactRecord
from porting.runners import open_runner
from porting.runners import triton as runner_module
from porting.runners.base import Buffer, aligned_zeros, numpy_dtype
from porting.runners.triton import TritonRunner, loaded_from, open_artifact, open_interpreted
from tests.compilers.variants import tiny_variant_model


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return tiny_variant_model()


@pytest.fixture(scope="module")
def decoder(model: WorldModel) -> ComponentSpec:
    return model.program.component("decoder")


@pytest.fixture(scope="module")
def variant(model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_kernel_variant(model, "decoder", tmp_path_factory.mktemp("components"))


def _artifact(variant: Path, **changes: Any) -> Path:
    """A list of launches beside the variant, as the compiler writes it, with some of it changed."""
    kernels = register_operators()
    launches = LaunchList(
        component="decoder",
        architecture="cuda:120",
        precision="fp32",
        triton=triton.__version__,
        environment={"TRITON_DISABLE_LINE_INFO": "true"},
        kernels={name: kernels[name].digest for name in ("rms_silu", "causal_conv3d")},
        launches=(),
    )
    write_launches(launches.model_copy(update=changes), variant.with_name("decoder.triton.launches.json"))
    return variant


def _buffers(spec: ComponentSpec, inputs: dict[str, Buffer]) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
    outputs = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in spec.outputs}
    for array in outputs.values():
        array.fill(np.nan)
    return inputs, outputs


def test_the_interpreted_variant_computes_the_component(
    model: WorldModel, decoder: ComponentSpec, variant: Path
) -> None:
    runner = open_interpreted(variant, decoder)
    assert runner.backend == "triton interpreter"
    inputs, outputs = _buffers(decoder, draw_example(model.program, decoder, 3))
    call = runner.bind(inputs, outputs)
    for seed in (3, 4):
        for name, array in draw_example(model.program, decoder, seed).items():
            np.copyto(inputs[name], array)
        call()
        for name, wanted in call_module(model.modules["decoder"], decoder, inputs).items():
            assert np.abs(outputs[name] - wanted.numpy()).max() < 2e-6
    runner.close()
    with pytest.raises(RunnerError, match="was closed; open it again"):
        call()


def test_buffers_are_held_against_the_component(model: WorldModel, decoder: ComponentSpec, variant: Path) -> None:
    runner = open_interpreted(variant, decoder)
    inputs, outputs = _buffers(decoder, draw_example(model.program, decoder, 3))
    with pytest.raises(RunnerError, match=r"decoder: lacks \['latent'\]"):
        runner.bind({name: array for name, array in inputs.items() if name != "latent"}, outputs)


def test_what_a_kernel_refuses_is_the_runners_error(decoder: ComponentSpec, model: WorldModel) -> None:
    def misuse(*inputs: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.ops.worldport.rms_silu(inputs[0], torch.ones(1), 1e-6)
        return made

    register_operators()
    runner = TritonRunner("triton interpreter", misuse, decoder, torch.device("cpu"), None)
    inputs, outputs = _buffers(decoder, draw_example(model.program, decoder, 3))
    with pytest.raises(RunnerError, match=r"decoder: triton interpreter stopped \(weight is \(1,\)"):
        runner.bind(inputs, outputs)()


def test_without_a_device_the_backend_is_missing(decoder: ComponentSpec, variant: Path) -> None:
    if torch.cuda.is_available():
        pytest.fail("this test is about hosts without a device")
    with pytest.raises(BackendMissingError, match="sees no device; run it on a host with cuda:120"):
        open_artifact(_artifact(variant), decoder, 1, "fp32")


def test_another_device_is_missing_too(decoder: ComponentSpec, variant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(runner_module, "active_architecture", lambda: "cuda:90")
    with pytest.raises(BackendMissingError, match="compiled for cuda:120, the device is cuda:90; run it on a host"):
        open_artifact(_artifact(variant), decoder, 1, "fp32")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"component": "encoder"}, "is encoder's in fp32, not decoder's in fp32; compile the component again"),
        ({"precision": "bf16"}, "is decoder's in bf16, not decoder's in fp32"),
        ({"triton": "3.1.0"}, "compiled by triton 3.1.0, here is .*; install triton 3.1.0 or compile"),
        ({"kernels": {"rms_silu": "0" * 64, "lost": "1" * 64}}, "kernels rms_silu, lost are not those here"),
    ],
)
def test_an_artifact_of_something_else_is_refused(
    decoder: ComponentSpec, variant: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(RunnerError, match=words):
        open_artifact(_artifact(variant, **changes), decoder, 1, "fp32")


def test_missing_and_damaged_files_are_named(decoder: ComponentSpec, tmp_path: Path) -> None:
    path = tmp_path / "decoder.triton.pt2"
    with pytest.raises(RunnerError, match=r"decoder\.triton\.launches\.json: is no list of launches"):
        open_artifact(path, decoder, 1, "fp32")
    with pytest.raises(RunnerError, match="cannot be loaded as an exported program"):
        open_interpreted(path, decoder)
    with (
        pytest.raises(RunnerError, match=r"decoder\.triton\.cache\.tar: cannot be unpacked"),
        loaded_from(_artifact(path)),
    ):
        pytest.fail("nothing was there to load")


def test_it_opens_as_every_backend_does(decoder: ComponentSpec, variant: Path) -> None:
    record = ArtifactRecord(component="decoder", backend="triton", precision="fp32", path=variant.name)
    _artifact(variant)
    with pytest.raises(BackendMissingError, match="decoder on triton"):
        open_runner("triton", variant.parent, record, decoder, threads=1)


class _FakeCuda:
    """As much of torch.cuda as a bound call uses, on CPU memory; a captured graph is what was called last."""

    def __init__(self, capturable: bool) -> None:
        self.capturable, self.captured = capturable, 0
        self.device = self.stream = lambda *_: _Nothing()

    def graph(self, _: object) -> Any:
        if not self.capturable:
            raise RuntimeError("operation not permitted when stream is capturing")
        return _Nothing()

    def Stream(self, *_: Any) -> Any:  # noqa: N802
        return SimpleNamespace(wait_stream=lambda other: None)

    def current_stream(self, *_: Any) -> Any:
        return SimpleNamespace(wait_stream=lambda other: None)

    def CUDAGraph(self) -> Any:  # noqa: N802
        return SimpleNamespace(replay=self._count)

    def _count(self) -> None:
        self.captured += 1


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("capturable", [True, False])
def test_on_a_device_the_call_is_a_graph_where_it_can_be(
    decoder: ComponentSpec, model: WorldModel, variant: Path, capturable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = _FakeCuda(capturable)
    loads: list[Path] = []
    monkeypatch.setattr(torch, "cuda", fake)

    def note(path: Path) -> _Nothing:
        loads.append(path)
        return _Nothing()

    monkeypatch.setattr(runner_module, "loaded_from", note)
    calls: list[int] = []

    def graph(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        calls.append(1)
        return tuple(torch.full(t.shape, float(inputs[0].sum())) for t in decoder.outputs)

    runner = TritonRunner("triton", graph, decoder, torch.device("cpu"), variant)
    inputs, outputs = _buffers(decoder, draw_example(model.program, decoder, 3))
    call = runner.bind(inputs, outputs)
    assert loads == [variant]
    assert runner.uses_graph is capturable
    before = len(calls)
    call()
    assert (fake.captured, len(calls) - before) == ((1, 0) if capturable else (0, 1))
    assert np.isfinite(outputs["frame"]).all()
