"""AOTInductor on the CPU: a package that torch loads without the module that it was made from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from pydantic import ValidationError

from porting.errors import RunnerError
from porting.program import ComponentSpec
from porting.runners.base import BoundCall, Buffer, check_buffers, check_signature
from porting.runners.eager import as_tensor, copy_outputs
from porting.tensor_spec import Precision

SIGNATURE = "worldport_component"
"""Key of the package's metadata under which the compiler stored the component's names, shapes and dtypes."""


class InductorRunner:
    """One loaded package. It returns fresh tensors, which are copied into the bound buffers."""

    backend = "inductor"

    def __init__(self, path: Path, spec: ComponentSpec, threads: int) -> None:
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
        """See `Runner.bind`."""
        check_buffers(self._spec, inputs, outputs)
        taken = [as_tensor(inputs[t.name]) for t in self._spec.inputs]
        filled = [as_tensor(outputs[t.name]) for t in self._spec.outputs]

        def call() -> None:
            if self._loader is None:
                raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
            with torch.inference_mode():
                try:
                    made = self._loader.run(taken)
                except RuntimeError as cause:
                    raise RunnerError(f"{self._spec.name}: inductor stopped ({cause}); try another backend") from cause
                copy_outputs(self._spec, made, filled)

        return call

    def close(self) -> None:
        """Release the package."""
        self._loader = None


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> InductorRunner:
    """Load a .pt2 package; its precision and its number of threads are in its code.

    Raises:
        RunnerError: it cannot be loaded, or is not this component's.
    """
    del precision
    return InductorRunner(path, spec, threads)
