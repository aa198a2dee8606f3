"""TensorRT's bindings over this host's CPU: an engine is its graph, computed by ONNX Runtime in a fake device's memory.

It has no more than the published bindings have: test_tensorrt.py holds every public member against the recorded ones.
"""

import importlib
import json
import sys
from enum import IntEnum
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from porting.compilers import device_host
from porting.devices import Census, FoundDevice
from porting.runners import device
from tests.runners.fake_cuda import CudaError, FakeCuda


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 0


class BuilderFlag(IntEnum):
    TF32 = 6
    VERSION_COMPATIBLE = 12


class HardwareCompatibilityLevel(IntEnum):
    NONE = 0
    AMPERE_PLUS = 1
    SAME_COMPUTE_CAPABILITY = 2


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class LayerInformationFormat(IntEnum):
    ONELINE = 0
    JSON = 1


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    BF16 = 7
    INT64 = 8


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, msg: str) -> None: ...


TYPES = {ir.DataType.FLOAT: "FLOAT", ir.DataType.FLOAT16: "HALF", ir.DataType.BFLOAT16: "BF16"}
TYPES |= {ir.DataType.INT64: "INT64", ir.DataType.BOOL: "BOOL"}
WORDS = {"FLOAT": "FP32", "HALF": "FP16", "BF16": "BF16", "INT64": "Int64", "BOOL": "Bool"}


class World:
    """What a test sets before, and reads after."""

    def __init__(self, cuda: FakeCuda | None = None) -> None:
        self.cuda = cuda or FakeCuda()
        self.builds: list[dict[str, Any]] = []
        self.fuses_spelled_out = True
        self.builds_attention = True
        self.loads = True
        self.tactic = "sm120_gemm"
        self.cache_matches = True
        self.contexts: list[IExecutionContext] = []


def fake_tensorrt(world: World, version: str = "11.4.0.106") -> ModuleType:
    """A module `tensorrt` for that world."""

    def bound(kind: type) -> type:
        return type(kind.__name__, (kind,), {"world": world})

    enums = (BuilderFlag, DataType, HardwareCompatibilityLevel, LayerInformationFormat, NetworkDefinitionCreationFlag)
    kinds = (*enums, ProfilingVerbosity, TensorIOMode, ILogger, *map(bound, (Builder, OnnxParser, Runtime)))
    module = ModuleType("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None)
    vars(module).update({kind.__name__: kind for kind in kinds}, __version__=version)
    return module


class Base:
    world: World


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self._shapes[input] = (tuple(min), tuple(opt), tuple(max))


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> bytes:
        return self._data + b"+times"


class IBuilderConfig:
    def __init__(self, world: World) -> None:
        self._world, self._flags, self._cache = world, {BuilderFlag.TF32}, ITimingCache(b"")
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self._profiles: list[IOptimizationProfile] = []

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._data and not self._world.cache_matches and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self._flags, self._model = flags, b""

    @property
    def num_inputs(self) -> int:
        return len(self._graph().inputs)

    def get_input(self, index: int) -> Any:
        value = self._graph().inputs[index]
        return SimpleNamespace(name=value.name, shape=[s if isinstance(s, int) else -1 for s in value.shape or ()])

    def _graph(self) -> ir.Graph:
        return ir.from_proto(onnx.load_from_string(self._model)).graph


class OnnxParser(Base):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._errors: list[Any] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        proto = onnx.load(Path(model))
        for node in proto.graph.node:
            if node.op_type == "NonZero":
                words = SimpleNamespace(node_name=lambda node=node: node.name, desc=lambda: "no importer")
                self._errors.append(words)
        self._network._model = proto.SerializeToString()
        return not self._errors


class Builder(Base):
    def __init__(self, logger: ILogger) -> None:
        self._logger, self.max_threads = logger, 0

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self.world)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        model = ir.from_proto(onnx.load_from_string(network._model))
        operators = [node.op_type for node in model.graph]
        plugins = {n.op_type: {a.name: a.as_string() for a in n.attributes.values()} for n in model.graph if n.domain}
        if "Attention" in operators and not self.world.builds_attention:
            self._logger.log(ILogger.ERROR, "Attention operation was not supported by a dedicated kernel.")
            return None
        self.world.builds.append(
            {
                "flags": config._flags,
                "functions": [function.name for function in model.functions.values()],
                "hardware": config.hardware_compatibility_level,
                "network flags": network._flags,
                "operators": operators,
                "plugins": plugins,
                "profiles": [profile._shapes for profile in config._profiles],
                "threads": self.max_threads,
                "timing cache": config._cache._data,
            }
        )
        detailed = config.profiling_verbosity == ProfilingVerbosity.DETAILED
        layers = [self._layer(node) if detailed else node.name for node in model.graph]
        return json.dumps({"layers": layers, "model": network._model.hex()}).encode()

    def _layer(self, node: ir.Node) -> dict[str, Any]:
        fused = node.op_type == "Attention" or (node.op_type == "Softmax" and self.world.fuses_spelled_out)
        sides = [[v for v in values if v is not None and v.dtype is not None] for values in (node.inputs, node.outputs)]
        inputs, outputs = ([{"Name": v.name, "Datatype": WORDS[TYPES[v.dtype]]} for v in side] for side in sides)  # type: ignore[index]
        tactic = "_gemm_mha_v2" if fused else self.world.tactic
        return {
            "Name": node.name,
            "LayerType": "kgen",
            "Inputs": inputs,
            "Outputs": outputs,
            "TacticName": tactic,
        }


