"""The stages that need the checkpoint: components exported, the reference rollout recorded.

What exports and records needs torch, and is loaded when a stage is not reused.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from porting import __version__
from porting.bundle import digest_file
from porting.errors import UsageError
from porting.kernel_library import kernel_paths
from porting.pipeline.abilities import find_versions
from porting.pipeline.compiling import kernel_export_name
from porting.pipeline.workshop import Stage, Update
from porting.profile import Profile
from porting.record import ComponentRecord, PortRecord, TraceRecord
from porting.tensor_spec import Precision
from porting.trace.storage import write_trace

if TYPE_CHECKING:
    from porting.adapters.world_model import WorldModel

SESSIONS = 2
"""Recorded rollouts; parity reports the worst."""
SEED = 0
"""Of the recorded noise."""
EXPORTERS = ("torch", "onnx", "onnx-ir", "onnxscript")


def export_name(component: str) -> str:
    """The stage's name."""
    return f"export {component}"


def plan_export(model: "WorldModel", component: str, opset: int) -> Stage:
    """The stage that exports one component; its state contract is proved before a file is written."""

    def work(folder: Path) -> Update:
        from porting.export import export_component

        out = folder / "components"
        out.mkdir()
        made = export_component(model, component, out, opset)
        return lambda record: _put_component(record, made)

    return Stage(
        name=export_name(component),
        inputs={
            "checkpoint": model.digest,
            "opset": opset,
            "program": model.program.model_dump(mode="json"),
            "versions": find_versions(EXPORTERS),
            "worldport": __version__,
        },
        work=work,
    )


def plan_kernel_export(model: "WorldModel", component: str, precision: Precision, opset: int | None) -> Stage:
    """The stage that exports a component with its kernels as operators, proved against the plain component.

    Args:
        model: its family computes by kernels.
        component: one of its components.
        precision: of the port.
        opset: of the graph with kernels as functions; None where no target has a use for it.
    """

    def work(folder: Path) -> Update:
        from porting.export.kernel_variant import export_kernel_graph, export_kernel_variant

        export_kernel_variant(model, component, folder / "components", precision)
        if opset is not None:
            export_kernel_graph(model, component, folder / "components", opset, precision)
        return lambda record: record

    return Stage(
        name=kernel_export_name(component),
        inputs={
            "checkpoint": model.digest,
            "kernels": {name: digest_file(path) for name, path in kernel_paths().items()},
            "precision": precision,
            "program": model.program.model_dump(mode="json"),
            "versions": find_versions(("torch", "triton")),
            "worldport": __version__,
            **({} if opset is None else {"graph": [opset, find_versions(EXPORTERS)]}),
        },
        work=work,
    )


def _put_component(record: PortRecord, component: ComponentRecord) -> PortRecord:
    order = [spec.name for spec in record.program.components]
    others = [c for c in record.components if c.name != component.name]
    components = sorted([*others, component], key=lambda c: order.index(c.name))
    return record.model_copy(update={"components": tuple(components)})


def plan_trace(model: "WorldModel", profiles: tuple[Profile, ...], precision: Precision) -> Stage:
    """The stage that records what parity compares with: as many frames as the longest budget asks for.

    Raises:
        UsageError: the world model brings no sessions to record.
    """
    sessions = min(SESSIONS, len(model.samples))
    if sessions == 0:
        raise UsageError(f"{model.name}: has no sample sessions, so no rollout can be compared; add samples")
    samples = max(p.parity.component_samples for p in profiles)
    frames = max(max(p.parity.free_running_frames, p.parity.teacher_forced_frames) for p in profiles)

    def work(folder: Path) -> Update:
        from porting.trace.recorder import record_trace

        trace = record_trace(model, sessions, frames, precision, SEED, component_samples=samples)
        write_trace(trace, folder / "trace")
        made = TraceRecord(
            path="trace",
            sessions=sessions,
            frames=frames,
            precision=precision,
            gold="fp64",
            seed=SEED,
            source=model.sample_source,
        )
        return lambda record: record.model_copy(update={"trace": made})

    def clear(record: PortRecord) -> PortRecord:
        """Every target was compared with the old trace."""
        gone = {"parity": None, "throughput": None, "verdict": None}
        targets = {name: target.model_copy(update=gone) for name, target in record.targets.items()}
        return record.model_copy(update={"trace": None, "targets": targets})

    return Stage(
        name="trace",
        inputs={
            "checkpoint": model.digest,
            "component_samples": samples,
            "frames": frames,
            "precision": precision,
            "program": model.program.model_dump(mode="json"),
            "seed": SEED,
            "sessions": sessions,
            "versions": find_versions(("torch",)),
            "worldport": __version__,
        },
        work=work,
        clear=clear,
    )
