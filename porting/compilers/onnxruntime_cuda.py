"""ONNX Runtime's CUDA provider: the typed graph, every node of which has run on the device."""

from pathlib import Path

from porting.compilers.base import CompileRequest
from porting.compilers.device_host import require_device
from porting.compilers.onnxruntime_device import (
    DeviceProvider,
    attest_profile,
    require_provider,
    require_supported,
    write_typed,
)
from porting.record import Attestation

PROVIDER = DeviceProvider(
    name="CUDAExecutionProvider",
    install="worldport[onnxruntime-gpu]",
    precisions=("fp32", "fp16", "bf16"),
    # float32 products would otherwise keep 11 of their 24 bits, without a word.
    options={"use_tf32": "0"},
)


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.onnxruntime_cuda.onnx`, weights beside it where they are many.

    Raises:
        CompileError: this build or host has no such provider or device, or nodes would run on the CPU.
    """
    require_supported(request, PROVIDER)
    require_device(request)
    require_provider(request, PROVIDER)
    files, _ = write_typed(request)
    return files, attest_profile(request, PROVIDER, files[0])
