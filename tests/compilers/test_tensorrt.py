"""TensorRT's compiler over a fake of the bindings, and the fake over what was published and what is installed."""

import ast
import inspect
import json
from pathlib import Path
from types import ModuleType

import pytest
import tensorrt_rtx

from porting.compilers import CompileRequest
from porting.compilers.base import BatchRange, check_attestation
from porting.errors import CompileError
from tests.compilers.attention import ATTENTION_SPEC, attention_folder
from tests.runners import fake_tensorrt
from tests.runners.artifacts import make_request
from tests.runners.fake_cuda import CudaError, FakeCuda
from tests.runners.fake_tensorrt import BuilderFlag, HardwareCompatibilityLevel, World, install
from tests.runners.recorded_api import parameters_of, recorded_tensorrt

FAKED = (
    "Builder", "EngineInspector", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "INetworkDefinition",
    "IOptimizationProfile", "ITimingCache", "OnnxParser", "Runtime",
)  # fmt: skip
ENUMS = (
    "BuilderFlag", "DataType", "HardwareCompatibilityLevel", "LayerInformationFormat", "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity", "TensorIOMode",
)  # fmt: skip
FULL_ONLY: set[str] = set()
"""Members that TensorRT-RTX lacks; none of them is used by what the two share."""


def public(kind: type) -> dict[str, object]:
    return {
        name: member
        for base in kind.__mro__[:-1]
        for name, member in vars(base).items()
        if not name.startswith("_") and name not in {"world"}
    }


@pytest.mark.parametrize("name", FAKED)
def test_the_fake_has_nothing_that_the_published_bindings_lack(name: str) -> None:
    recorded, kind = recorded_tensorrt()[name], getattr(fake_tensorrt, name)
    for member, what in public(kind).items():
        assert member in recorded, f"{name}.{member}"
        if inspect.isfunction(what):
            taken = parameters_of(what)
            assert any(overload.takes(taken) for overload in recorded[member]), f"{name}.{member}{taken}"
        else:
            assert recorded[member] == [], f"{name}.{member} is a method"


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("Builder", {"max_threads"}),
        ("IBuilderConfig", {"profiling_verbosity", "hardware_compatibility_level"}),
        ("Runtime", {"engine_host_code_allowed"}),
        ("IExecutionContext", {"nvtx_verbosity"}),
    ],
)
def test_what_is_set_on_an_object_exists(name: str, attributes: set[str]) -> None:
    assert attributes <= recorded_tensorrt()[name].keys()
    assert attributes <= set(dir(getattr(tensorrt_rtx, name)))


@pytest.mark.parametrize("name", ENUMS)
def test_the_fakes_enums_are_the_published_ones(name: str) -> None:
    members = getattr(fake_tensorrt, name).__members__
    assert members.keys() <= recorded_tensorrt()[name].keys()
    assert {n: int(m) for n, m in members.items()} == {
        n: int(getattr(tensorrt_rtx, name).__members__[n]) for n in members
    }


@pytest.mark.parametrize("name", FAKED)
def test_what_both_bindings_share_is_in_the_installed_one(name: str) -> None:
    kind = getattr(fake_tensorrt, name)
    assert set(public(kind)) - FULL_ONLY <= set(dir(getattr(tensorrt_rtx, name)))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, world: World) -> ModuleType:
    return install(monkeypatch, world)[0]


def request(out_dir: Path, **changes: object) -> CompileRequest:
    return make_request("tensorrt", out_dir).model_copy(update={"architecture": "sm_120", **changes})


def attention_request(out_dir: Path, precision: str = "fp16") -> CompileRequest:
    return request(out_dir, component=ATTENTION_SPEC, components_dir=attention_folder(), precision=precision, threads=2)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_layers_are_attested_in_the_precision_asked_for(
    compiler: ModuleType, world: World, tmp_path: Path, precision: str
) -> None:
    asked = request(tmp_path, precision=precision)
    files, attestation = compiler.compile_artifact(asked)
    check_attestation(asked, attestation)
    assert [file.name for file in files] == ["small.tensorrt.plan", "small.tensorrt.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.tensorrt.json", "small.tensorrt.plan"]
    assert set(attestation.layers_by_precision) <= {precision, "integer"}
    assert attestation.layers_by_precision[precision] > 0
    (build,) = world.builds
    assert build["network flags"] == 1 << fake_tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert BuilderFlag.TF32 not in build["flags"]
    facts = json.loads(files[1].read_text())
    assert facts["architectures"] == ["sm_120"]
    assert facts["version"] == attestation.detail["version"] == "11.4.0.106"
    assert (facts["host_code"], facts["newer_architectures"]) == (False, False)


