"""Attested, for a component's own launches of kernels: values in registers, matrix units where the file claims them.

A kernel may be sound for the sizes that its file has as typical and spill for a component's: these are the launches
that will run.
"""

from collections.abc import Callable, Iterable

from porting.program import Program
from porting.record import ArtifactRecord, Attestation, Check, LaunchRecord, Outcome, Step, TargetRecord
from porting.verdict.artifacts import find_candidates
from porting.verdict.evidence import failed, not_measured, passed
from porting.verdict.kernels import Finding, find_matrix_units, find_spills

LAUNCHES = "launches keep their values in registers"
MATRIX_UNITS = "launches use matrix units"
KERNELS = "triton kernel"
"""How attestations count launches."""


def check_launches(program: Program, target: TargetRecord) -> tuple[Check, ...]:
    """Checks of step `attested`, for each artifact that may drive a component and launches kernels of its own."""
    checks = []
    for component in program.components:
        for artifact in find_candidates(target, component.name):
            found = artifact.attestation
            if found is not None and (found.launches or found.layers_by_backend.get(KERNELS, 0)):
                checks += _check_artifact(target.profile.name, artifact, found)
    return tuple(checks)


def _check_artifact(target: str, artifact: ArtifactRecord, found: Attestation) -> list[Check]:
    counted, read = found.layers_by_backend.get(KERNELS, 0), sum(launch.launches for launch in found.launches)
    if counted != read:
        reason = (
            f"{artifact.component} ({artifact.backend}): {read} of {counted} launches were read back; compile again."
        )
        return [not_measured(Step.ATTESTED, LAUNCHES, artifact.component, reason)]
    checks = [_check_aspect(LAUNCHES, target, artifact, found.launches, find_spills)]
    claimed = [launch for launch in found.launches if launch.tensor_cores_claimed]
    if claimed:
        checks.append(_check_aspect(MATRIX_UNITS, target, artifact, claimed, find_matrix_units))
    return checks


def _check_aspect(
    name: str,
    target: str,
    artifact: ArtifactRecord,
    launches: Iterable[LaunchRecord],
    find: Callable[[LaunchRecord], Finding],
) -> Check:
    """One check over an artifact's launches; the worst decides, and each that is as bad is named."""
    found = [(launch, *find(launch)) for launch in launches]
    where = f"{artifact.component} ({artifact.backend}) for {target}"
    for outcome, make in ((Outcome.FAILED, failed), (Outcome.NOT_MEASURED, not_measured)):
        told = [f"{_describe(launch)}: {said}" for launch, came, said in found if came is outcome]
        if told:
            return make(Step.ATTESTED, name, artifact.component, f"{where} launches {'; '.join(told)}.")
    kernels = ", ".join(dict.fromkeys(launch.kernel for launch, _, _ in found))
    total = sum(launch.launches for launch, _, _ in found)
    return passed(Step.ATTESTED, name, artifact.component, f"{where}: all {total} {name} ({kernels}).")


def _describe(launch: LaunchRecord) -> str:
    times = f", {launch.launches} times" if launch.launches > 1 else ""
    return f"{launch.kernel} in {launch.variant} on grid {' x '.join(map(str, launch.grid))}{times}"
