"""NVML that answers as its environment says: FAKE_NVML is "NAME:major:minor,...", or how it misbehaves."""

import os

TOLD = os.environ.get("FAKE_NVML", "")
DEVICES = [part.split(":") for part in TOLD.split(",") if ":" in part]


class NVMLError(Exception):
    pass


def nvmlInit() -> None:  # noqa: N802
    if not TOLD:
        raise NVMLError("NVML Shared Library Not Found")


def nvmlShutdown() -> None:  # noqa: N802
    pass


def nvmlSystemGetDriverVersion() -> bytes:  # noqa: N802
    if TOLD == "lost":
        raise NVMLError("GPU is lost")
    return b"615.10"


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return len(DEVICES)


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802
    return index


def nvmlDeviceGetName(handle: int) -> str:  # noqa: N802
    return DEVICES[handle][0]


def nvmlDeviceGetCudaComputeCapability(handle: int) -> tuple[int, int]:  # noqa: N802
    return int(DEVICES[handle][1]), int(DEVICES[handle][2])
