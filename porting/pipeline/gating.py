"""Opens a bundle for the gate: are its files what was written, and does its verdict follow from its evidence?

It needs no torch, no numerical library and no device, and changes nothing in the bundle.
"""

from pathlib import Path

from porting import verdict
from porting.bundle import Bundle
from porting.errors import BundleError, UsageError
from porting.gate import Baseline, GateCheck, GateVerdict, Limits, judge, make_baseline
from porting.gate.checks import failed, not_measured, passed
from porting.gate.judging import FILES, JUDGED_ANEW
from porting.gate.verdict import BUNDLE
from porting.record import Outcome, PortRecord


def gate_bundle(path: Path, baseline: Baseline | None, limits: Limits) -> GateVerdict:
    """The verdict on a bundle.

    Raises:
        BundleError: it has no readable record. A changed or missing file is a failed check, no error.
    """
    bundle = Bundle(path)
    record = bundle.read_record()
    return judge(record, baseline, limits, (_check_files(bundle, record), judge_anew(record, limits.targets)))


def baseline_of(paths: tuple[Path, ...]) -> Baseline:
    """The baseline of one bundle, or of several ports of the same model.

    Raises:
        BundleError: a bundle has no readable record, or one of its files is not what was written.
        UsageError: its evidence did not pass, or the bundles do not belong together.
    """
    records = []
    for path in paths:
        bundle = Bundle(path)
        record = bundle.read_record()
        bundle.verify_files(record)
        anew = judge_anew(record)
        if anew.outcome is not Outcome.PASSED:
            raise UsageError(f"{path}: {anew.reason} A baseline is made of evidence that passed; port again")
        records.append(record)
    return make_baseline(records)


def _check_files(bundle: Bundle, record: PortRecord) -> GateCheck:
    if not record.files:
        return not_measured(BUNDLE, FILES, "The record lists no file, so nothing is what was written.")
    try:
        bundle.verify_files(record)
    except BundleError as error:
        return failed(BUNDLE, FILES, f"{error}.")
    return passed(BUNDLE, FILES, f"All {len(record.files)} files are what was written.")


def judge_anew(record: PortRecord, targets: tuple[str, ...] = ()) -> GateCheck:
    """Whether each recorded verdict follows from the evidence beside it: a record can be edited, and so can a judge."""
    names = sorted(set(targets) & set(record.targets) if targets else record.targets)
    if not names:
        return not_measured(BUNDLE, JUDGED_ANEW, "There is no target to judge.")
    weaker = []
    for name in names:
        old = record.targets[name].verdict
        if old is None:
            return not_measured(name, JUDGED_ANEW, f"{name}: has no verdict to hold against its evidence.")
        new = verdict.judge_target(record, name, old.highest_possible)
        if old.outcome is Outcome.PASSED and new.outcome is not Outcome.PASSED:
            bad = next((check for check in new.checks if check.outcome is not Outcome.PASSED), None)
            why = f": {bad.name} of {bad.subject}: {bad.reason}" if bad else ", without any check"
            weaker.append((new.outcome, f"{name}: is recorded as passed, its evidence comes to {new.outcome}{why}"))
    if not weaker:
        return passed(BUNDLE, JUDGED_ANEW, f"The verdicts of {len(names)} targets follow from their evidence.")
    weaker.sort(key=lambda found: found[0] is not Outcome.FAILED)
    make = failed if weaker[0][0] is Outcome.FAILED else not_measured
    return make(BUNDLE, JUDGED_ANEW, weaker[0][1].rstrip(".") + ".")
