"""The stage that proves the kernels' source without a device: a short rollout in Triton's interpreter."""

from pathlib import Path

from porting import __version__
from porting.bundle import digest_file
from porting.kernel_library import kernel_paths
from porting.pipeline.abilities import find_versions
from porting.pipeline.compiling import kernel_export_name
from porting.pipeline.workshop import Stage, Update, Workshop
from porting.profile import ParityBudget
from porting.record import PortRecord

NAME = "interpret kernels"
FOLDER = "interpreted"
FRAMES, SAMPLES = 2, 1
"""The second frame is the first to read what a frame of kernels wrote. The interpreter takes about a second a call."""


def plan_interpreting(workshop: Workshop, budget: ParityBudget) -> Stage:
    """One stage for all targets: what is interpreted is the kernels' source, not what was compiled from it.

    Args:
        workshop: its bundle has the trace, and every component with its kernels.
        budget: what decides the first failing frame.
    """
    record, bundle = workshop.record, workshop.bundle.path
    (precision,) = {target.precision for target in record.targets.values()}

    def work(folder: Path) -> Update:
        from porting.parity.interpreted import InterpretedRequest, measure_interpreted

        out = folder / FOLDER
        out.mkdir()
        request = InterpretedRequest(
            program=record.program,
            components_dir=bundle / "components",
            trace_dir=bundle / "trace",
            out_dir=out,
            bundle_folder=FOLDER,
            budget=budget,
            precision=precision,
            frames=FRAMES,
            samples=SAMPLES,
        )
        evidence = measure_interpreted(request)
        return lambda changed: changed.model_copy(update={"interpreted": evidence})

    def clear(changed: PortRecord) -> PortRecord:
        return changed.model_copy(update={"interpreted": None})

    return Stage(
        name=NAME,
        inputs={
            "budget": budget.model_dump(mode="json"),
            "frames": FRAMES,
            "samples": SAMPLES,
            "kernels": {name: digest_file(path) for name, path in kernel_paths().items()},
            "precision": precision,
            "versions": find_versions(("torch", "triton", "numpy")),
            "worldport": __version__,
        },
        work=work,
        after=("trace", *(kernel_export_name(component.name) for component in record.program.components)),
        clear=clear,
        on_error=lambda _: clear,
    )
