"""What is asked of the compiler, and what one answer is: data that crosses process borders. Imports no backend."""

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from pydantic import Field

from porting.record import KernelRecord, Sha256
from porting.tensor_spec import Model

ENVIRONMENT = {
    # Without it, cubins and PTX hold the path of the checkout.
    "TRITON_DISABLE_LINE_INFO": "1",
    # Unset, Triton warns and a later version turns it off.
    "TRITON_DEFAULT_FP_FUSION": "1",
    # Spills are read from the very run of ptxas that makes the cubin.
    "TRITON_DUMP_PTXAS_LOG": "1",
}
"""What the compiler is told beside a request; all that decides its output is here or in the request."""
PACKAGES = ("triton", "torch", "nvidia-cuda-nvdisasm")
"""Whose versions decide the output or the evidence."""
SOURCES = ("amd", "elf", "evidence", "nvidia", "occupancy", "offline", "request", "worker")
"""Modules of this package that decide what an answer holds."""


class KernelRequest(Model):
    """One kernel, one variant, one architecture, one tuning."""

    kernel: str
    path: Path
    source_digest: Sha256
    variant: str
    architecture: Annotated[str, Field(pattern=r"^(cuda:\d+|hip:gfx[0-9a-f]+)$")]
    sizes: tuple[int, ...]
    tuning: dict[str, int]
    tensor_cores_claimed: bool
    timeout_seconds: float = 300.0

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.kernel} in {self.variant} for {self.architecture}"

    @property
    def stem(self) -> str:
        """How its files begin: `<kernel>.<variant>.<architecture>`."""
        backend, _, chip = self.architecture.partition(":")
        return f"{self.kernel}.{self.variant}.{'sm_' if backend == 'cuda' else ''}{chip}"

    @property
    def key(self) -> str:
        """Digest of everything that the output and its evidence depend on; where the file lies is not part of it."""
        depends = {
            "request": self.model_dump(mode="json", exclude={"path", "timeout_seconds"}),
            "environment": ENVIRONMENT,
            "packages": {package: installed_version(package) for package in PACKAGES},
            "compiler": _own_digest(),
        }
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()

    def unfinished(self) -> KernelRecord:
        """The record without anything that was found out."""
        return KernelRecord(
            kernel=self.kernel,
            variant=self.variant,
            architecture=self.architecture,
            source_digest=self.source_digest,
            sizes=self.sizes,
            tuning=self.tuning,
            tensor_cores_claimed=self.tensor_cores_claimed,
        )


class KernelAnswer(Model):
    """What one compile came to: the record, and the digest of each of its files."""

    record: KernelRecord
    digests: dict[str, Sha256] = {}
    repeatable: bool = True
    """The same request comes to the same again; False for a time limit and for what the machine may have caused."""


class Batch(Model):
    """Requests to one worker; so many compiles run at once."""

    requests: tuple[KernelRequest, ...]
    jobs: Annotated[int, Field(ge=1)]


class Ended(Model):
    """How the process of one compile ended: an exit status, negative for a signal, or the time limit."""

    status: int
    timed_out: bool = False


def installed_version(package: str) -> str:
    """The version of an installed distribution, or "absent"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@cache
def _own_digest() -> str:
    """Digest of this package: what it reads from a binary is part of what it makes."""
    here = Path(__file__).parent
    return hashlib.sha256(b"\0".join((here / f"{name}.py").read_bytes() for name in SOURCES)).hexdigest()
