"""The triton backend: every kernel of a component compiled for a device that is not here, and found again there."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from torch import nn

from porting.adapters.world_model import WorldModel
from porting.compilers import compile_component
from porting.compilers.kernel_calls import make_stand_ins, name_architecture
from porting.compilers.triton import compile_artifact
from porting.errors import CompileError
from porting.export.kernel_variant import export_kernel_variant
from porting.kernel_compiler.elf import ElfFile
from porting.kernel_library.launch_cache import LaunchList, read_launches
from porting.program import ComponentSpec
from porting.record import ArtifactRecord
from tests.compilers.variants import WARMED, compile_in, copy_checkout, make_request, run_python, tiny_variant_model

CUDA, AMD = "sm_120", "gfx942"
KERNELS = {"adaln", "qk_norm_rope", "ring_attention", "gated_residual_adaln", "gated_mlp", "sampler_step"}


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return tiny_variant_model()


@pytest.fixture(scope="module")
def components(model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "components"
    for name in ("denoiser", "decoder"):
        export_kernel_variant(model, name, folder)
    return folder


@pytest.fixture(scope="module")
def artifact(model: WorldModel, components: Path) -> ArtifactRecord:
    """The denoiser for an NVIDIA chip."""
    return compile_component(make_request(_spec(model, "denoiser"), components, components.parent / CUDA, CUDA))


def _spec(model: WorldModel, name: str) -> ComponentSpec:
    return model.program.component(name)


def _launches(components: Path, target: str, component: str) -> LaunchList:
    return read_launches(components.parent / target / f"{component}.triton.launches.json")


def test_every_kernel_of_the_graph_is_compiled_for_the_architecture(
    artifact: ArtifactRecord, components: Path, model: WorldModel
) -> None:
    assert artifact.error is None
    assert artifact.files == ("denoiser.triton.pt2", "denoiser.triton.cache.tar", "denoiser.triton.launches.json")
    launches = _launches(components, CUDA, "denoiser")
    assert {launch.kernel for launch in launches.launches} == KERNELS == launches.kernels.keys()
    assert {launch.architecture_found for launch in launches.launches} == {"cuda:120"}
    with tarfile.open(components.parent / CUDA / "denoiser.triton.cache.tar") as tar:
        binaries = {
            member.name.split("/")[0]: tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar
            if member.name.endswith(".cubin")
        }
    assert binaries.keys() == {launch.key for launch in launches.launches}
    for launch in launches.launches:
        binary = binaries[launch.key]
        assert hashlib.sha256(binary).hexdigest() == launch.binary_sha256
        assert ElfFile(binary).machine == 190
    assert launches.environment.keys() >= {"TRITON_DISABLE_LINE_INFO", "TRITON_DEFAULT_FP_FUSION"}


def test_the_attestation_counts_kernels_and_library_calls(artifact: ArtifactRecord) -> None:
    assert artifact.attestation is not None
    found = artifact.attestation
    assert found.layers_by_backend["triton kernel"] == 7
    assert found.layers_by_backend["torch library call"] > 10
    assert set(found.layers_by_precision) <= {"fp32", "integer"}
    assert sum(found.layers_by_precision.values()) == sum(found.layers_by_backend.values())
    assert found.detail["architecture in the binaries"] == "cuda:120"
    assert found.detail["spilled bytes"].isdigit()
    assert sum(launch.launches for launch in found.launches) == found.layers_by_backend["triton kernel"]
    assert {launch.kernel for launch in found.launches} == KERNELS
    for launch in found.launches:
        assert launch.spill_store_bytes == launch.spill_load_bytes == launch.scratch_bytes == 0
        assert (launch.registers or 0) > 0
        assert (launch.instructions or 0) > 0
        assert not launch.tensor_cores_claimed  # of float32, whose exact product has none


def test_the_first_frame_on_the_device_compiles_nothing(
    artifact: ArtifactRecord, components: Path, project_root: Path, tmp_path: Path
) -> None:
    path = components.parent / CUDA / str(artifact.path)
    done = run_python(project_root, ["-c", WARMED, str(path)])
    assert done.returncode == 0, done.stderr
    launches = _launches(components, CUDA, "denoiser").launches
    assert json.loads(done.stdout) == {
        "launches": sum(launch.launches for launch in launches),
        "loaded": [True] * len(launches),
    }
    # A binary that is not in the archive is compiled anew, and that is an error.
    for file in path.parent.glob("denoiser.triton.*"):
        shutil.copy(file, tmp_path)
    lost = launches[1]
    with (
        tarfile.open(path.parent / "denoiser.triton.cache.tar") as source,
        tarfile.open(tmp_path / "denoiser.triton.cache.tar", "w") as target,
    ):
        for member in source:
            if not member.name.startswith(lost.key):
                target.addfile(member, source.extractfile(member))
    done = run_python(project_root, ["-c", WARMED, str(tmp_path / path.name)])
    assert done.returncode == 1
    assert "denoiser.triton.pt2: triton 3.9.0 compiled 1 anew (kernel)" in done.stderr


def test_amd_gets_code_objects_in_the_precision_asked_for(model: WorldModel, tmp_path: Path) -> None:
    export_kernel_variant(model, "decoder", tmp_path / "components", "bf16")
    record = compile_component(
        make_request(_spec(model, "decoder"), tmp_path / "components", tmp_path / AMD, AMD, "bf16")
    )
    assert record.error is None
    assert record.attestation is not None
    assert record.attestation.layers_by_precision["bf16"] >= 7
    launches = read_launches(tmp_path / AMD / "decoder.triton.launches.json")
    assert launches.architecture == "hip:gfx942"
    assert {(launch.kernel, launch.variant) for launch in launches.launches} == {
        ("rms_silu", "bfloat16"),
        ("causal_conv3d", "bfloat16"),
    }


def test_another_checkout_makes_the_same_bytes(
    artifact: ArtifactRecord, model: WorldModel, components: Path, project_root: Path, tmp_path: Path
) -> None:
    checkout = copy_checkout(project_root, tmp_path / "elsewhere" / "checkout")
    answer = compile_in(checkout, make_request(_spec(model, "denoiser"), components, tmp_path / "out", CUDA))
    assert answer.get("error") is None, answer
    for name in artifact.files:
        content = (tmp_path / "out" / name).read_bytes()
        assert content == (components.parent / CUDA / name).read_bytes()
        assert str(checkout).encode() not in content


def test_a_kernel_that_refuses_the_architecture_says_why(
    model: WorldModel, components: Path, project_root: Path, tmp_path: Path
) -> None:
    copy_checkout(project_root, tmp_path)
    with (tmp_path / "kernels" / "causal_conv3d.py").open("a", encoding="utf-8") as file:
        file.write('UNSUPPORTED = {"cuda:120 float32": "no exact products there"}\n')
    answer = compile_in(tmp_path, make_request(_spec(model, "decoder"), components, tmp_path / "out", CUDA))
    assert answer["error"] == (
        "decoder for triton fp32: causal_conv3d in float32: no exact products there; use another backend"
    )


def test_a_graph_without_kernels_is_for_another_backend(model: WorldModel, tmp_path: Path) -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    torch.export.save(torch.export.export(Plain(), (torch.ones(2),)), tmp_path / "decoder.triton.pt2")
    request = make_request(_spec(model, "decoder"), tmp_path, tmp_path, CUDA)
    with pytest.raises(CompileError, match=r"launches no kernel; use another backend"):
        compile_artifact(request)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": None}, "no architecture was named"),
        ({"architecture": "avx512"}, "triton knows no architecture 'avx512'; name it sm_100 or gfx950"),
        ({"precision": "fp64"}, "not supported"),
        ({}, "decoder.triton.pt2 is not there; export the component first"),
    ],
)
def test_what_cannot_be_compiled_is_named(
    model: WorldModel, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    request = make_request(_spec(model, "decoder"), tmp_path, tmp_path, CUDA).model_copy(update=changes)
    with pytest.raises(CompileError, match=words):
        compile_artifact(request)


def test_a_damaged_export_is_named(model: WorldModel, tmp_path: Path) -> None:
    (tmp_path / "decoder.triton.pt2").write_bytes(b"no zip")
    with pytest.raises(CompileError, match=r"decoder\.triton\.pt2 cannot be loaded"):
        compile_artifact(make_request(_spec(model, "decoder"), tmp_path, tmp_path, CUDA))


@pytest.mark.parametrize(
    ("asked", "named"), [("sm_90", "cuda:90"), ("sm_90a", "cuda:90"), ("sm_107", "cuda:107"), ("gfx950", "hip:gfx950")]
)
def test_architectures_are_named_as_kernels_name_them(
    model: WorldModel, tmp_path: Path, asked: str, named: str
) -> None:
    assert name_architecture(make_request(_spec(model, "decoder"), tmp_path, tmp_path, asked)) == named


def test_stand_ins_lie_in_memory_as_the_graph_says() -> None:
    class Slicing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x[1:, 2::2].t())

    program = torch.export.export(Slicing(), (torch.zeros(5, 7),))
    (node,) = (node for node in program.graph.nodes if node.target is torch.ops.aten.relu.default)
    (stand_in,) = make_stand_ins(node)
    wanted = torch.zeros(5, 7)[1:, 2::2].t()
    assert (stand_in.shape, stand_in.stride(), stand_in.storage_offset()) == (
        wanted.shape,
        wanted.stride(),
        wanted.storage_offset(),
    )
