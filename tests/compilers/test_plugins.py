"""TensorRT plugins: what is generated, in which order TensorRT's arguments arrive, and what cannot be a plugin."""

import inspect
import json
import math
import struct
import sys
import typing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from porting.adapters.world_model import WorldModel
from porting.compilers.kernel_calls import find_kernel_calls, make_stand_ins
from porting.compilers.plugin_ptx import assemble, rewrite_entry
from porting.compilers.plugins import NAMESPACE, _require_plain_launch, order_arguments
from porting.errors import CompileError
from porting.export.kernel_variant import export_kernel_graph, export_kernel_variant
from porting.export.local_functions import METADATA
from porting.kernel_compiler.elf import ElfFile
from porting.kernel_library.operators import register_operators
from tests.compilers.variants import compile_in, make_request, tiny_variant_model

PARAMETER_ATTRIBUTE = 0x17
"""EIATTR_KPARAM_INFO of a cubin's .nv.info.<kernel>: ordinal, offset and size of each parameter."""
EPS_BITS = f"{struct.unpack('<I', struct.pack('<f', 1e-6))[0]:08X}"


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return tiny_variant_model()


@pytest.fixture(scope="module")
def components(model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "components"
    for name in ("denoiser", "decoder"):
        export_kernel_variant(model, name, folder)
    export_kernel_graph(model, "denoiser", folder, opset=20)
    return folder


def _generate(root: Path, model: WorldModel, components: Path, name: str, target: str) -> dict[str, Any]:
    """What a child that compiles answers; its files, if any, lie in <bundle>/<target>."""
    asked = make_request(model.program.component(name), components, components.parent / target, target)
    return compile_in(root, asked.model_copy(update={"with_plugins": True}))


def _plugins_of(answer: dict[str, Any]) -> str:
    """What the attestation says of them; the file is the artifact's last."""
    assert answer["files"][-1].endswith(".triton.plugins.py")
    return str(answer["attestation"]["detail"]["tensorrt plugins"])


class _Registered(SimpleNamespace):
    """One plugin as TensorRT knows it after the import."""


class _Integers(list[Any]):
    def __init__(self, count: int) -> None:
        super().__init__([None] * count)


class _Launch:
    """Takes the published class's attributes and no others."""

    __slots__ = ("block_x", "block_y", "block_z", "grid_x", "grid_y", "grid_z", "shared_mem")


class _Desc:
    """A tensor's description."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, dtype


def _fake_tensorrt() -> tuple[dict[str, ModuleType], dict[str, _Registered]]:
    """tensorrt.plugin of TensorRT 11 as far as its decorators check what they are given."""
    trt: Any = ModuleType("tensorrt")
    plugin: Any = ModuleType("tensorrt.plugin")
    registered: dict[str, _Registered] = {}
    for name in ("float32", "float16", "bfloat16", "int64", "int32", "uint8", "fp8"):
        setattr(trt, name, name)
    plugin.TensorDesc, plugin.KernelLaunchParams, plugin.SymIntExprs = _Desc, _Launch, _Integers
    plugin.SymInt32 = lambda value: ("SymInt32", value)
    plugin.from_shape_expr = _Desc

    def register(identity: str) -> Any:
        namespace, _, name = identity.partition("::")
        assert namespace
        assert "." not in namespace + name

        def take(function: Any) -> Any:
            parameters = inspect.signature(function).parameters.values()
            assert all(p.annotation is _Desc and p.default is p.empty for p in parameters)
            outputs = typing.get_args(inspect.signature(function).return_annotation)
            assert outputs
            assert set(outputs) == {_Desc}
            assert identity not in registered
            registered[identity] = _Registered(
                inputs=[p.name for p in parameters], outputs=len(outputs), describe=function, implement=None
            )
            return function

        return take

    def aot_impl(identity: str) -> Any:
        def take(function: Any) -> Any:
            known = registered[identity]
            signature = inspect.signature(function)
            assert [*signature.parameters] == [*known.inputs, "outputs", "tactic"]
            assert typing.get_args(signature.return_annotation) == (str, str, _Launch, _Integers)
            known.implement = function
            return function

        return take

    plugin.register, plugin.aot_impl = register, aot_impl
    trt.plugin = plugin
    return {"tensorrt": trt, "tensorrt.plugin": plugin}, registered


def _import(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, _Registered]:
    modules, registered = _fake_tensorrt()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), {})
    return registered


def _parameters(cubin: bytes) -> list[tuple[int, int]]:
    """Offset and size of every parameter of the kernel, in order: the assembler's own account."""
    section = ElfFile(cubin).section(".nv.info.kernel")
    assert section is not None
    found, place = {}, 0
    while place + 4 <= len(section.data):
        form, attribute, size = struct.unpack_from("<BBH", section.data, place)
        place += 4
        if form != 4:
            continue
        if attribute == PARAMETER_ATTRIBUTE:
            _, ordinal, offset, packed = struct.unpack_from("<IHHI", section.data, place)
            found[ordinal] = (offset, packed >> 18)
        place += size
    return [found[ordinal] for ordinal in sorted(found)]


def _declared(ptx: str) -> list[str]:
    """Names in the entry's list of parameters."""
    head = ptx.partition("kernel(\n")[2].partition("\n)")[0]
    return [line.rstrip(",").split()[-1] for line in head.splitlines()]


@pytest.fixture(scope="module")
def generated(project_root: Path, model: WorldModel, components: Path) -> dict[str, Any]:
    return _generate(project_root, model, components, "denoiser", "sm_100")


def test_there_is_a_plugin_for_every_function_of_the_graph(
    generated: dict[str, Any], components: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    assert _plugins_of(generated) == "6 of 6 uses of kernels, compiled here, not run"
    registered = _import(components.parent / "sm_100" / "denoiser.triton.plugins.py", monkeypatch)
    graph = onnx.load(components / "denoiser.kernels.onnx")
    described = json.loads({p.key: p.value for p in graph.metadata_props}[METADATA])
    assert registered.keys() == {f"{NAMESPACE}::{function.name}" for function in graph.functions}
    for function in graph.functions:
        known = registered[f"{NAMESPACE}::{function.name}"]
        assert known.inputs == list(function.input)
        made = known.describe(*[None] * len(known.inputs))
        assert [[d.dtype, list(d.shape)] for d in made] == described[function.name]["outputs"]


def test_tensorrt_passes_inputs_then_integers_then_outputs(
    generated: dict[str, Any], components: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = _import(components.parent / "sm_100" / "denoiser.triton.plugins.py", monkeypatch)
    for identity, known in registered.items():
        symbol, ptx, launch, integers = known.implement(*[None] * len(known.inputs), (None,) * known.outputs, 0)
        assert symbol == "kernel"
        cubin = assemble(ptx)
        assert ElfFile(cubin).machine == 190
        sizes = [8] * len(known.inputs) + [4] * len(integers) + [8] * known.outputs
        offsets = [-(-sum(sizes[:i]) // sizes[i]) * sizes[i] for i in range(len(sizes))]
        if len(integers) % 2 == 0:  # else the pointers after them are padded, and every later offset with them
            assert _parameters(cubin) == list(zip(offsets, sizes, strict=True)), identity
        assert [size for _, size in _parameters(cubin)] == sizes
        assert launch.grid_x >= 1
        assert launch.block_x % 32 == 0
        assert all(kind == "SymInt32" for kind, _ in integers)


def test_the_order_is_the_kernels_signature_brought_into_tensorrts(
    generated: dict[str, Any], components: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """adaln's kernel takes x, scale, shift, y, tokens, width, eps: parameters 0 to 6."""
    registered = _import(components.parent / "sm_100" / "denoiser.triton.plugins.py", monkeypatch)
    (known,) = [plugin for identity, plugin in registered.items() if identity.startswith(f"{NAMESPACE}::adaln_")]
    _, ptx, launch, integers = known.implement(None, None, None, (None,), 0)
    assert _declared(ptx) == [f"kernel_param_{index}" for index in (0, 1, 2, 4, 5, 3)]
    assert list(integers) == [("SymInt32", 4), ("SymInt32", 32)]
    assert EPS_BITS in ptx
    tuning = register_operators()["adaln"].tuning_for("cuda:100", torch.float32)
    assert (launch.grid_x, launch.grid_y, launch.grid_z) == (math.ceil(4 / tuning["BLOCK_TOKENS"]), 1, 1)
    assert launch.block_x == 32 * tuning["num_warps"]
    text = (components.parent / "sm_100" / "denoiser.triton.plugins.py").read_text(encoding="utf-8")
    assert "in this order: x_ptr, scale_ptr, shift_ptr, tokens, width, y_ptr." in text


def test_older_chips_have_an_assembler_of_their_own(
    project_root: Path, model: WorldModel, components: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = _generate(project_root, model, components, "decoder", "sm_89")
    assert "is none" not in _plugins_of(answer)
    registered = _import(components.parent / "sm_89" / "decoder.triton.plugins.py", monkeypatch)
    program = torch.export.load(components / "decoder.triton.pt2")
    shapes = {(c.kernel.name, tuple(make_stand_ins(c.node)[0].shape)) for c in find_kernel_calls(program)}
    assert len(registered) == len(shapes)
    for known in registered.values():
        _, ptx, _, _ = known.implement(*[None] * len(known.inputs), (None,) * known.outputs, 0)
        assert ".target sm_89\n" in ptx
        assert assemble(ptx)


def test_amd_has_no_plugins(project_root: Path, model: WorldModel, components: Path) -> None:
    answer = _generate(project_root, model, components, "decoder", "gfx950")
    assert answer["error"] == "decoder for triton fp32: TensorRT has no plugins for gfx950; leave them out"


PTX = """.version 8.7
.target sm_90a
.address_size 64

.visible .entry kernel(
	.param .u64 .ptr .global .align 1 kernel_param_0,
	.param .u64 .ptr .global .align 1 kernel_param_1,
	.param .u32 kernel_param_2,
	.param .f32 kernel_param_3,
	.param .u64 .ptr .global .align 1 kernel_param_4,
	.param .u64 .ptr .global .align 1 kernel_param_5
)
.reqntid 32
{
	.reg .b32 	%r<4>;
	.reg .b64 	%rd<3>;
	ld.param.b64 	%rd1, [kernel_param_0];
	ld.param.b64 	%rd2, [kernel_param_1];
	ld.param.b32 	%r1, [kernel_param_2];
	ld.param.b32 	%r2, [kernel_param_3];
	add.f32 	%r3, %r2, %r1;
	st.global.b32 	[%rd2], %r3;
	ret;
}
"""
KINDS = ["*fp32", "*fp32", "i32", "fp32"]


def test_parameters_move_and_floats_become_their_bits() -> None:
    symbol, ptx = rewrite_entry(PTX, KINDS, [0, 2, 1], {3: 0.1})
    assert symbol == "kernel"
    assert _declared(ptx) == ["kernel_param_0", "kernel_param_2", "kernel_param_1"]
    assert "mov.b32 %r2, 0x3DCCCCCD;" in ptx
    assert "kernel_param_3" not in ptx
    assert [size for _, size in _parameters(assemble(ptx))] == [8, 4, 8]


def test_an_input_that_the_kernel_does_not_read_is_taken_all_the_same() -> None:
    _, ptx = rewrite_entry(PTX, KINDS, [0, None, 2, 1], {3: 0.1})
    assert _declared(ptx) == ["kernel_param_0", "unused_1", "kernel_param_2", "kernel_param_1"]
    assert [size for _, size in _parameters(assemble(ptx))] == [8, 8, 4, 8]


@pytest.mark.parametrize(
    ("ptx", "kinds", "order", "constants", "words"),
    [
        (PTX.replace("[%rd2]", "[kernel_param_4]"), KINDS, [0, 2, 1], {3: 0.1}, "its code reads scratch memory"),
        (PTX, KINDS[:3], [0, 2, 1], {}, "6 parameters for 3 arguments and 2 scratch pointers"),
        (PTX, ["*fp32", "i32", "*fp32", "fp32"], [0, 2, 1], {}, "parameter 1 is '.param .u64"),
        (PTX, ["*fp32", "*fp32", "fp32", "i32"], [0, 2, 1], {}, "parameter 2 is '.param .u32 kernel_param_2'"),
        (PTX, KINDS, [0, 2, 1], {}, "its code still reads kernel_param_3"),
        (PTX.replace("ld.param.b32 	%r2", "ld.param.v2.b32 	%r2"), KINDS, [0, 2, 1], {3: 0.1}, "still reads"),
        (PTX + PTX, KINDS, [0, 2, 1], {3: 0.1}, "has 2 entry points"),
    ],
)
def test_ptx_that_is_not_as_expected_is_refused(
    ptx: str, kinds: list[str], order: list[int | None], constants: dict[int, Any], words: str
) -> None:
    with pytest.raises(CompileError, match=words):
        rewrite_entry(ptx, kinds, order, constants)


def test_ptxas_is_asked() -> None:
    _, ptx = rewrite_entry(PTX, KINDS, [0, 2, 1], {3: 0.1})
    with pytest.raises(CompileError, match="ptxas refuses the rewritten PTX and says"):
        assemble(ptx.replace("st.global.b32", "st.nowhere.b32"))


def test_arguments_are_found_by_the_memory_that_they_are() -> None:
    x, weight, y, scratch = (torch.zeros(4) for _ in range(4))
    kinds = {"w": "*fp32", "y": "*fp32", "x": "*fp32", "rows": "i32", "eps": "fp32", "stride": "i64"}
    arguments = {"w": weight, "y": y, "x": x.view(2, 2), "rows": 2, "eps": 0.5, "stride": 7, "scratch": scratch}
    inputs, outputs = {"x": x, "weight": weight}, {"output_0": y}
    order, constants = order_arguments(kinds, arguments, inputs, outputs)
    assert order == ["x", "w", "rows", "y"]
    assert constants == {"eps": 0.5, "stride": 7}
    unread = {"x": x, "weight": weight, "mask": torch.zeros(1)}
    assert order_arguments(kinds, arguments, unread, outputs)[0] == ["x", "w", "mask", "rows", "y"]
    with pytest.raises(CompileError, match="scratch: is no input and no output"):
        order_arguments({**kinds, "scratch": "*fp32"}, arguments, inputs, outputs)
    with pytest.raises(CompileError, match="again and x are one tensor"):
        order_arguments({**kinds, "again": "*fp32"}, {**arguments, "again": x}, inputs, outputs)
    with pytest.raises(CompileError, match="output_1: is not given to the kernel"):
        order_arguments(kinds, arguments, inputs, {**outputs, "output_1": torch.zeros(1)})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"global_scratch_size": 4096}, "needs 4096 bytes of scratch memory"),
        ({"profile_scratch_size": 8}, "needs 8 bytes of scratch memory"),
        ({"num_ctas": 2}, "needs clusters of 2 programs"),
        ({"launch_cooperative_grid": True, "launch_pdl": True}, "needs a cooperative launch, a dependent launch"),
    ],
)
def test_a_launch_that_tensorrt_has_no_word_for_is_refused(changes: dict[str, Any], words: str) -> None:
    plain = {"global_scratch_size": 0, "profile_scratch_size": None, "num_ctas": 1}
    facts = SimpleNamespace(**{**plain, "launch_cooperative_grid": False, "launch_pdl": False, **changes})
    launch: Any = SimpleNamespace(compiled=SimpleNamespace(metadata=facts))
    with pytest.raises(CompileError, match=f"part: {words}, which TensorRT does not give to a plugin"):
        _require_plain_launch(launch, "part")
