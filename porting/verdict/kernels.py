"""Attested, for kernels: the chip that was asked for, values in registers, matrix units where the file claims them.

What a kernel file itself says that a chip cannot take is left out of the checks and listed in one of them.
"""

from collections.abc import Callable

from porting.record import Check, KernelRecord, LaunchRecord, Outcome, Step, TargetRecord
from porting.verdict.evidence import failed, not_measured, passed, say_names

COMPILED = "kernels have binaries"
ARCHITECTURE = "binaries are for this architecture"
REGISTERS = "values stay in registers"
FITS = "a program fits on a multiprocessor"
MATRIX_UNITS = "matrix units are used"

Finding = tuple[Outcome, str]
"""What one aspect of one record came to, with the figures."""


def check_kernels(target: TargetRecord) -> tuple[Check, ...]:
    """Checks of step `attested` over a target's kernels; a target of kind cpu that has none has no checks either."""
    step, records = Step.ATTESTED, target.kernels
    if not records:
        if target.profile.device.kind == "cpu":
            return ()
        return (not_measured(step, COMPILED, "kernels", "No kernel was compiled for this target."),)
    twice = sorted({_name(record) for record in records if sum(_name(other) == _name(record) for other in records) > 1})
    if twice:
        return (failed(step, COMPILED, "kernels", f"There is more than one record of {say_names(twice)}."),)
    checks = [_check_compiled(records)]
    made = [record for record in records if record.error is None]
    for name in dict.fromkeys(record.kernel for record in made):
        own = [record for record in made if record.kernel == name]
        checks += [
            _check_aspect(ARCHITECTURE, name, own, _find_architecture),
            _check_aspect(REGISTERS, name, own, find_spills),
        ]
        # Nobody publishes the limits of some chips: nothing is said of them, neither good nor bad.
        limited = [
            record for record in own if record.resident_programs is not None or "occupancy" not in record.unknown
        ]
        if limited:
            checks.append(_check_aspect(FITS, name, limited, _find_room))
        claimed = [record for record in own if record.tensor_cores_claimed]
        if claimed:
            checks.append(_check_aspect(MATRIX_UNITS, name, claimed, find_matrix_units))
    return tuple(checks)


def list_absences(target: TargetRecord) -> dict[str, str]:
    """Kernel and variant -> the reason of the kernel file why this target cannot take it."""
    return {_name(record): record.error or "no reason is given" for record in target.kernels if record.unsupported}


def _check_compiled(records: tuple[KernelRecord, ...]) -> Check:
    """At least one binary, and a stated reason of the kernel file for every one that is not there."""
    step, subject = Step.ATTESTED, "kernels"
    made = [record for record in records if record.error is None]
    lost = [record for record in records if record.error is not None and not record.unsupported]
    told = [record for record in records if record.unsupported]
    listed = "; ".join(f"{_name(record)}: {record.error}" for record in told)
    without = f" Left out, as the kernel files say: {listed}." if told else ""
    nameless = [_name(record) for record in told if not record.error] + [_name(r) for r in made if not r.files]
    if lost:
        causes = "; ".join(f"{_name(record)}: {record.error}" for record in lost)
        return failed(step, COMPILED, subject, f"{len(lost)} of {len(records)} have none: {causes}.{without}")
    if nameless:
        reason = f"{say_names(nameless)}: there is neither a file nor a reason.{without}"
        return failed(step, COMPILED, subject, reason)
    if not made:
        return not_measured(step, COMPILED, subject, f"No kernel of {len(records)} can be compiled here.{without}")
    return passed(step, COMPILED, subject, f"{len(made)} of {len(records)} kernels and variants compiled.{without}")


def _check_aspect(
    name: str, kernel: str, records: list[KernelRecord], find: Callable[[KernelRecord], Finding]
) -> Check:
    """One check over the variants of a kernel; the worst decides, and it alone is told of."""
    found = [(record.variant, *find(record)) for record in records]
    for outcome, make in ((Outcome.FAILED, failed), (Outcome.NOT_MEASURED, not_measured)):
        told = [f"{variant}: {said}" for variant, came, said in found if came is outcome]
        if told:
            return make(Step.ATTESTED, name, kernel, f"{kernel} in {'; '.join(told)}.")
    told = [f"{variant}: {said}" for variant, _, said in found]
    return passed(Step.ATTESTED, name, kernel, f"{kernel} in {'; '.join(told)}.")


def _find_architecture(record: KernelRecord) -> Finding:
    found = record.architecture_found
    if found is None:
        return Outcome.NOT_MEASURED, _why(record, "architecture_found")
    if found != record.architecture:
        return Outcome.FAILED, f"the binary holds code for {found}, {record.architecture} was asked for"
    return Outcome.PASSED, found


def find_spills(record: KernelRecord | LaunchRecord) -> Finding:
    """Whether values of a thread went to memory and back."""
    sizes = {
        "spill_store_bytes": record.spill_store_bytes,
        "spill_load_bytes": record.spill_load_bytes,
        "scratch_bytes": record.scratch_bytes,
        "registers": record.registers,
    }
    unknown = [field for field, value in sizes.items() if value is None]
    spilled = {field: value for field, value in sizes.items() if value and field != "registers"}
    if spilled:
        said = ", ".join(f"{value} {field.replace('_', ' ')}" for field, value in spilled.items())
        return Outcome.FAILED, f"{said}, beside {record.registers} registers; search its tuning again"
    if unknown:
        return Outcome.NOT_MEASURED, _why(record, unknown[0])
    scalars = f", {record.scalar_spills} scalars kept in lanes of them" if record.scalar_spills else ""
    return Outcome.PASSED, f"{record.registers} registers, none spilled{scalars}"


def _find_room(record: KernelRecord) -> Finding:
    if record.resident_programs is None:
        return Outcome.NOT_MEASURED, _why(record, "resident_programs")
    if record.resident_programs < 1:
        said = f"none does, with {record.shared_bytes} bytes of shared memory and {record.registers} registers a thread"
        return Outcome.FAILED, f"{said} (limit: {record.occupancy_limiter}); search its tuning again"
    return Outcome.PASSED, f"{record.resident_programs} at once, limited by {record.occupancy_limiter}"


def find_matrix_units(record: KernelRecord | LaunchRecord) -> Finding:
    """Whether the matrix units take the variant itself, in code that claims them."""
    if record.instructions is None or record.native_tensor_instructions is None:
        return Outcome.NOT_MEASURED, _why(record, "instructions")
    count = sum(record.tensor_instructions.values())
    said = ", ".join(f"{times} {name}" for name, times in record.tensor_instructions.items())
    if not count:
        return Outcome.FAILED, f"none of {record.instructions} instructions is a matrix instruction"
    if not record.native_tensor_instructions:
        return Outcome.FAILED, f"emulated in software, by {said}, of which none takes it"
    return Outcome.PASSED, f"{said}, {record.native_tensor_instructions} of {count} native"


def _why(record: KernelRecord | LaunchRecord, field: str) -> str:
    return f"{field.replace('_', ' ')} could not be read ({record.unknown.get(field, 'no reason is given')})"


def _name(record: KernelRecord) -> str:
    return f"{record.kernel} {record.variant}"
