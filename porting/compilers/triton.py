"""Triton: the component with its kernels as operators, and every kernel that it launches compiled for one architecture.

What is compiled is what the exported graph launches, on stand-ins of the tensors that the graph gives it: the same
shapes, dtypes, strides and offsets, no values. Nothing of the graph but its kernels is computed.
"""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor, fx
from torch.export import ExportedProgram
from triton._C.libtriton import get_cache_invalidating_env_vars
from triton.errors import TritonError

from porting.compilers.base import INTEGER, CompileRequest, require_precision, require_static
from porting.compilers.kernel_calls import KernelCall, find_kernel_calls, make_stand_ins, name_architecture
from porting.compilers.plugins import write_plugins
from porting.errors import CompileError, KernelError
from porting.kernel_compiler import amd, nvidia
from porting.kernel_compiler.evidence import CompiledCode, StaticEvidence, claims_tensor_cores
from porting.kernel_compiler.offline import BINARIES, TEXTS, Launch, NamedTarget, make_target, recorded_launches
from porting.kernel_compiler.request import ENVIRONMENT
from porting.kernel_library.launch_cache import (
    CACHE_SUFFIX,
    LIST_SUFFIX,
    CompiledLaunch,
    LaunchList,
    pack_cache,
    write_launches,
)
from porting.kernel_library.operators import computing_by, register_operators, registered_kernel
from porting.record import Attestation, LaunchRecord
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

READERS = {"cuda": nvidia.read_evidence, "hip": amd.read_evidence}
PRECISIONS: dict[torch.dtype, Precision] = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
}
KERNEL, LIBRARY = "triton kernel", "torch library call"


@dataclass(frozen=True)
class Compiled:
    """One launch as it was compiled, with what stands in its binary."""

    call: KernelCall
    variant: str
    tuning: dict[str, int]
    launch: Launch
    binary: bytes
    evidence: StaticEvidence

    @property
    def entry(self) -> Path:
        """Its folder in Triton's cache; the name is the key."""
        return Path(next(iter(self.launch.compiled.metadata_group.values()))).parent


def compile_artifact(request: CompileRequest) -> tuple[tuple[Path, ...], Attestation]:
    """Write `<component>.triton.pt2`, `.triton.cache.tar` with all its binaries, and `.triton.launches.json`.

    Asked to, also `.triton.plugins.py`: the same kernels as TensorRT plugins.

    The process compiles from here on: its environment and Triton's driver are set for this architecture.

    Raises:
        CompileError: the architecture cannot take a kernel, a kernel does not compile, or a binary is for another one.
    """
    architecture = name_architecture(request)
    require_precision(request, ("fp32", "fp16", "bf16"))
    require_static(request)
    source, artifact = request.source(".triton.pt2"), request.artifact(".pt2")
    try:
        register_operators()
        program = torch.export.load(source)
    except (RuntimeError, ValueError, OSError, zipfile.BadZipFile, KernelError) as cause:
        raise CompileError(f"{request.where}: {source.name} cannot be loaded ({cause}); export it again") from cause
    calls = find_kernel_calls(program)
    if not calls:
        raise CompileError(f"{request.where}: {source.name} launches no kernel; use another backend")
    with tempfile.TemporaryDirectory(prefix="worldport-triton-") as folder:
        compiled = compile_calls(request, architecture, calls, Path(folder))
        entries = [
            Path(folder) / Path(next(iter(c.launch.compiled.metadata_group.values()))).parent.name for c in compiled
        ]
        pack_cache(entries, request.artifact(CACHE_SUFFIX))
        # While Triton's cache still has the binaries, which the plugins are made of as well.
        plugins, said = write_plugins(request, calls) if request.with_plugins else (None, "")
    write_launches(list_launches(request, architecture, compiled), request.artifact(LIST_SUFFIX))
    _place(source, artifact)
    files = (artifact, request.artifact(CACHE_SUFFIX), request.artifact(LIST_SUFFIX))
    attestation = attest(request, program, compiled)
    if request.with_plugins:
        attestation = attestation.model_copy(update={"detail": {**attestation.detail, "tensorrt plugins": said}})
    return (*files, *([] if plugins is None else [plugins])), attestation


