"""The variant with kernels on the device that it was compiled for, or in Triton's interpreter on any CPU.

On a device every binary comes from the artifact: what Triton would have to compile anew is an error, since nothing is
known of it. The interpreter runs the same graph and the same kernels, only not their compiled code.
"""

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from torch.export.passes import move_to_device_pass
from triton import knobs

from porting.errors import BackendMissingError, KernelError, RunnerError
from porting.kernel_library.interpreter import mend_interpreter
from porting.kernel_library.launch_cache import CACHE_SUFFIX, LIST_SUFFIX, LaunchList, install_cache, read_launches
from porting.kernel_library.operators import active_architecture, computing_by, register_operators
from porting.program import ComponentSpec
from porting.runners.base import BoundCall, Buffer, check_buffers
from porting.runners.eager import as_tensor, copy_outputs
from porting.runners.torch_device import capture_call
from porting.tensor_spec import Precision

Graph = Callable[..., Any]


class TritonRunner:
    """One exported variant on one device; a bound call has tensors of its own there."""

    def __init__(
        self, backend: str, graph: Graph, spec: ComponentSpec, device: torch.device, binaries: Path | None
    ) -> None:
        """Take what `open_artifact` or `open_interpreted` loaded.

        Args:
            backend: the name that evidence carries.
            graph: the exported component; takes the inputs in order.
            spec: names, shapes and dtypes.
            device: where the graph's weights lie.
            binaries: the artifact, whose archive the kernels are loaded from; None where nothing is compiled.
        """
        self.backend = backend
        self.uses_graph = False
        """Whether the last call that was bound is a CUDA graph, or kernel after kernel."""
        self._graph: Graph | None = graph
        self._spec, self._device = spec, device
        self._binaries = binaries

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`; on a device, runs the component on what lies in the inputs.

        Raises:
            RunnerError: a name, shape or dtype is not the component's, or a kernel is not in the artifact.
        """
        check_buffers(self._spec, inputs, outputs)
        given = [as_tensor(inputs[tensor.name]) for tensor in self._spec.inputs]
        filled = [as_tensor(outputs[tensor.name]) for tensor in self._spec.outputs]
        taken = given if self._binaries is None else [tensor.to(self._device) for tensor in given]
        run = self._compute if self._binaries is None else self._prepare(taken, self._binaries)

        def call() -> None:
            if self._graph is None:
                raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
            if taken is not given:
                for there, here in zip(taken, given, strict=True):
                    there.copy_(here, non_blocking=True)
            copy_outputs(self._spec, run(taken), filled)

        return call

    def close(self) -> None:
        """Let go of the weights."""
        self._graph = None

    def _compute(self, taken: list[Tensor]) -> list[Tensor]:
        graph = self._graph
        if graph is None:
            raise RunnerError(f"{self._spec.name}: the runner was closed; open it again")
        try:
            with torch.inference_mode(), computing_by("launch"):
                made = graph(*taken)
        except (RuntimeError, ValueError, KernelError) as cause:
            raise RunnerError(f"{self._spec.name}: {self.backend} stopped ({cause}); try another backend") from cause
        return [made] if isinstance(made, Tensor) else list(made)

    def _prepare(self, taken: list[Tensor], binaries: Path) -> Callable[[list[Tensor]], list[Tensor]]:
        """Load every binary from the artifact, then capture the call as a graph where the device can."""
        run, self.uses_graph = capture_call(self._device, self._compute, taken, loaded_from(binaries))
        return run


@contextmanager
def loaded_from(artifact: Path) -> Iterator[None]:
    """Meanwhile Triton finds its binaries in an artifact's archive, and in no other place.

    Raises:
        RunnerError: the archive cannot be unpacked, or a kernel was compiled anew all the same.
    """
    anew: list[str] = []

    def note(*, src: Any, cache_hit: bool, **_: Any) -> None:
        if not cache_hit:
            anew.append(str(src.name))

    with tempfile.TemporaryDirectory(prefix="worldport-triton-") as folder, _environment_of(artifact):
        try:
            install_cache(_beside(artifact, CACHE_SUFFIX), Path(folder))
        except KernelError as cause:
            raise RunnerError(f"{artifact}: {cause}") from cause
        with knobs.cache.scope(), knobs.compilation.scope():
            knobs.cache.dir = folder
            knobs.compilation.listener = note
            yield
    if anew:
        raise RunnerError(
            f"{artifact}: triton {triton.__version__} compiled {len(anew)} anew ({', '.join(sorted(set(anew)))});"
            " the artifact's are for another launch; compile the component again"
        )


@contextmanager
def _environment_of(artifact: Path) -> Iterator[None]:
    """Meanwhile the variables stand as when the artifact was compiled: they are part of what Triton looks up."""
    try:
        wanted = read_launches(_beside(artifact, LIST_SUFFIX)).environment
    except KernelError as cause:
        raise RunnerError(f"{artifact}: {cause}") from cause
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def open_artifact(path: Path, spec: ComponentSpec, threads: int, precision: Precision) -> TritonRunner:
    """Load a variant and the binaries of its kernels onto the device.

    Raises:
        BackendMissingError: there is no device, or another one than the artifact's.
        RunnerError: the artifact is not this component's, or was compiled with other kernels or another Triton.
    """
    del threads
    launches = _read_list(path, spec, precision)
    where = f"{spec.name} on triton"
    if not torch.cuda.is_available():
        raise BackendMissingError(
            f"{where}: torch {torch.__version__} sees no device; run it on a host with {launches.architecture} and a"
            " torch that was built for it"
        )
    found = active_architecture()
    if found != launches.architecture:
        raise BackendMissingError(
            f"{where}: compiled for {launches.architecture}, the device is {found}; run it on a host that has one"
        )
    device = torch.device("cuda", torch.cuda.current_device())
    program = move_to_device_pass(_load(path), device)
    return TritonRunner("triton", program.module(), spec, device, path)


def open_interpreted(path: Path, spec: ComponentSpec) -> TritonRunner:
    """Open an exported variant on this CPU, its kernels run by the mended interpreter.

    The process has set TRITON_INTERPRET=1 before triton was imported, and compiles nothing.

    Raises:
        RunnerError: the file cannot be loaded, or this process compiles kernels.
    """
    try:
        mend_interpreter()
    except KernelError as cause:
        raise RunnerError(f"{spec.name}: {cause}") from cause
    return TritonRunner("triton interpreter", _load(path).module(), spec, torch.device("cpu"), None)


def _read_list(path: Path, spec: ComponentSpec, precision: Precision) -> LaunchList:
    """The artifact's launches, held against this component, these kernels and this Triton."""
    try:
        launches = read_launches(_beside(path, LIST_SUFFIX))
        kernels = register_operators()
    except KernelError as cause:
        raise RunnerError(f"{spec.name}: {cause}") from cause
    if (launches.component, launches.precision) != (spec.name, precision):
        raise RunnerError(
            f"{path}: is {launches.component}'s in {launches.precision}, not {spec.name}'s in {precision}; compile the"
            " component again"
        )
    changed = [name for name, sha in launches.kernels.items() if name not in kernels or kernels[name].digest != sha]
    if changed:
        raise RunnerError(f"{path}: kernels {', '.join(changed)} are not those here; compile the component again")
    if launches.triton != triton.__version__:
        raise RunnerError(
            f"{path}: compiled by triton {launches.triton}, here is {triton.__version__}; install triton"
            f" {launches.triton} or compile the component again"
        )
    return launches


def _load(path: Path) -> torch.export.ExportedProgram:
    try:
        register_operators()
        return torch.export.load(path)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, KernelError) as cause:
        raise RunnerError(f"{path}: cannot be loaded as an exported program ({cause}); export it again") from cause


def _beside(path: Path, suffix: str) -> Path:
    """The artifact's other file: `<component>.triton<suffix>`."""
    return path.with_name(path.name.removesuffix(".pt2") + suffix)
