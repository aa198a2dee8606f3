"""Parity: is the port as good as PyTorch itself at this precision, call by call, frame by frame, and left alone?"""

import math
from collections.abc import Sequence

from porting.profile import ParityBudget
from porting.program import ComponentSpec, Program
from porting.record import Check, FreeRunning, OutputParity, ParityEvidence, Step, TargetRecord, TeacherForced
from porting.tensor_spec import UNIT_ROUNDOFF
from porting.verdict.artifacts import find_chosen
from porting.verdict.evidence import (
    check_complete,
    failed,
    find_gaps,
    find_non_numbers,
    hold_at_least,
    hold_at_most,
    not_measured,
    passed,
    say_names,
)

STEP = Step.PARITY
TRACE_INPUTS = "trace"
ERROR_RATIO = "error budget ratio"
TEACHER_FORCED = "teacher-forced frames"
FREE_RUNNING = "free-running frames"


def check_parity(program: Program, target: TargetRecord) -> tuple[Check, ...]:
    """Checks of step `parity`: the yardstick, the chosen artifacts' outputs, teacher-forced, free-running."""
    evidence, budget = target.parity, target.profile.parity
    if evidence is None:
        return (not_measured(STEP, "parity", "target", "The port was not compared with PyTorch on any host."),)
    return (
        _check_gold(target, evidence),
        check_complete(STEP, "parity", evidence, frozenset({"outputs", "teacher_forced", "free_running"})),
        *_check_outputs(program, target, evidence),
        *_check_teacher_forced(program, budget, evidence.teacher_forced),
        *_check_free_running(budget, evidence.free_running),
    )


def _check_gold(target: TargetRecord, evidence: ParityEvidence) -> Check:
    """A yardstick must be finer than what it measures."""
    name, gold, precision = "gold is more exact than the port", evidence.gold, target.precision
    if UNIT_ROUNDOFF[gold] < UNIT_ROUNDOFF[precision]:
        return passed(STEP, name, "parity", f"Gold was computed in {gold}, the port computes in {precision}.")
    return failed(STEP, name, "parity", f"Gold in {gold} says nothing of errors of a port in {precision}.")


def _check_outputs(program: Program, target: TargetRecord, evidence: ParityEvidence) -> list[Check]:
    """Every output of every component, as the chosen artifact computes it; other artifacts are not judged."""
    if not evidence.outputs:
        return [not_measured(STEP, ERROR_RATIO, "components", "No output of any component was compared.")]
    checks = []
    names = {component.name for component in program.components}
    known = {(a.component, a.backend) for a in target.artifacts if a.component in names}
    compared = {(o.component, o.backend) for o in evidence.outputs}
    strangers = [f"{component} ({backend or 'no backend'})" for component, backend in sorted(compared - known)]
    if strangers:
        reason = f"Compared were {say_names(strangers)}, of which the port has no artifact."
        checks.append(failed(STEP, ERROR_RATIO, "components", reason))
    for component in program.components:
        artifact = find_chosen(target, component.name)
        if artifact is None:
            reason = f"{component.name}: no one artifact is chosen, so none is proved."
            checks.append(not_measured(STEP, ERROR_RATIO, component.name, reason))
            continue
        own = [o for o in evidence.outputs if (o.component, o.backend) == (component.name, artifact.backend)]
        checks += _check_component(component, artifact.backend, own, target.profile.parity.error_budget_ratio)
    return checks


def _check_component(component: ComponentSpec, backend: str, own: list[OutputParity], limit: float) -> list[Check]:
    """One check an output, over all its inputs, after the names."""
    names = [tensor.name for tensor in component.outputs]
    if not own:
        reason = f"{component.name}: the chosen artifact, of {backend}, was not compared."
        return [not_measured(STEP, ERROR_RATIO, component.name, reason)]
    compared = {o.output for o in own if o.inputs == TRACE_INPUTS}
    missing, extra = sorted(set(names) - compared), sorted({o.output for o in own} - set(names))
    checks = []
    if missing or extra:
        said = [f"lacks {say_names(missing)} on the trace's inputs"] if missing else []
        said += [f"has {say_names(extra)}, which it does not declare"] if extra else []
        reason = f"{component.name} ({backend}): the comparison {' and '.join(said)}."
        checks.append(failed(STEP, "outputs are those declared", component.name, reason))
    for name in names:
        entries = [o for o in own if o.output == name]
        if entries:
            checks.append(_check_output(f"{component.name}.{name}", backend, entries, limit))
    return checks


def _check_output(subject: str, backend: str, entries: list[OutputParity], limit: float) -> Check:
    """The worst input decides."""
    for entry in entries:
        where = f"{subject} ({backend}) on {entry.inputs or 'unnamed inputs'}"
        if entry.samples <= 0 or any(find_gaps(entry)):
            return not_measured(STEP, ERROR_RATIO, subject, f"{where}: was compared on {entry.samples} samples.")
        bad = list(find_non_numbers(entry))
        if bad or not entry.finite:
            reason = f"{where}: no number stands in {say_names(bad) or 'the output'}."
            return failed(STEP, ERROR_RATIO, subject, reason)
    worst = max(entries, key=lambda entry: entry.ratio)
    reason = (
        f"{subject} ({backend}): the error is {worst.error_port:.3g} where PyTorch's own is {worst.error_eager:.3g},"
        f" {worst.ratio:.3g} times as much against a limit of {limit:g}; worst of {len(entries)} kinds of input, on"
        f" {worst.inputs}."
    )
    return hold_at_most(STEP, ERROR_RATIO, subject, (worst.ratio, limit, "x"), reason)