class EngineInspector:
    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        return json.dumps({"Layers": self._plan["layers"], "I/O Tensors": []})


class Runtime(Base):
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        try:
            plan = json.loads(serialized_engine)
        except ValueError:
            plan = None
        if plan is None or not self.world.loads:
            self._logger.log(ILogger.ERROR, "Serialization assertion magicTagRead == kMAGIC_TAG failed.")
            return None
        return ICudaEngine(self.world, plan)


class ICudaEngine:
    def __init__(self, world: World, plan: dict[str, Any]) -> None:
        self._world, self._plan = world, plan
        self._model = bytes.fromhex(plan["model"])
        graph = ir.from_proto(onnx.load_from_string(self._model)).graph
        self._values = {str(v.name): v for v in (*graph.inputs, *graph.outputs)}
        self._takes = {str(v.name) for v in graph.inputs}

    @property
    def num_io_tensors(self) -> int:
        return len(self._values)

    def get_tensor_name(self, index: int) -> str:
        return list(self._values)[index]

    def get_tensor_shape(self, name: str) -> list[int]:
        return [side if isinstance(side, int) else -1 for side in self._values[name].shape or ()]

    def get_tensor_dtype(self, name: str) -> DataType:
        dtype = self._values[name].dtype
        return DataType[TYPES[dtype]]  # type: ignore[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._takes else TensorIOMode.OUTPUT

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self._plan)

    def create_execution_context(self) -> "IExecutionContext":
        context = IExecutionContext(self)
        self._world.contexts.append(context)
        return context


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._addresses = engine, dict[str, int]()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._session = ort.InferenceSession(_without_plugins(engine._model), providers=["CPUExecutionProvider"])
        self.nvtx_verbosity = ProfilingVerbosity.DETAILED

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return name in self._engine._takes

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in self._engine._values

    def execute_async_v3(self, stream_handle: int) -> bool:
        return self._engine._world.cuda.do(self._execute)

    def _execute(self) -> None:
        live = self._engine._world.cuda.live
        feeds = {
            name: live[self._addresses[name]].view(self._engine._values[name].dtype.numpy()).reshape(shape)  # type: ignore[union-attr]
            for name, shape in self._shapes.items()
        }
        names = [name for name in self._engine._values if name not in self._engine._takes]
        for name, made in zip(names, self._session.run(names, feeds), strict=True):
            target = live[self._addresses[name]]
            target[:] = np.ascontiguousarray(made).reshape(-1).view(np.uint8)


def _without_plugins(model: bytes) -> bytes:
    """The graph for ONNX Runtime: a plugin adds its input to itself."""
    proto = onnx.load_from_string(model)
    for node in proto.graph.node:
        if node.domain:
            node.op_type, node.domain = "Add", ""
            node.input.append(node.input[0])
            del node.attribute[:]
    return bytes(proto.SerializeToString())


def take_census(cuda: FakeCuda) -> Census:
    """What the drivers would tell of that device."""
    if cuda.status != CudaError.cudaSuccess:
        return Census("cuda", note="the driver does not start")
    major, minor = cuda.architecture
    return Census("cuda", (FoundDevice("cuda", "fake", f"sm_{major}{minor}"),) * cuda.devices)


def install(
    monkeypatch: pytest.MonkeyPatch, world: World, name: str = "tensorrt", of: str | None = None
) -> tuple[ModuleType, ModuleType]:
    """Compiler and runner of a backend over that world, for one test; `of` is the binding where it has another name."""
    if of is None:
        monkeypatch.setitem(sys.modules, name, fake_tensorrt(world))
    monkeypatch.setitem(sys.modules, device.BINDINGS, world.cuda)
    monkeypatch.setattr(device_host, "find_devices", lambda _: take_census(world.cuda))
    loaded = []
    for module in (f"porting.compilers.{name}", f"porting.runners.{name}"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        loaded.append(importlib.import_module(module))
        monkeypatch.setitem(sys.modules, module, loaded[-1])
    return loaded[0], loaded[1]
