"""Holds what is really in the artifacts and kernels against what was in them: precision, placement, architecture.

Which of several proved backends is chosen may change with the wind, as they are close; what an artifact holds may not.
"""

from collections.abc import Sequence

from porting.gate.baseline import ArtifactBaseline, KernelsBaseline, TargetBaseline
from porting.gate.checks import failed, not_measured, passed, say_names
from porting.gate.making import name_kernel, present, spilled_bytes, summarise_kernels
from porting.gate.verdict import GateCheck
from porting.record import ArtifactRecord, KernelRecord, TargetRecord

ATTESTATION = "attestation"
KERNELS = "kernels"


def check_attestation(name: str, target: TargetRecord, baseline: TargetBaseline) -> tuple[GateCheck, ...]:
    """One check a component, and one of the kernels where the baseline has any."""
    components = sorted({*baseline.artifacts, *(artifact.component for artifact in target.artifacts)})
    checks = [_check_component(name, component, target, baseline) for component in components]
    if not components:
        checks = [not_measured(name, ATTESTATION, "Neither the bundle nor the baseline has an artifact.")]
    if baseline.kernels.compiled or target.kernels:
        checks.append(_check_kernels(name, target.kernels, baseline.kernels))
    return tuple(checks)


def _check_component(name: str, component: str, target: TargetRecord, baseline: TargetBaseline) -> GateCheck:
    """The first thing found wrong with any artifact that the baseline knows, or with one that drives the port."""
    old = baseline.artifacts.get(component)
    if old is None:
        return not_measured(name, ATTESTATION, f"{component}: the baseline has no artifact of it.", component)
    own = {artifact.backend: artifact for artifact in target.artifacts if artifact.component == component}
    found = [check for known in old if (check := _find_change(name, target, own.get(known.backend), known, component))]
    known_backends = {known.backend for known in old}
    strangers = sorted(b for b, artifact in own.items() if artifact.chosen and b not in known_backends)
    if strangers:
        reason = f"{component}: {say_names(strangers)} drives it, of which the baseline says nothing; make it anew."
        found.append(not_measured(name, ATTESTATION, reason, component))
    if found:
        return min(found, key=lambda check: check.outcome.value != "failed")
    said = ", ".join(f"{known.backend} in {'+'.join(known.precisions)}" for known in old)
    return passed(name, ATTESTATION, f"{component}: nothing new is in its artifacts ({said}).", component)


def _find_change(
    name: str, target: TargetRecord, artifact: ArtifactRecord | None, old: ArtifactBaseline, component: str
) -> GateCheck | None:
    """What one artifact has lost or gained; None when it holds what it held."""
    subject = f"{component} on {old.backend}"
    if artifact is None or artifact.path is None or artifact.error is not None:
        why = artifact.error if artifact is not None and artifact.error else "it was not built"
        link = next((link for link in target.chain if link.backend == old.backend), None)
        if artifact is None and link is not None and not link.builds:
            reason = f"{subject}: this host cannot build it ({link.reason})."
            return not_measured(name, ATTESTATION, reason, component)
        return failed(name, ATTESTATION, f"{subject}: compiled for the baseline, and does no more: {why}.", component)
    read = artifact.attestation
    if read is None or not present(read.layers_by_precision) or not present(read.layers_by_backend):
        return not_measured(name, ATTESTATION, f"{subject}: nothing was read back from it.", component)
    new = sorted(set(present(read.layers_by_precision)) - set(old.precisions))
    if new:
        reason = f"{subject}: has layers in {say_names(new)}, where the baseline has {'+'.join(old.precisions)} alone."
        return failed(name, ATTESTATION, reason, component)
    moved = sorted(set(present(read.layers_by_backend)) - set(old.placements))
    if moved:
        reason = (
            f"{subject}: layers run on {say_names(moved)}, where the baseline's run on {say_names([*old.placements])}."
        )
        return failed(name, ATTESTATION, reason, component)
    return None


def _check_kernels(name: str, kernels: Sequence[KernelRecord], old: KernelsBaseline) -> GateCheck:
    """Every kernel of the baseline is there, for the same chips, without new spills, on matrix units where it was."""
    now = summarise_kernels(kernels)
    lost = sorted(set(old.compiled) - set(now.compiled))
    if lost:
        errors = {name_kernel(kernel): kernel.error for kernel in kernels if kernel.error}
        why = errors.get(lost[0]) or "it is not there"
        if not kernels:
            return not_measured(name, KERNELS, f"No kernel was compiled; the baseline has {len(old.compiled)}.")
        return failed(name, KERNELS, f"{say_names(lost)} compiled for the baseline; now: {why}.")
    strange = sorted(set(now.architectures) - set(old.architectures))
    if strange:
        reason = f"Binaries are for {say_names(strange)}, the baseline's for {say_names(sorted(old.architectures))}."
        return failed(name, KERNELS, reason)
    known = [kernel for kernel in kernels if kernel.error is None and name_kernel(kernel) in set(old.compiled)]
    unread = [name_kernel(kernel) for kernel in known if spilled_bytes(kernel) is None]
    if unread:
        return not_measured(name, KERNELS, f"What {say_names(unread)} spills could not be read.")
    worse = sorted(k for k, moved in now.spilled.items() if k in old.compiled and moved > old.spilled.get(k, 0))
    if worse:
        first = f"{worse[0]}: {now.spilled[worse[0]]} bytes a thread, {old.spilled.get(worse[0], 0)} before"
        return failed(name, KERNELS, f"{say_names(worse)} spill more registers ({first}).")
    idle = sorted(set(old.matrix_units) - set(now.matrix_units))
    if idle:
        return failed(name, KERNELS, f"{say_names(idle)} had matrix instructions and have none any more.")
    new = len(set(now.compiled) - set(old.compiled))
    more = f"; {new} more are not in the baseline" if new else ""
    reason = f"All {len(old.compiled)} kernels are there, for {say_names(sorted(now.architectures))}{more}."
    return passed(name, KERNELS, reason)
