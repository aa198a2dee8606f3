"""What is asked of an emulation, as data that crosses process borders, and what names it in a cache."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

import porting
from porting.kernel_compiler.request import ENVIRONMENT, PACKAGES, installed_version
from porting.record import EmulatedKernel, Sha256
from porting.tensor_spec import Model

ANSWER = "answer.json"
EXAMPLES = 2
"""Of a kernel file, the first so many: the second is the first with more than one program and odd sizes."""
WITH_LINES = {**ENVIRONMENT, "TRITON_DISABLE_LINE_INFO": "0"}
"""What the compiler is told: as for binaries, but a fault should name the kernel's source line."""
DECIDING = ("emulation", "emulators", "kernel_library")
"""Packages that decide what comes out."""


class EmulationRequest(Model):
    """One kernel, one variant, one architecture, some of its examples."""

    kernel: str
    path: Path
    source_digest: Sha256
    variant: str
    architecture: Annotated[str, Field(pattern=r"^(cuda:\d+|hip:gfx[0-9a-f]+)$")]
    tuning: dict[str, int]
    examples: tuple[tuple[int, ...], ...]
    cache_dir: Path
    """Of launches that were executed before."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 600.0

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.kernel} in {self.variant} for {self.architecture}"

    @property
    def key(self) -> str:
        """Digest of everything that the outcome depends on; where the file lies is not part of it."""
        depends = {
            "request": self.model_dump(mode="json", exclude={"path", "cache_dir", "timeout_seconds"}),
            "environment": WITH_LINES,
            "packages": {package: installed_version(package) for package in (*PACKAGES, "numpy", "ml_dtypes")},
            "emulator": emulator_digest(),
        }
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()

    def unfinished(self) -> EmulatedKernel:
        """The record without anything that was found out."""
        return EmulatedKernel(
            kernel=self.kernel,
            variant=self.variant,
            architecture=self.architecture,
            source_digest=self.source_digest,
            tuning=self.tuning,
        )


class EmulationBatch(Model):
    """Requests to one worker; so many run at once."""

    requests: tuple[EmulationRequest, ...]
    jobs: Annotated[int, Field(ge=1)]


@cache
def emulator_digest() -> str:
    """Digest of the emulators and of what judges with them."""
    root = Path(porting.__file__).parent
    paths = sorted(path for package in DECIDING for path in (root / package).rglob("*.py"))
    content = b"\0".join(part for path in paths for part in (str(path.relative_to(root)).encode(), path.read_bytes()))
    return hashlib.sha256(content).hexdigest()
