"""AOTInductor on the CPU or a GPU: a package that torch loads without the module that it was made from.

On a GPU a bound call has tensors of its own there. That path is written against torch's documented interface and has
run on no device.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from pydantic import ValidationError
from torch import Tensor

from porting.errors import BackendMissingError, RunnerError
from porting.program import ComponentSpec
from porting.runners.base import BoundCall, Buffer, check_buffers, check_signature
from porting.runners.eager import as_tensor, copy_outputs
from porting.runners.torch_device import Compute, capture_call
from porting.tensor_spec import Precision

SIGNATURE = "worldport_component"
"""Key of the package's metadata under which the compiler stored the component's names, shapes and dtypes."""
ARCHITECTURE = "worldport_architecture"
"""Key for the GPU that it was built on; a package for a CPU has none."""


class InductorRunner:
    """One loaded package. It returns fresh tensors, which are copied into the bound buffers."""

    backend = "inductor"

    def __init__(self, path: Path, spec: ComponentSpec, threads: int) -> None:
        self._device = require_torch_device(path, spec)
        self.uses_graph = False
        """Whether the last call that was bound is a CUDA graph."""
        torch.set_num_threads(threads)
        try:
            package = torch._inductor.aoti_load_package(str(path), run_single_threaded=True)
        except RuntimeError as cause:
            raise RunnerError(f"{spec.name}: {path} cannot be loaded ({cause}); compile the component again") from cause
        # The package's own call flattens and checks trees in Python at every call; its loader takes the tensors.
        self._loader: Any = package.loader
        self._spec = spec
        self._check(path)

    def _check(self, path: Path) -> None:
        metadata = self._loader.get_metadata()
        try:
            stored = ComponentSpec.model_validate(json.loads(metadata.get(SIGNATURE, "{}")))
        except (json.JSONDecodeError, ValidationError) as cause:
            raise RunnerError(f"{path}: does not say what it takes and makes; compile the component again") from cause
        check_signature(self._spec, stored.inputs, stored.outputs)
        names = [[t.name for t in tensors] for tensors in (stored.inputs, self._spec.inputs)]
        if names[0] != names[1] or [t.name for t in stored.outputs] != [t.name for t in self._spec.outputs]:
            raise RunnerError(f"{path}: its tensors come in another order; compile the component again")

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`; on a device, runs the component on what lies in the inputs."""
        check_buffers(self._spec, inputs, outputs)
        given = [as_tensor(inputs[t.name]) for t in self._spec.inputs]
        filled = [as_tensor(outputs[t.name]) for t in self._spec.outputs]
        taken: list[Tensor] = given
        run: Compute = self._compute
        if self._device is not None:
            taken = [tensor.to(self._device) for tensor in given]
            run, self.uses_graph = capture_call(self._device, self._compute, taken)

        def call() -> None:
            if self._loader is None:
                raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
            with torch.inference_mode():
                if taken is not given:
                    for there, here in zip(taken, given, strict=True):
                        there.copy_(here, non_blocking=True)
                copy_outputs(self._spec, run(taken), filled)

        return call

    def _compute(self, taken: list[Tensor]) -> list[Tensor]:
        if self._loader is None:
            raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
        try:
            with torch.inference_mode():
                return list(self._loader.run(taken))
        except RuntimeError as cause:
            raise RunnerError(f"{self._spec.name}: inductor stopped ({cause}); try another backend") from cause

    def close(self) -> None:
        """Release the package."""
        self._loader = None


def require_torch_device(path: Path, spec: ComponentSpec) -> torch.device | None:
    """The device that a package was built on; None for a CPU.

    Raises:
        BackendMissingError: torch sees no such device.
        RunnerError: the package cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as package:
            told = [json.loads(package.read(n)) for n in package.namelist() if n.endswith("_metadata.json")]
    except (OSError, ValueError, zipfile.BadZipFile) as cause:
        raise RunnerError(f"{spec.name}: {path} cannot be loaded ({cause}); compile the component again") from cause
    wanted = next((str(table[ARCHITECTURE]) for table in told if ARCHITECTURE in table), None)
    if wanted is None:
        return None
    where = f"{spec.name} on inductor"
    if not torch.cuda.is_available():
        raise BackendMissingError(
            f"{where}: torch {torch.__version__} sees no device; run it on a host with {wanted} and a torch that was"
            " built for it"
        )
    device = torch.device("cuda", torch.cuda.current_device())
    found = name_device(device)
    if found != wanted:
        raise BackendMissingError(f"{where}: built on {wanted}, the device is {found}; run it on a host that has one")
    # Convolutions of float32 would otherwise keep 11 of their 24 bits: the flag is read at every call.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return device


def name_device(device: torch.device) -> str:
    """What profiles call a device of torch: sm_120, gfx950. ROCm's torch calls it cuda too."""
    if torch.version.hip is not None:
        return str(torch.cuda.get_device_properties(device).gcnArchName).partition(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> InductorRunner:
    """Load a .pt2 package; its precision and its number of threads are in its code.

    Raises:
        BackendMissingError: it was built on a device that is not here.
        RunnerError: it cannot be loaded, or is not this component's.
    """
    del precision
    return InductorRunner(path, spec, threads)
