"""TensorRT 10 and 11: an engine timed and built on the device that it is for, looked into with the engine inspector.

The network is strongly typed, so layers compute in the types of the graph and no other. The program's rings are written
by the runner: TensorRT's KVCacheUpdate layer writes linearly and cannot wrap, so it takes the place of a TensorScatter
in the graph only, which the parser sees to. Written against the documented interface; this module has run on no device.
"""

import os
from pathlib import Path
from typing import Any

import tensorrt as trt

from porting.compilers.base import CompileRequest, require_precision
from porting.compilers.device_host import require_device
from porting.compilers.engine_layers import EngineLayer, count_layers, read_layers
from porting.compilers.tensorrt_network import (
    PRECISIONS,
    Built,
    TypedGraph,
    add_batch_profile,
    build_best,
    describe_build,
    parse_graph,
    prepare_graph,
    serialize_engine,
    write_facts,
)
from porting.errors import CompileError
from porting.record import Attestation
from porting.tensorrt_log import last_words, make_logger

Layers = tuple[EngineLayer, ...]


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.tensorrt.plan` and a .json that says what it was built for.

    Raises:
        CompileError: this host has not the device, TensorRT refuses the graph, or the engine cannot be looked into.
    """
    require_precision(request, PRECISIONS)
    require_device(request)
    built, note = build_best(request, build_engine)
    return write_engine(request, built), attest(request, built.reading, describe_build(built, note))


def write_engine(request: CompileRequest, built: Built[Layers]) -> tuple[Path, Path]:
    """Write an engine and what it is for; returns both files, the engine first."""
    artifact = request.artifact(".plan")
    artifact.write_bytes(built.plan)
    facts = write_facts(
        artifact,
        {
            "architectures": [request.architecture],
            "backend": request.backend,
            "host_code": request.newer_versions,
            "newer_architectures": request.hardware == "newer architectures",
            "precision": request.precision,
            "version": trt.__version__,
        },
    )
    return artifact, facts


def attest(request: CompileRequest, layers: Layers, detail: dict[str, str]) -> Attestation:
    """Count the layers of an engine by their kind and what they compute in."""
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=count_layers(layers, "precision"),
        layers_by_backend=count_layers(layers, "kind"),
        detail={
            **detail,
            "hardware": request.hardware,
            "versions": "this and newer" if request.newer_versions else "this",
            "timing cache": "kept" if request.timing_cache is not None else "none",
            "version": trt.__version__,
        },
        read_from="tensorrt engine inspector",
    )


def build_engine(request: CompileRequest, rewrite: bool) -> Built[Layers]:
    """Build once, on the device; `rewrite` gives attention as one operator.

    Raises:
        CompileError: it cannot be built, or its layers are not told.
    """
    return build_from(request, prepare_graph(request, rewrite))


def build_from(request: CompileRequest, graph: TypedGraph) -> Built[Layers]:
    """Build the engine of one graph, on the device.

    Raises:
        CompileError: it cannot be built, or its layers are not told.
    """
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    builder.max_threads = request.threads
    network = parse_graph(trt, builder, logger, graph.model, request)
    config = builder.create_builder_config()
    _configure(config, request)
    add_batch_profile(builder, network, config, request.batch, request.where)
    _load_timing_cache(config, request)
    plan = serialize_engine(builder, network, config, logger, request.where)
    _keep_timing_cache(config, request)
    layers = inspect_engine(plan, logger, request)
    return Built(plan, layers, sum(layer.is_attention for layer in layers), graph.attentions, graph.retyped)


def inspect_engine(plan: bytes, logger: Any, request: CompileRequest) -> Layers:
    """The layers of an engine, from the inspector.

    Raises:
        CompileError: the engine cannot be loaded here, or its layers are not told.
    """
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = request.newer_versions
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise CompileError(
            f"{request.where}: the engine cannot be loaded ({last_words(logger)}); try another precision"
        )
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return read_layers(text)
    except ValueError as cause:
        raise CompileError(f"{request.where}: {cause}; install a TensorRT release that is known") from cause


def _configure(config: Any, request: CompileRequest) -> None:
    """What an engine may be, and how much it tells of itself."""
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # float32 products would otherwise keep 11 of their 24 bits, without a word.
    config.clear_flag(trt.BuilderFlag.TF32)
    levels = trt.HardwareCompatibilityLevel
    config.hardware_compatibility_level = {
        "same device": levels.NONE,
        "same architecture": levels.SAME_COMPUTE_CAPABILITY,
        "newer architectures": levels.AMPERE_PLUS,
    }[request.hardware]
    if request.newer_versions:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def _load_timing_cache(config: Any, request: CompileRequest) -> None:
    """Begin with the kernel times of earlier builds; those of another device or version are left aside."""
    if request.timing_cache is None:
        return
    stored = request.timing_cache.read_bytes() if request.timing_cache.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(stored), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_timing_cache(config: Any, request: CompileRequest) -> None:
    """Put the kernel times where the next build finds them."""
    if request.timing_cache is None:
        return
    request.timing_cache.parent.mkdir(parents=True, exist_ok=True)
    unfinished = request.timing_cache.with_name(f"{request.timing_cache.name}.{os.getpid()}")
    unfinished.write_bytes(bytes(config.get_timing_cache().serialize()))
    unfinished.replace(request.timing_cache)
