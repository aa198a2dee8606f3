"""Makes a baseline of the records of one or several ports of the same model, all of which passed.

What was not measured is left out of it, and nothing is invented: a target that was only compiled has no frame rate.
"""

import math
from collections.abc import Sequence
from statistics import median

from porting.errors import UsageError
from porting.gate.baseline import (
    ArtifactBaseline,
    Baseline,
    Fingerprint,
    KernelsBaseline,
    ModelBaseline,
    ParityBaseline,
    TargetBaseline,
    ThroughputBaseline,
    Tolerances,
)
from porting.gate.noise import find_memory_tolerance, find_rate_tolerance, find_ratio_tolerance, find_tail_tolerance
from porting.record import (
    ArtifactRecord,
    DriverTiming,
    KernelRecord,
    Outcome,
    ParityEvidence,
    PortRecord,
    TargetRecord,
    ThroughputEvidence,
)

PORT = "port"
EAGER = "eager"
OWN_PACKAGE = "worldport"


def make_baseline(records: Sequence[PortRecord]) -> Baseline:
    """The baseline of a port, or of several of the same model on the same machine.

    Args:
        records: the first one says what was compiled and how close it is; rates are medians over all.

    Raises:
        UsageError: one did not pass, or they are not of the same model, targets and machine.
    """
    first, *others = records
    for record in records:
        _refuse_unfit(record)
    for record in others:
        if record.checkpoint.digest != first.checkpoint.digest or set(record.targets) != set(first.targets):
            raise UsageError(
                f"{record.checkpoint.name}: its checkpoint or its targets are not those of the first bundle;"
                " a baseline is made of ports of one model for the same targets"
            )
    model = ModelBaseline(name=first.checkpoint.name, family=first.checkpoint.family, digest=first.checkpoint.digest)
    targets = {name: _make_target(name, [record.targets[name] for record in records]) for name in sorted(first.targets)}
    return Baseline(worldport=first.worldport, created=first.created, runs=len(records), model=model, targets=targets)


def _refuse_unfit(record: PortRecord) -> None:
    if not record.targets:
        raise UsageError(f"{record.checkpoint.name}: has no target; run worldport port")
    for name, target in record.targets.items():
        outcome = target.verdict.outcome if target.verdict else Outcome.NOT_MEASURED
        if outcome is not Outcome.PASSED:
            raise UsageError(f"{name}: is {outcome}; a baseline is made of evidence that passed, so prove it first")


def _make_target(name: str, runs: list[TargetRecord]) -> TargetBaseline:
    first = runs[0]
    verdict = first.verdict
    if verdict is None or verdict.reached is None:
        raise UsageError(f"{name}: reached no step; a baseline is made of evidence that passed")
    timed = [run.throughput for run in runs if run.throughput is not None]
    if timed and len(timed) < len(runs):
        raise UsageError(f"{name}: was timed in {len(timed)} of {len(runs)} bundles; run worldport bench on the others")
    return TargetBaseline(
        precision=first.precision,
        reached=verdict.reached,
        parity_budget=first.profile.parity,
        throughput_budget=first.profile.throughput,
        artifacts=summarise_artifacts(first.artifacts),
        kernels=summarise_kernels(first.kernels),
        parity=None if first.parity is None else _summarise_parity(name, first, first.parity),
        throughput=_summarise_throughput(name, timed) if timed else None,
    )


def summarise_artifacts(artifacts: Sequence[ArtifactRecord]) -> dict[str, tuple[ArtifactBaseline, ...]]:
    """Every artifact that compiled and was read back, by component and backend."""
    found: dict[str, list[ArtifactBaseline]] = {}
    for artifact in sorted(artifacts, key=lambda a: (a.component, a.backend)):
        if artifact.path is None or artifact.error is not None or artifact.attestation is None:
            continue
        read = artifact.attestation
        made = ArtifactBaseline(
            backend=artifact.backend,
            precisions=present(read.layers_by_precision),
            placements=present(read.layers_by_backend),
            chosen=artifact.chosen,
        )
        found.setdefault(artifact.component, []).append(made)
    return {component: tuple(made) for component, made in found.items()}


def present(counts: dict[str, int]) -> tuple[str, ...]:
    """Names that count anything, sorted."""
    return tuple(sorted(name for name, amount in counts.items() if amount > 0))


def name_kernel(kernel: KernelRecord) -> str:
    """Kernel and variant: "adaln.bfloat16"."""
    return f"{kernel.kernel}.{kernel.variant}"


def spilled_bytes(kernel: KernelRecord) -> int | None:
    """Bytes of a thread that went to memory and back; None where that could not be read."""
    if kernel.spill_store_bytes is None or kernel.spill_load_bytes is None:
        return None
    return kernel.spill_store_bytes + kernel.spill_load_bytes


def summarise_kernels(kernels: Sequence[KernelRecord]) -> KernelsBaseline:
    """Those that compiled; what a kernel file itself says that a chip cannot take is none."""
    made = [kernel for kernel in kernels if kernel.error is None and kernel.files]
    architectures: dict[str, int] = {}
    for kernel in made:
        key = kernel.architecture_found or "unknown"
        architectures[key] = architectures.get(key, 0) + 1
    return KernelsBaseline(
        architectures=architectures,
        compiled=tuple(sorted(map(name_kernel, made))),
        spilled={name_kernel(kernel): moved for kernel in made if (moved := spilled_bytes(kernel))},
        matrix_units=tuple(sorted(name_kernel(kernel) for kernel in made if kernel.tensor_instructions)),
    )


