"""Compiles every component with every backend of a target's profile, each in a child process, each resumable."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from porting import __version__, compilers
from porting.devices import FoundDevice
from porting.errors import CompileError
from porting.host import user_cache
from porting.pipeline.abilities import DISTRIBUTIONS, describe_ability, find_versions
from porting.pipeline.workshop import Stage, Update, Workshop
from porting.record import ArtifactRecord, ChainLink, Host, PortRecord, TargetRecord

PLUGINS = "tensorrt_plugins"
"""The backend that builds with plugins; triton makes them."""
WITH_KERNELS = frozenset({"triton", PLUGINS})
"""Backends that compile a component which computes by kernels."""


def compile_name(target: str, component: str, backend: str) -> str:
    """The stage's name."""
    return f"compile {target} {component} {backend}"


def kernel_export_name(component: str) -> str:
    """The stage that exports a component with its kernels as operators, which the triton backend compiles."""
    return f"export {component} with kernels"


def target_folder(target: str) -> str:
    """Where a target's files stand in a bundle."""
    return f"targets/{target}"


def building(target: TargetRecord) -> tuple[str, ...]:
    """Backends that this host can try for the target, in the profile's order of preference."""
    return tuple(link.backend for link in target.chain if link.builds)


def note_chains(workshop: Workshop, targets: Iterable[str]) -> None:
    """Put each target's fallback chain into the record: what this host can try, and why not the rest."""
    for name in targets:
        ability = describe_ability(workshop.record.targets[name].profile)
        chain = tuple(ChainLink(backend=k.backend, builds=k.builds, reason=k.reason) for k in ability.chain)
        workshop.change(change_target(name, {"chain": chain}))


def takes_plugins(target: TargetRecord) -> bool:
    """True when the target's chain has TensorRT with kernels as plugins, which triton compiles wherever it is."""
    return PLUGINS in target.profile.compile.backends


def plan_compiles(workshop: Workshop, target: str, component: str, host: Host) -> list[tuple[Stage, ...]]:
    """One stage for each backend of the target's chain that builds here; the component has been exported.

    Returns:
        Stages to run one after the other stand together: a backend may build with what another one made.
    """
    made = {
        backend: _plan_compile(workshop, target, component, backend, host)
        for backend in building(workshop.record.targets[target])
    }
    plugins = made.pop(PLUGINS, None)
    groups = {backend: (stage,) for backend, stage in made.items()}
    if plugins is not None:
        groups["triton"] = (*groups.get("triton", ()), plugins)
    return list(groups.values())


def _plan_compile(workshop: Workshop, target: str, component: str, backend: str, host: Host) -> Stage:
    record, components_dir = workshop.record, workshop.bundle.path / "components"
    device, precision = record.targets[target].profile.device, record.targets[target].precision
    opset = {c.name: c.opset for c in record.components}[component]
    with_plugins = backend == "triton" and takes_plugins(record.targets[target])

    def work(folder: Path) -> Update:
        out = folder / target_folder(target)
        out.mkdir(parents=True)
        request = compilers.CompileRequest(
            component=record.program.component(component),
            components_dir=components_dir,
            backend=backend,
            precision=precision,
            opset=opset,
            out_dir=out,
            threads=host.threads,
            architecture=device.architecture,
            with_plugins=with_plugins,
            plugins=_find_plugins(workshop, target, component) if backend == PLUGINS else None,
            timing_cache=timing_cache(backend, describe_ability(record.targets[target].profile).device),
        )
        artifact = compilers.compile_component(request)
        if artifact.error is not None or artifact.path is None:
            raise CompileError(artifact.error or f"{component}: {backend} made no artifact")
        return _put(target, _in_bundle(artifact, folder, out))

    def on_error(error: Exception) -> Update:
        failed = ArtifactRecord(
            component=component, backend=backend, precision=precision, path=None, error=str(error) or repr(error)
        )
        return _put(target, failed)

    return Stage(
        name=compile_name(target, component, backend),
        inputs={
            "device": [device.kind, device.architecture],
            "host": [host.cpu, host.machine] if device.kind == "cpu" else [],
            "opset": opset,
            "precision": precision,
            "threads": host.threads,
            "versions": find_versions(DISTRIBUTIONS.get(backend, ())),
            "worldport": __version__,
            **({"plugins": with_plugins} if backend == "triton" else {}),
        },
        work=work,
        after=_stages_before(target, component, backend),
        on_error=on_error,
    )


def _stages_before(target: str, component: str, backend: str) -> tuple[str, ...]:
    """What an artifact is made from."""
    before = [f"export {component}"]
    if backend in WITH_KERNELS:
        before.append(kernel_export_name(component))
    if backend == PLUGINS:
        before.append(compile_name(target, component, "triton"))
    return tuple(before)


def _find_plugins(workshop: Workshop, target: str, component: str) -> Path | None:
    """The plugins that triton made for the target, here or on another host; None where it made none."""
    name = compile_name(target, component, "triton")
    files = [file for stage in workshop.record.stages if stage.name == name for file in stage.files]
    found = [file for file in files if file.endswith(".plugins.py")]
    return workshop.bundle.path / found[0] if found else None


def timing_cache(backend: str, device: FoundDevice | None) -> Path | None:
    """Where a backend that times kernels keeps the times of that very device and version; None for any other."""
    if backend not in compilers.TIMES_KERNELS or device is None:
        return None
    versions = "-".join(f"{name}-{version}" for name, version in find_versions(DISTRIBUTIONS[backend]).items())
    named = re.sub(r"[^A-Za-z0-9._]+", "-", f"{versions}-{device.name}-{device.architecture}")
    return user_cache("timings") / f"{named}.cache"


def change_target(target: str, fields: Mapping[str, object]) -> Update:
    """An update of some fields of one target's record."""

    def update(record: PortRecord) -> PortRecord:
        changed = record.targets[target].model_copy(update=fields)
        return record.model_copy(update={"targets": {**record.targets, target: changed}})

    return update


def _in_bundle(artifact: ArtifactRecord, folder: Path, out: Path) -> ArtifactRecord:
    """The same artifact with its paths, relative to `out` or absolute, counted from the bundle."""

    def place(path: str) -> str:
        return (out / path).relative_to(folder).as_posix()

    return artifact.model_copy(
        update={
            "path": None if artifact.path is None else place(artifact.path),
            "files": tuple(place(path) for path in artifact.files),
        }
    )


def _put(target: str, artifact: ArtifactRecord) -> Update:
    """Put an artifact among its target's, in the program's order, in place of an older one."""

    def update(record: PortRecord) -> PortRecord:
        old = record.targets[target]
        key = (artifact.component, artifact.backend)
        others = [a for a in old.artifacts if (a.component, a.backend) != key]
        order = [component.name for component in record.program.components]
        artifacts = sorted([*others, artifact], key=lambda a: (order.index(a.component), a.backend))
        return change_target(target, {"artifacts": tuple(artifacts)})(record)

    return update