def _check_teacher_forced(program: Program, budget: ParityBudget, levels: Sequence[TeacherForced]) -> list[Check]:
    """Every value and state that a frame writes, each frame started from the reference's state."""
    if not levels:
        return [not_measured(STEP, TEACHER_FORCED, "frames", "No frame was started from the reference's state.")]
    wanted = _name_written(program)
    found = [level.output for level in levels]
    missing, extra = sorted(wanted - set(found)), sorted({n for n in found if n not in wanted or found.count(n) > 1})
    checks = []
    if missing or extra:
        said = [f"lack {say_names(missing)}"] if missing else []
        said += [f"have {say_names(extra)} too often or unasked"] if extra else []
        checks.append(failed(STEP, TEACHER_FORCED, "frames", f"The compared frames {' and '.join(said)}."))
    return checks + [_check_level(level, budget) for level in levels]


def _name_written(program: Program) -> set[str]:
    """Values and states that a frame writes; a state that is named like a value has "state " before its name."""
    sinks = [sink for call in program.frame for sink in call.outputs.values()]
    values = {sink.name for sink in sinks if sink.kind == "value"}
    states = {sink.name for sink in sinks if sink.kind == "state"}
    return values | {f"state {name}" if name in values else name for name in states}


def _check_level(level: TeacherForced, budget: ParityBudget) -> Check:
    """The worst frame decides, and is named."""
    frames, limit = len(level.ratio), budget.error_budget_ratio
    if not frames == len(level.error_port) == len(level.error_eager):
        reason = f"{level.output}: ratios and errors are of {frames} and {len(level.error_port)} frames."
        return failed(STEP, TEACHER_FORCED, level.output or "frames", reason)
    if not level.output or frames < budget.teacher_forced_frames:
        reason = f"{level.output}: {frames} frames were compared, the profile asks for {budget.teacher_forced_frames}."
        return not_measured(STEP, TEACHER_FORCED, level.output or "frames", reason)
    figures = zip(level.ratio, level.error_port, level.error_eager, strict=True)
    bad = [index for index, of_frame in enumerate(figures) if not all(map(math.isfinite, of_frame))]
    worst = bad[0] if bad else max(range(frames), key=lambda index: level.ratio[index])
    over = [index for index in range(frames) if not level.ratio[index] <= limit]
    reason = (
        f"{level.output}: the worst of {frames} frames is frame {worst}, with {level.ratio[worst]:.3g} times PyTorch's"
        f" own error against a limit of {limit:g}" + (f"; the first over it is frame {over[0]}." if over else ".")
    )
    value = math.nan if bad else level.ratio[worst]
    return hold_at_most(STEP, TEACHER_FORCED, level.output, (value, limit, "x"), reason)


def _check_free_running(budget: ParityBudget, free: FreeRunning | None) -> list[Check]:
    """The port feeds itself and must stay as near to the reference as the reference's own noise does."""
    if free is None:
        return [not_measured(STEP, FREE_RUNNING, "rollout", "The port was not left to feed itself.")]
    lengths = {len(s) for s in (free.psnr_db, free.ssim, free.envelope_psnr_db, free.envelope_ssim)}
    if len(lengths) > 1:
        reason = f"PSNR, SSIM and their envelopes are of {sorted(lengths)} frames; they must be of as many."
        return [failed(STEP, FREE_RUNNING, "rollout", reason)]
    frames, complete = lengths.pop(), check_complete(STEP, "rollout", free)
    if frames < budget.free_running_frames or free.envelope_members <= 0 or free.sessions <= 0:
        reason = (
            f"{frames} frames of {free.sessions} sessions were run against an envelope of {free.envelope_members}"
            f" reruns; the profile asks for {budget.free_running_frames} frames."
        )
        return [complete, not_measured(STEP, FREE_RUNNING, "rollout", reason)]
    rows = list(zip(free.psnr_db, free.ssim, free.envelope_psnr_db, free.envelope_ssim, strict=True))
    refused = [index for index, row in enumerate(rows) if not budget.holds_frame(*row)]
    psnr_limits = [budget.lowest_psnr_db(envelope) for envelope in free.envelope_psnr_db]
    ssim_limits = [budget.lowest_ssim(envelope) for envelope in free.envelope_ssim]
    checks = [
        complete,
        _check_drift("PSNR", "dB", free.psnr_db, psnr_limits),
        _check_drift("SSIM", "", free.ssim, ssim_limits),
    ]
    first = refused[0] if refused else None
    if first != free.first_failing_frame or refused:
        said = "none" if free.first_failing_frame is None else str(free.first_failing_frame)
        reason = f"The first frame outside the envelope is {'none' if first is None else first}; recorded is {said}."
        checks.append(failed(STEP, "first failing frame", "rollout", reason))
    return checks


def _check_drift(measure: str, unit: str, values: Sequence[float], limits: Sequence[float]) -> Check:
    """The frame with the least room to its limit decides; the first below its limit is named."""
    left = [value - limit for value, limit in zip(values, limits, strict=True)]
    room = [room if math.isfinite(room) else -math.inf for room in left]
    worst = min(range(len(room)), key=lambda index: room[index])
    below = [index for index, room_left in enumerate(room) if room_left < 0]
    reason = (
        f"{measure} of the port's own rollout comes nearest to its limit at frame {worst} of {len(room)}:"
        f" {values[worst]:.4g} {unit}".rstrip()
        + f" against at least {limits[worst]:.4g}"
        + (f"; the first frame below is {below[0]}." if below else ".")
    )
    return hold_at_least(STEP, f"free-running {measure}", "rollout", (values[worst], limits[worst], unit), reason)