def worst_ratios(target: TargetRecord, parity: ParityEvidence) -> dict[str, float]:
    """Component -> worst error budget ratio of its chosen artifact; NaN where an output was not measured."""
    chosen = {(artifact.component, artifact.backend) for artifact in target.artifacts if artifact.chosen}
    found: dict[str, float] = {}
    for output in parity.outputs:
        if (output.component, output.backend) not in chosen:
            continue
        ratio = output.ratio if output.measured else math.nan
        before = found.get(output.component, -math.inf)
        found[output.component] = ratio if math.isnan(ratio) or ratio > before else before
    return found


def worst_teacher_forced(parity: ParityEvidence) -> float:
    """Worst ratio over outputs and frames; NaN where there is none or one is no number."""
    ratios = [ratio for level in parity.teacher_forced for ratio in level.ratio]
    return max(ratios) if ratios and all(map(math.isfinite, ratios)) else math.nan


def _summarise_parity(name: str, target: TargetRecord, parity: ParityEvidence) -> ParityBaseline:
    free = parity.free_running
    if free is None or not free.psnr_db or not parity.teacher_forced:
        raise UsageError(f"{name}: its parity lacks a level; run worldport verify")
    return ParityBaseline(
        ratios={component: round(ratio, 4) for component, ratio in worst_ratios(target, parity).items()},
        backends={a.component: a.backend for a in target.artifacts if a.chosen},
        teacher_forced_ratio=round(worst_teacher_forced(parity), 4),
        teacher_forced_frames=min(len(level.ratio) for level in parity.teacher_forced),
        free_running_frames=len(free.psnr_db),
        first_failing_frame=free.first_failing_frame,
        lowest_psnr_db=round(min(*free.psnr_db, target.profile.parity.psnr_cap_db), 2),
    )


def fingerprint(evidence: ThroughputEvidence) -> Fingerprint:
    """Of the machine that frames were timed on."""
    host, device = evidence.host, evidence.device
    return Fingerprint(
        device=device.name if device else "",
        driver=device.driver if device else "",
        clock_mhz=device.clock_mhz if device else None,
        machine=host.machine,
        cpu=host.cpu,
        cores=host.cores,
        threads=host.threads,
        system=host.system,
        python=host.python,
        packages={name: version for name, version in sorted(host.packages.items()) if name != OWN_PACKAGE},
        settings=dict(sorted(host.settings.items())),
    )


def find_driver(evidence: ThroughputEvidence, name: str) -> DriverTiming | None:
    """One of the drivers that took turns."""
    return next((driver for driver in evidence.drivers if driver.name == name), None)


def find_ratio(evidence: ThroughputEvidence) -> DriverTiming | None:
    """The port's own timing, where eager ran beside it and all of its ratios are numbers; else None."""
    port = find_driver(evidence, PORT)
    if port is None or find_driver(evidence, EAGER) is None:
        return None
    ratios = (port.ratio_low, port.ratio_to_eager, port.ratio_high)
    return port if all(math.isfinite(ratio) and ratio > 0 for ratio in ratios) and port.rounds > 0 else None


def _summarise_throughput(name: str, runs: list[ThroughputEvidence]) -> ThroughputBaseline:
    prints = [fingerprint(run) for run in runs]
    for other in prints[1:]:
        if differing := prints[0].differences(other):
            raise UsageError(f"{name}: the bundles were timed on different machines: {', '.join(differing)}")
    timings = [timing for run in runs if (timing := find_ratio(run)) is not None]
    compared = timings if len(timings) == len(runs) else []
    first = runs[0]
    ratio, low, high = (
        (
            round(median(t.ratio_to_eager for t in compared), 4),
            round(min(t.ratio_low for t in compared), 4),
            round(max(t.ratio_high for t in compared), 4),
        )
        if compared
        else (None, None, None)
    )
    others = {d.name: d.ratio_to_eager for d in first.drivers if d.name not in {PORT, EAGER}}
    return ThroughputBaseline(
        measured_on=prints[0],
        frames_per_second=round(median(run.frames_per_second for run in runs), 3),
        frame_p50_ms=round(median(run.frame_ms.p50 for run in runs), 4),
        frame_p99_ms=round(median(run.frame_ms.p99 for run in runs), 4),
        timed_frames=min(run.frame_ms.frames for run in runs),
        missed=max(run.paced.missed for run in runs),
        paced_frames=min(run.paced.frames for run in runs),
        memory_high_water_bytes=round(median(run.memory_high_water_bytes for run in runs)),
        ratio_to_eager=ratio,
        ratio_low=low,
        ratio_high=high,
        rounds=sum(t.rounds for t in compared) or 1,
        ratios_of_others={d: round(r, 4) for d, r in sorted(others.items()) if math.isfinite(r) and r > 0},
        disturbances=tuple(dict.fromkeys(text for run in runs for text in run.disturbances)),
        tolerances=_find_tolerances(runs, compared),
    )


def _find_tolerances(runs: list[ThroughputEvidence], compared: list[DriverTiming]) -> Tolerances:
    rates = [run.frames_per_second for run in runs]
    again = [port.frames_per_second for run in runs if (port := find_driver(run, PORT)) is not None]
    times = [run.frame_ms for run in runs]
    rounds = [(t.ratio_to_eager, t.ratio_low, t.ratio_high, t.rounds) for t in compared]
    return Tolerances(
        frames_per_second=find_rate_tolerance(rates, times, again if len(again) == len(rates) else ()),
        frame_p99=find_tail_tolerance(times),
        memory=find_memory_tolerance([run.memory_high_water_bytes for run in runs]),
        ratio_to_eager=find_ratio_tolerance(rounds) if rounds else None,
    )
