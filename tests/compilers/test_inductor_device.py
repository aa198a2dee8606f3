"""AOTInductor for a GPU: what it is asked, what is read from its package, and that it refuses without the device."""

import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from porting.compilers import CompileRequest, inductor, inductor_device
from porting.errors import BackendMissingError, CompileError, RunnerError
from porting.record import ArtifactRecord
from porting.runners import inductor as runner_module
from porting.runners import open_runner
from porting.runners.base import Buffer, aligned_zeros, numpy_dtype
from tests.runners.artifacts import SPEC, make_inputs, make_request

CODE = """
static inline void call_triton_poi_fused_add_0() { loadKernel(path, "triton_poi_fused_add_0", 0); }
static inline void call_triton_per_fused_norm_1() { loadKernel(path, "triton_per_fused_norm_1", 0); }
aoti_torch_cuda_addmm_out(buf0, cached_torch_dtype_float32); aoti_torch_cuda_mm_out(buf1, cached_torch_dtype_int64);
"""


def cubin(capability: int) -> bytes:
    """As much of an ELF file as says what it is: class, new ABI, machine, flags."""
    head = bytearray(64)
    head[:4], head[4], head[5], head[8] = b"\x7fELF", 2, 1, 8
    head[18:20] = (190).to_bytes(2, "little")
    head[48:52] = (capability << 8).to_bytes(4, "little")
    return bytes(head)


def package(path: Path, *binaries: bytes, code: str = CODE, metadata: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        place = "small.inductor/data/aotinductor/model"
        file.writestr(f"{place}/a.wrapper.cpp", code)
        file.writestr(f"{place}/a.wrapper_metadata.json", json.dumps(metadata or {}))
        for index, binary in enumerate(binaries):
            file.writestr(f"{place}/{index}.cubin", binary)
    return path


class FakeCuda:
    """As much of torch.cuda as compiles and runs use, over CPU memory: one device, nothing can be captured."""

    def __init__(self, capability: tuple[int, int] | None) -> None:
        self.capability = capability
        self.device = self.stream = lambda *_: io.BytesIO()

    def is_available(self) -> bool:
        return self.capability is not None

    def current_device(self) -> int:
        return 0

    def get_device_capability(self, _: object = None) -> tuple[int, int] | None:
        return self.capability

    def get_device_properties(self, _: object) -> SimpleNamespace:
        return SimpleNamespace(gcnArchName="gfx950:sramecc+:xnack-")

    def Stream(self, *_: Any) -> Any:  # noqa: N802
        return SimpleNamespace(wait_stream=lambda other: None)

    def current_stream(self, *_: Any) -> Any:
        return SimpleNamespace(wait_stream=lambda other: None)

    def CUDAGraph(self) -> Any:  # noqa: N802
        return SimpleNamespace()

    def graph(self, _: object) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")


def has(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None) -> None:
    monkeypatch.setattr(torch, "cuda", FakeCuda(capability))
    monkeypatch.setattr(torch.version, "hip", None)


def request(tmp_path: Path, architecture: str = "sm_100") -> CompileRequest:
    return make_request("inductor", tmp_path).model_copy(update={"architecture": architecture})


@pytest.mark.parametrize(
    ("capability", "words"),
    [
        (None, "compiles on the sm_100 device itself, and torch .* sees none; run `worldport compile BUNDLE`"),
        ((9, 0), "compiles on the sm_100 device itself, and this host has sm_90"),
    ],
)
def test_without_the_device_nothing_is_compiled(
    capability: tuple[int, int] | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, capability)
    with pytest.raises(CompileError, match=words):
        inductor.compile_artifact(request(tmp_path))
    assert not list(tmp_path.iterdir())


def test_devices_are_named_as_profiles_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, (12, 0))
    for module in (inductor_device, runner_module):
        assert module.name_device(torch.device("cpu")) == "sm_120"
    monkeypatch.setattr(torch.version, "hip", "7.0")
    for module in (inductor_device, runner_module):
        assert module.name_device(torch.device("cpu")) == "gfx950"
    assert inductor_device.ARCHITECTURE == runner_module.ARCHITECTURE