def compile_calls(request: CompileRequest, architecture: str, calls: list[KernelCall], cache: Path) -> list[Compiled]:
    """Compile what every call launches, into a Triton cache of its own.

    Raises:
        CompileError: a kernel does not support the architecture, does not compile, or came out for another one.
    """
    target = make_target(architecture)
    os.environ.update(ENVIRONMENT, TRITON_CACHE_DIR=str(cache))
    triton.runtime.driver.set_active(NamedTarget(target))
    found: dict[str, Compiled] = {}
    compiled = []
    for call in calls:
        inputs = make_stand_ins(call.node)
        variant = str(call.kernel.variant_of(inputs)).removeprefix("torch.")
        reasons = call.kernel.unsupported
        if reason := reasons.get(architecture) or reasons.get(f"{architecture} {variant}"):
            raise CompileError(f"{request.where}: {call.kernel.name} in {variant}: {reason}; use another backend")
        tuning = call.kernel.tuning_for(architecture, call.kernel.variant_of(inputs))
        for launch, log in _compile_call(request, call, inputs):
            known = found.get(launch.compiled.hash)
            binary = launch.compiled.asm[BINARIES[target.backend]]
            evidence = known.evidence if known else _read_evidence(request, architecture, variant, launch, binary, log)
            made = Compiled(call, variant, tuning, launch, binary, evidence)
            found.setdefault(launch.compiled.hash, made)
            compiled.append(made)
    return compiled


def _compile_call(request: CompileRequest, call: KernelCall, inputs: tuple[Any, ...]) -> Iterator[tuple[Launch, str]]:
    """The launches of one operator, compiled and not run, and what the assembler said."""
    log = io.StringIO()
    try:
        with recorded_launches() as launches, contextlib.redirect_stdout(log), computing_by("launch"):
            call.node.target(*inputs, **call.node.kwargs)  # type: ignore[operator]
    except (RuntimeError, ValueError, KernelError, TritonError) as cause:
        words = str(cause).strip().splitlines()
        raise CompileError(
            f"{request.where}: {call.kernel.name} does not compile ({words[-1] if words else type(cause).__name__});"
            " list the architecture in its UNSUPPORTED, or use another backend"
        ) from cause
    if not launches:
        raise CompileError(f"{request.where}: {call.kernel.name} launches nothing; correct its launch")
    yield from ((launch, log.getvalue()) for launch in launches)


def _read_evidence(
    request: CompileRequest, architecture: str, variant: str, launch: Launch, binary: bytes, log: str
) -> StaticEvidence:
    """What stands in a binary.

    Raises:
        CompileError: it is for another architecture than was asked for.
    """
    backend = architecture.partition(":")[0]
    facts = launch.compiled.metadata
    evidence = READERS[backend](
        CompiledCode(
            architecture=architecture,
            variant=variant,
            binary=binary,
            text=launch.compiled.asm[TEXTS[backend]],
            symbol=facts.name,
            warps=facts.num_warps,
            shared_bytes=facts.shared,
            tensor_memory_columns=getattr(facts, "tmem_size", None) or 0,
            log=log,
        )
    )
    if evidence.architecture_found != architecture:
        raise CompileError(
            f"{request.where}: {facts.name} came out for {evidence.architecture_found}, not {architecture};"
            " use a Triton that knows the architecture"
        )
    return evidence


def list_launches(request: CompileRequest, architecture: str, compiled: list[Compiled]) -> LaunchList:
    """The launches as the bundle keeps them, each specialisation once."""
    counts = Counter(c.entry.name for c in compiled)
    first = {c.entry.name: c for c in reversed(compiled)}
    kernels = {c.call.kernel.name: c.call.kernel.digest for c in compiled}
    return LaunchList(
        component=request.component.name,
        architecture=architecture,
        precision=request.precision,
        triton=triton.__version__,
        environment=dict(sorted(get_cache_invalidating_env_vars().items())),
        kernels=dict(sorted(kernels.items())),
        launches=tuple(_describe(first[key], count) for key, count in counts.items()),
    )