def test_a_kernel_that_rounds_to_tf32_is_refused(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    world.tactic = "sm80_xmma_gemm_f32f32_tf32f32_f32"
    asked = request(tmp_path)
    _, attestation = compiler.compile_artifact(asked)
    with pytest.raises(CompileError, match="no layer computes in it"):
        check_attestation(asked, attestation)


def test_compatibility_is_asked_for_and_written_down(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    files, attestation = compiler.compile_artifact(
        request(tmp_path, hardware="newer architectures", newer_versions=True)
    )
    (build,) = world.builds
    assert build["hardware"] == HardwareCompatibilityLevel.AMPERE_PLUS
    assert BuilderFlag.VERSION_COMPATIBLE in build["flags"]
    facts = json.loads(files[1].read_text())
    assert (facts["host_code"], facts["newer_architectures"]) == (True, True)
    assert attestation.detail["hardware"] == "newer architectures"
    compiler.compile_artifact(request(tmp_path, hardware="same architecture"))
    assert world.builds[1]["hardware"] == HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY


def test_kernel_times_are_kept_for_the_next_build(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    cache = tmp_path / "caches" / "times"
    for _ in range(2):
        compiler.compile_artifact(request(tmp_path, timing_cache=cache))
    assert [build["timing cache"] for build in world.builds] == [b"", b"+times"]
    assert cache.read_bytes() == b"+times+times"
    world.cache_matches = False  # another device or version
    compiler.compile_artifact(request(tmp_path, timing_cache=cache))
    assert world.builds[2]["timing cache"] == b""
    assert [path.name for path in cache.parent.iterdir()] == ["times"]


def test_a_range_of_batches_becomes_a_profile(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    asked = attention_request(tmp_path).model_copy(update={"batch": BatchRange(least=1, usual=4, most=8)})
    compiler.compile_artifact(asked)
    (profile,) = world.builds[0]["profiles"]
    assert profile == {name: ((1, 6, 32), (4, 6, 32), (8, 6, 32)) for name in ("x", "context")}


def test_attention_that_is_fused_as_exported_is_left_so(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    _, attestation = compiler.compile_artifact(attention_request(tmp_path))
    assert attestation.detail["attention"] == "1 of 1 are one kernel (as exported)"
    assert len(world.builds) == 1
    assert world.builds[0]["threads"] == 2


def test_attention_in_pieces_is_given_as_one_operator(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    world.fuses_spelled_out = False
    _, attestation = compiler.compile_artifact(attention_request(tmp_path))
    assert attestation.detail["attention"] == "1 of 1 are one kernel (as one operator; as exported 0 are)"
    assert "Attention" in world.builds[1]["operators"]
    assert "Softmax" not in world.builds[1]["operators"]


def test_attention_that_does_not_build_so_stays(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    world.fuses_spelled_out = world.builds_attention = False
    _, attestation = compiler.compile_artifact(attention_request(tmp_path))
    assert "0 of 1 are one kernel (as exported; as one operator it does not build" in attestation.detail["attention"]
    assert "not supported by a dedicated kernel" in attestation.detail["attention"]


def test_fp32_has_no_fused_attention_to_look_for(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    world.fuses_spelled_out = False
    compiler.compile_artifact(attention_request(tmp_path, "fp32"))
    assert len(world.builds) == 1


def test_the_device_must_be_here(compiler: ModuleType, world: World, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="needs the sm_90 device, and this host has sm_120; run `worldport compile"):
        compiler.compile_artifact(request(tmp_path, architecture="sm_90"))
    world.cuda.status = CudaError.cudaErrorInsufficientDriver
    with pytest.raises(CompileError, match=r"this host has none \(the driver does not start\)"):
        compiler.compile_artifact(request(tmp_path))
    assert world.builds == []


def test_an_engine_that_cannot_be_looked_into_is_no_artifact(
    monkeypatch: pytest.MonkeyPatch, world: World, tmp_path: Path
) -> None:
    compiler, _ = install(monkeypatch, world)
    world.loads = False
    with pytest.raises(CompileError, match=r"the engine cannot be loaded \(Serialization assertion"):
        compiler.compile_artifact(request(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_parsers_words_name_the_node(monkeypatch: pytest.MonkeyPatch, world: World, tmp_path: Path) -> None:
    compiler, _ = install(monkeypatch, world)
    folder = tmp_path / "components"
    folder.mkdir()
    text = '<ir_version: 10, opset_import: ["": 20]> g (float[4] x) => (int64[1, n] y) { [odd_one] y = NonZero(x) }'
    import onnx

    onnx.save(onnx.parser.parse_model(text), folder / "small.onnx")
    with pytest.raises(CompileError, match="small for tensorrt fp32: the parser refuses odd_one: no importer"):
        compiler.compile_artifact(request(tmp_path, components_dir=folder))
    assert [path.name for path in tmp_path.iterdir()] == ["components"]


def test_another_device_in_the_host_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(FakeCuda((9, 0), devices=2))
    compiler, _ = install(monkeypatch, world)
    compiler.compile_artifact(request(tmp_path, architecture="sm_90"))
    assert len(world.builds) == 1


USERS = ("compilers/tensorrt.py", "compilers/tensorrt_network.py", "runners/tensorrt.py", "runners/engine.py")


def names_of_bindings(path: Path) -> set[tuple[str, ...]]:
    """Every `trt.Name` and `trt.Name.member` of a module's code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        root = node.id if isinstance(node, ast.Name) else ""
        if root == "trt" and chain:
            found.add(tuple(chain[:2]))
        elif chain[:1] == ["_trt"] and len(chain) > 1:
            found.add(tuple(chain[1:3]))
    return found


@pytest.mark.parametrize("user", USERS)
def test_every_name_of_the_bindings_in_the_code_was_published(user: str, project_root: Path) -> None:
    names = names_of_bindings(project_root / "porting" / user)
    recorded = recorded_tensorrt()
    assert names
    for owner, *members in names:
        assert owner in recorded or owner in recorded["module"], f"trt.{owner}"
        for member in members:
            assert member in recorded[owner], f"trt.{owner}.{member}"
        if not members and owner not in recorded["module"]:
            assert recorded[owner], owner
