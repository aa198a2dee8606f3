"""Compiled and attested: every component has one chosen artifact, and it holds the precision that was asked for."""

from porting.program import Program
from porting.record import ArtifactRecord, Check, Outcome, Step, TargetRecord
from porting.tensor_spec import UNIT_ROUNDOFF, Precision
from porting.verdict.evidence import check_complete, failed, not_measured, passed, say_names

PRECISION_KEPT = "precision is what was asked for"
PRECISION_NAMES: dict[str, Precision] = {
    "double": "fp64",
    "f64": "fp64",
    "float64": "fp64",
    "fp64": "fp64",
    "f32": "fp32",
    "float": "fp32",
    "float32": "fp32",
    "fp32": "fp32",
    "f16": "fp16",
    "float16": "fp16",
    "fp16": "fp16",
    "half": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
}
"""What runtimes call them, in lower case."""
NARROW = (
    *("float8", "fp8", "f8", "e4m3", "e5m2"),
    *("float4", "fp4", "f4", "nvfp4", "mxfp4"),
    *("int8", "i8", "int4", "i4", "tf32"),
)
"""Beginnings of names of what no port asks for yet: wherever one is computed in, precision was lost unasked."""


def check_artifacts(program: Program, target: TargetRecord) -> tuple[Check, ...]:
    """Checks of step `compiled`."""
    step = Step.COMPILED
    if not target.artifacts:
        return (not_measured(step, "artifacts", "target", "No component was compiled."),)
    wanted = {component.name for component in program.components}
    strangers = sorted({artifact.component for artifact in target.artifacts} - wanted)
    checks = [_check_choice(name, target) for name in (component.name for component in program.components)]
    if strangers:
        reason = f"There are artifacts of {say_names(strangers)}, which the program does not have."
        checks.append(failed(step, "artifacts", "target", reason))
    return tuple(checks)


def find_chosen(target: TargetRecord, component: str) -> ArtifactRecord | None:
    """The one chosen artifact of a component; None when there is none or more than one."""
    chosen = [a for a in target.artifacts if a.component == component and a.chosen]
    return chosen[0] if len(chosen) == 1 else None


def find_candidates(target: TargetRecord, component: str) -> list[ArtifactRecord]:
    """What may drive a component: the chosen artifacts, or all that compiled while none was tried on a device yet."""
    made = [a for a in target.artifacts if a.component == component]
    chosen = [a for a in made if a.chosen]
    if chosen or target.parity is not None:
        return chosen
    return [a for a in made if a.path is not None and not a.error]


def _check_choice(component: str, target: TargetRecord) -> Check:
    """One chosen artifact that compiled, at the target's precision; on a host without the device, at least one."""
    step, name = Step.COMPILED, "has an artifact"
    made = [a for a in target.artifacts if a.component == component]
    candidates = find_candidates(target, component)
    if not candidates or sum(a.chosen for a in candidates) > 1:
        causes = "; ".join(f"{a.backend}: {a.error}" for a in made if a.error)
        reason = f"{component}: {len(candidates)} of {len(made)} artifacts are chosen, one is needed. {causes}"
        return failed(step, name, component, reason.strip())
    for artifact in candidates:
        of_backend = f"{component}: the artifact of {artifact.backend}"
        if artifact.path is None or artifact.error:
            return failed(step, name, component, f"{of_backend} is not there ({artifact.error or 'no path'}).")
        if artifact.precision != target.precision:
            reason = f"{of_backend} was compiled for {artifact.precision}, not {target.precision}."
            return failed(step, name, component, reason)
        complete = check_complete(step, f"{component} ({artifact.backend})", artifact, frozenset({"attestation"}))
        if complete.outcome is not Outcome.PASSED:
            return complete
    backends = say_names([artifact.backend for artifact in candidates])
    state = "is chosen" if candidates[0].chosen else "compiled, and none was tried on the device yet,"
    fallback = explain_fallback(target, component)
    reason = f"{component}: {backends} {state} of {len(made)} artifacts, at {target.precision}.{fallback}"
    return passed(step, name, component, reason)


def explain_fallback(target: TargetRecord, component: str) -> str:
    """Which backends the profile prefers to the first that compiled, each with why it did not; empty without any."""
    made = {a.backend: a for a in target.artifacts if a.component == component}
    skipped = []
    for link in target.chain:
        artifact = made.get(link.backend)
        if artifact is not None and artifact.path is not None and not artifact.error:
            break
        skipped.append(f"{link.backend} ({artifact.error if artifact is not None and artifact.error else link.reason})")
    return f" In place of {'; '.join(skipped)}." if skipped and any(a.path for a in made.values()) else ""


def check_attestations(program: Program, target: TargetRecord) -> tuple[Check, ...]:
    """Checks of step `attested`, one for each artifact that may drive a component."""
    checks = []
    for component in program.components:
        candidates = find_candidates(target, component.name)
        if not candidates:
            reason = f"{component.name}: there is no artifact to read anything back from."
            checks.append(not_measured(Step.ATTESTED, PRECISION_KEPT, component.name, reason))
        checks += [_check_attestation(artifact, target.precision) for artifact in candidates]
    return tuple(checks)


def _check_attestation(artifact: ArtifactRecord, asked: Precision) -> Check:
    """The precision that was asked for is there, and nothing computes in less."""
    step, name, component = Step.ATTESTED, PRECISION_KEPT, artifact.component
    found = artifact.attestation
    if found is None:
        reason = f"{component}: nothing was read back from the artifact of {artifact.backend}."
        return not_measured(step, name, component, reason)
    complete = check_complete(step, f"{component} ({artifact.backend})", found, frozenset({"launches"}))
    if complete.outcome is not Outcome.PASSED:
        return complete
    layers = found.layers_by_precision
    said = ", ".join(f"{count} in {precision}" for precision, count in layers.items())
    said = f"{component} ({artifact.backend}): {found.read_from} has layers {said}"
    if found.precision_asked != asked:
        return failed(step, name, component, f"{said}; {found.precision_asked} was asked of it, not {asked}.")
    names = {precision: PRECISION_NAMES.get(precision.lower()) for precision, count in layers.items() if count > 0}
    if asked not in names.values() or sum(found.layers_by_backend.values()) <= 0:
        return failed(step, name, component, f"{said}; none computes in {asked}, which was asked for.")
    lossy = [
        precision
        for precision, known in names.items()
        if (known is not None and UNIT_ROUNDOFF[known] > UNIT_ROUNDOFF[asked]) or precision.lower().startswith(NARROW)
    ]
    if lossy:
        return failed(step, name, component, f"{said}; {say_names(lossy)} is less than {asked}, which was asked for.")
    return passed(step, name, component, f"{said}; asked for was {asked}.")