def test_the_program_goes_to_the_device_and_tf32_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, (10, 0))
    asked: dict[str, Any] = {}

    def compile_package(program: Any, package_path: str, inductor_configs: dict[str, Any]) -> None:
        asked.update(inductor_configs, tf32=torch.backends.cudnn.allow_tf32)
        package(Path(package_path), cubin(100), cubin(100))

    monkeypatch.setattr(inductor_device, "move_to_device_pass", lambda program, device: asked.update(device=device))
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compile_package)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    (artifact,), attestation = inductor.compile_artifact(request(tmp_path))
    assert artifact.name == "small.inductor.pt2"
    assert asked["device"] == torch.device("cuda", 0)
    assert asked["tf32"] is False
    assert asked["aot_inductor.metadata"]["worldport_architecture"] == "sm_100"
    assert "cpp.threads" not in asked
    assert attestation.layers_by_backend == {"inductor kernel": 2, "torch library call": 2}
    assert attestation.layers_by_precision == {"fp32": 4}
    assert attestation.detail["architecture in the binaries"] == "sm_100 2"


@pytest.mark.parametrize(
    ("binaries", "words"),
    [
        ((cubin(100), cubin(90)), "its kernels are for sm_100, sm_90, not sm_100"),
        ((), "2 kernels and no binary of one"),
    ],
)
def test_a_package_for_another_chip_is_refused(binaries: tuple[bytes, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=words):
        inductor_device.attest_package(request(tmp_path), package(tmp_path / "small.inductor.pt2", *binaries))


def test_half_precision_among_the_buffers_is_not_hidden(tmp_path: Path) -> None:
    made = package(tmp_path / "small.inductor.pt2", cubin(100), code=CODE + "cached_torch_dtype_bfloat16")
    assert set(inductor_device.attest_package(request(tmp_path), made).layers_by_precision) == {"bf16"}


def _record() -> ArtifactRecord:
    return ArtifactRecord(component="small", backend="inductor", precision="fp32", path="small.inductor.pt2")


def test_another_device_says_nothing_of_the_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "small.inductor.pt2", metadata={"worldport_architecture": "sm_100"})
    for capability, words in ((None, "sees no device; run it on a host with sm_100"), ((9, 0), "the device is sm_90")):
        has(monkeypatch, capability)
        with pytest.raises(BackendMissingError, match=words):
            open_runner("inductor", tmp_path, _record(), SPEC, 1)
    (tmp_path / "small.inductor.pt2").write_bytes(b"no package")
    with pytest.raises(RunnerError, match="cannot be loaded"):
        open_runner("inductor", tmp_path, _record(), SPEC, 1)


def test_a_bound_call_has_tensors_of_its_own_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is this CPU's memory; the package's loader is a fake that fills outputs with the sum of an input."""
    told = {"worldport_architecture": "sm_100", "worldport_component": SPEC.model_dump_json()}
    package(tmp_path / "small.inductor.pt2", metadata=told)
    has(monkeypatch, (10, 0))
    monkeypatch.setattr(torch, "device", lambda *_: "cpu")
    seen: list[torch.Tensor] = []

    def run(taken: list[torch.Tensor]) -> list[torch.Tensor]:
        seen[:] = taken
        total = sum(float(tensor.sum()) for tensor in taken if tensor.is_floating_point())
        return [torch.full(t.shape, total).to(getattr(torch, t.dtype)) for t in SPEC.outputs]

    loader = SimpleNamespace(get_metadata=lambda: told, run=run)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda *_, **__: SimpleNamespace(loader=loader))
    runner = open_runner("inductor", tmp_path, _record(), SPEC, 1)
    inputs = make_inputs()
    outputs: dict[str, Buffer] = {t.name: aligned_zeros(t.shape, numpy_dtype(t.dtype)) for t in SPEC.outputs}
    call = runner.bind(inputs, outputs)
    changed = next(name for name, array in inputs.items() if array.dtype == np.float32)
    before = {name: array.copy() for name, array in outputs.items()}
    inputs[changed] += 1
    call()
    assert any(not np.array_equal(before[name], outputs[name]) for name in outputs)
    runner.close()
    with pytest.raises(RunnerError, match="was closed"):
        call()
