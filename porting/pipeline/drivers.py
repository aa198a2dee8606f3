"""Opens PyTorch's own ways of driving a rollout, to compare the port with: eager, and torch.compile."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from porting.errors import BackendMissingError
from porting.pipeline.abilities import find_version
from porting.pipeline.measuring import Driver
from porting.program import Program
from porting.record import PortRecord
from porting.runners.base import Runner
from porting.tensor_spec import Precision

Modules = Callable[[], Mapping[str, Any]]
"""Loads one torch module a component, when the first driver is opened."""


def eager_drivers(program: Program, modules: Modules, precision: Precision) -> dict[str, Driver]:
    """PyTorch eager and torch.compile by name, each a function that opens one runner a component."""

    def driver(compile: bool) -> Driver:
        def open_all() -> Mapping[str, Runner]:
            try:
                from porting.runners import eager  # torch is loaded only where it is measured
            except ImportError as cause:
                raise BackendMissingError(f"PyTorch: cannot be imported ({cause}); install torch to compare") from cause
            loaded = modules()
            return {s.name: eager.TorchRunner(loaded[s.name], s, precision, compile) for s in program.components}

        return open_all

    return {"eager": driver(False), "torch.compile": driver(True)}


def bundled_drivers(record: PortRecord, folder: Path, precision: Precision) -> dict[str, Driver]:
    """The same from the bundle's exported programs, without the checkpoint; none where torch is not installed."""
    if find_version("torch") is None:
        return {}

    def modules() -> Mapping[str, Any]:
        from porting.runners import exported  # after `eager`, which says what is missing

        return {
            component.name: exported.load_module((folder / component.path).with_suffix(".pt2"))
            for component in record.components
        }

    return eager_drivers(record.program, modules, precision)