def _describe(made: Compiled, launches: int) -> CompiledLaunch:
    compiled, facts = made.launch.compiled, made.launch.compiled.metadata
    names = list(compiled.src.signature)
    return CompiledLaunch(
        kernel=made.call.kernel.name,
        variant=made.variant,
        launches=launches,
        key=made.entry.name,
        symbol=facts.name,
        signature={name: str(kind) for name, kind in compiled.src.signature.items()},
        constants={names[path[0]]: str(value) for path, value in compiled.src.constants.items()},
        tuning=made.tuning,
        grid=made.launch.grid,
        warps=facts.num_warps,
        shared_bytes=facts.shared,
        binary_sha256=hashlib.sha256(made.binary).hexdigest(),
        architecture_found=str(made.evidence.architecture_found),
        registers=made.evidence.registers,
        spill_store_bytes=made.evidence.spill_store_bytes,
    )


def attest(request: CompileRequest, program: ExportedProgram, compiled: list[Compiled]) -> Attestation:
    """Count the graph's kernels and library calls, each with the coarsest floating type that it takes or makes."""
    computing = [node for node in program.graph.nodes if node.op == "call_function" and _computes(node)]
    library = Counter(str(node.target) for node in computing if registered_kernel(node.target) is None)
    kernels = Counter(c.call.kernel.name for c in compiled)
    binaries = {c.launch.compiled.hash: c.evidence for c in compiled}
    spilled = [evidence.spill_store_bytes for evidence in binaries.values()]
    return Attestation(
        precision_asked=request.precision,
        layers_by_precision=dict(Counter(node_precision(node) for node in computing)),
        layers_by_backend={KERNEL: kernels.total(), LIBRARY: library.total()},
        launches=record_launches(compiled),
        detail={
            "kernels": ", ".join(f"{name} {count}" for name, count in sorted(kernels.items())),
            "binaries": str(len(binaries)),
            "architecture in the binaries": ", ".join(sorted({str(e.architecture_found) for e in binaries.values()})),
            "spilled bytes": "not reported" if None in spilled else str(sum(size or 0 for size in spilled)),
            "library calls": ", ".join(f"{name} {count}" for name, count in library.most_common()),
            "versions": f"triton {triton.__version__}, torch {torch.__version__}",
        },
        read_from="exported graph and ELF files of its kernels",
    )


def record_launches(compiled: list[Compiled]) -> tuple[LaunchRecord, ...]:
    """Every specialisation that is launched, once for each grid, with what its binary holds."""
    places = [(c.launch.compiled.hash, tuple(c.launch.grid)) for c in compiled]
    counts, first = Counter(places), dict(zip(reversed(places), reversed(compiled), strict=True))
    return tuple(
        LaunchRecord(
            kernel=made.call.kernel.name,
            variant=made.variant,
            launches=counts[place],
            grid=made.launch.grid,
            tuning=made.tuning,
            tensor_cores_claimed=claims_tensor_cores(made.call.kernel.tensor_cores, made.variant),
            registers=made.evidence.registers,
            spill_store_bytes=made.evidence.spill_store_bytes,
            spill_load_bytes=made.evidence.spill_load_bytes,
            scratch_bytes=made.evidence.scratch_bytes,
            scalar_spills=made.evidence.scalar_spills,
            instructions=made.evidence.instructions,
            tensor_instructions=made.evidence.tensor_instructions,
            native_tensor_instructions=made.evidence.native_tensor_instructions,
            unknown=made.evidence.unknown,
        )
        for place, made in ((place, first[place]) for place in counts)
    )


def node_precision(node: fx.Node) -> str:
    """The coarsest floating type among a node's tensors; `integer` when there is none."""
    values: list[Any] = [argument.meta.get("val") for argument in node.all_input_nodes]
    made = node.meta.get("val")
    values += made if isinstance(made, list | tuple) else [made]
    found = [PRECISIONS[v.dtype] for v in values if isinstance(v, Tensor) and v.dtype in PRECISIONS]
    return max(found, key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)


def _computes(node: fx.Node) -> bool:
    """False for what only names memory that is there: views, and the parts of a tuple."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    returns = node.target._schema.returns
    return not all(value.alias_info is not None and not value.alias_info.is_write for value in returns)


def _place(source: Path, artifact: Path) -> None:
    """The exported program beside its binaries: the same file where the file system can, else a copy."""
    try:
        os.link(source, artifact)
    except OSError:
        shutil.copyfile(source, artifact)
