"""ONNX Runtime's TensorRT provider: a graph that holds the engines which the provider built on the device.

The provider tells where nodes run, not what an engine computes in. It may use half precision where the graph has it and
float32 elsewhere, never anything coarser; float32 is not offered, as the provider cannot be told to leave TF32 out.
"""

from pathlib import Path

from porting.compilers.base import CompileRequest
from porting.compilers.device_host import require_device
from porting.compilers.onnxruntime_device import (
    STRICT,
    DeviceProvider,
    attest_profile,
    count_typed,
    require_provider,
    require_supported,
    write_typed,
)
from porting.compilers.onnxruntime_session import open_session, session_options
from porting.errors import CompileError
from porting.record import Attestation

PROVIDER = DeviceProvider(
    name="TensorrtExecutionProvider",
    install="worldport[onnxruntime-gpu]",
    precisions=("fp16", "bf16"),
    then=("CUDAExecutionProvider",),
)
LARGEST_BYTES = 2**30
"""Engines are stored in the graph's file, which ends at 2 GiB, beside kernels and a second form of the weights."""
ENABLE = {"fp16": "trt_fp16_enable", "bf16": "trt_bf16_enable"}


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.onnxruntime_tensorrt.onnx` with its engines inside.

    Raises:
        CompileError: this build or host has no such provider or device, or nodes would run on the CPU.
    """
    require_supported(request, PROVIDER)
    require_device(request)
    require_provider(request, PROVIDER)
    files, model = write_typed(request)
    size = sum(file.stat().st_size for file in files)
    if size > LARGEST_BYTES:
        raise CompileError(f"{request.where}: {size} bytes do not fit one graph as engines; use the tensorrt backend")
    built = files[0].with_name(f"{files[0].stem}.built.onnx")
    options = session_options()
    contexts = {"ep.context_enable": "1", "ep.context_file_path": str(built), "ep.context_embed_mode": "1"}
    for name, value in {**STRICT, **contexts}.items():
        options.add_session_config_entry(name, value)
    switched_on = (PROVIDER.name, {ENABLE[request.precision]: "1"})
    open_session(request, files[0], options, [switched_on, *PROVIDER.then])
    if not built.is_file():
        raise CompileError(f"{request.where}: the provider wrote no engines; use another backend")
    for file in files:
        file.unlink()
    built.replace(files[0])
    placed = attest_profile(request, PROVIDER, files[0])
    return (files[0],), placed.model_copy(
        update={
            "layers_by_precision": count_typed(model),
            "detail": {
                **placed.detail,
                "precision": "as the graph is typed: the provider tells nothing of its engines",
            },
            "read_from": "onnxruntime profile (placement), typed graph (precision)",
        }
    )
