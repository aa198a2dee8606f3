"""The last stages: a verdict for each target, and the report's files. Both come from the record alone."""

from collections.abc import Sequence

from porting import content, report, verdict
from porting.bundle import add_stage, forget_stage
from porting.pipeline.abilities import describe_ability
from porting.pipeline.compiling import WITH_KERNELS, change_target, compile_name, kernel_export_name
from porting.pipeline.emulating import KernelEmulation
from porting.pipeline.interpreting import NAME as INTERPRETING
from porting.pipeline.kernels import kernels_name
from porting.pipeline.workshop import Workshop
from porting.record import LADDER, Check, Outcome, PortRecord, StageRecord, Step, Verdict
from porting.record.history import TargetTrend

REPORT_FILES = ("report.html", "report.md")


def judge(record: PortRecord, target: str) -> Verdict:
    """The evidence of one target against its budgets; a stage that broke fails it, whatever the others found out."""
    profile = record.targets[target].profile
    highest = describe_ability(profile).highest or Step.EXPORTED
    found = verdict.judge_target(record, target, highest)
    broken = tuple(_broken_stages(record, target))
    if not broken:
        return found
    lowest = min(LADDER.index(check.step) for check in broken)
    reached = found.reached if found.reached is not None and LADDER.index(found.reached) < lowest else None
    if reached is None and lowest > 0:
        reached = LADDER[lowest - 1] if found.reached is not None else None
    return Verdict(
        outcome=Outcome.FAILED,
        reached=reached,
        highest_possible=found.highest_possible,
        checks=(*found.checks, *broken),
    )


def _broken_stages(record: PortRecord, target: str) -> list[Check]:
    steps = {f"export {component.name}": Step.EXPORTED for component in record.program.components}
    if any(artifact.backend in WITH_KERNELS for artifact in record.targets[target].artifacts):
        steps |= {kernel_export_name(component.name): Step.COMPILED for component in record.program.components}
        steps |= {INTERPRETING: Step.ATTESTED}
    steps |= {kernels_name(target): Step.ATTESTED, f"{KernelEmulation.purpose} {target}": Step.ATTESTED}
    steps |= {"trace": Step.PARITY, f"parity {target}": Step.PARITY, f"throughput {target}": Step.THROUGHPUT}
    return [
        Check(
            step=steps[stage.name],
            name="stage ran to its end",
            subject=stage.name,
            outcome=Outcome.FAILED,
            reason=f"{stage.name} broke: {stage.error.strip().splitlines()[-1]}",
        )
        for stage in record.stages
        if stage.error is not None and stage.name in steps
    ]


def judge_all(workshop: Workshop, targets: tuple[str, ...]) -> None:
    """Put a verdict into each target's record."""
    for target in targets:
        workshop.change(change_target(target, {"verdict": judge(workshop.record, target)}))


def prune_artifacts(record: PortRecord, target: str) -> PortRecord:
    """The record without the artifacts and stages of backends or components that the target no longer has."""
    old = record.targets[target]
    components = {component.name for component in record.program.components}
    kept = []
    for artifact in old.artifacts:
        if artifact.component in components and artifact.backend in old.profile.compile.backends:
            kept.append(artifact)
        else:
            record = forget_stage(record, compile_name(target, artifact.component, artifact.backend))
    return change_target(target, {"artifacts": tuple(kept)})(record)


def write_reports(workshop: Workshop, trends: Sequence[TargetTrend] = ()) -> None:
    """Render report.html (with `trends`) and report.md from the record as it is now, and list them in it."""
    record = forget_stage(workshop.record, "report")
    html, markdown = REPORT_FILES
    folder, templates = workshop.bundle.path, content.folder("reports")
    files = (
        workshop.bundle.write_text(html, report.render_html(record, folder, templates, trends)),
        workshop.bundle.write_text(markdown, report.render_markdown(record, folder, templates)),
    )
    stage = StageRecord(name="report", key="0" * 64, seconds=0.0, files=REPORT_FILES)
    workshop.change(lambda _: add_stage(record, stage, files))
