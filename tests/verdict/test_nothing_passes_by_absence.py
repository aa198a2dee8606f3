"""Whatever field of the evidence is no number, empty or missing: the verdict is not passed. Driven over the records."""

import functools
import math
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from porting.record import Outcome, PortRecord
from porting.verdict.evidence import MAY_BE_EMPTY
from tests.verdict.records import TARGET, judge, make_record, with_target


def mutations(value: Any, path: str, owner: tuple[str, str] | None = None) -> Iterator[tuple[str, Any]]:
    """(path, the value with one thing in it spoilt), over everything inside."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            field = (type(value).__name__, name)
            for where, changed in mutations(getattr(value, name), f"{path}.{name}", field):
                yield where, value.model_copy(update={name: changed})
        return
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, float):
        yield f"{path}=nan", math.nan
        yield f"{path}=inf", math.inf
    if owner not in MAY_BE_EMPTY:
        if isinstance(value, str | tuple | dict) and value:
            yield f"{path}=empty", type(value)() if type(value) in {str, tuple, dict} else ""
        if owner is not None:
            yield f"{path}=none", None
    if isinstance(value, tuple):
        for index, inner in enumerate(value):
            if isinstance(inner, float) and 0 < index < len(value) - 1:
                continue  # the first and the last of a series stand for all
            for where, changed in mutations(inner, f"{path}[{index}]", owner):
                if not where.endswith(("=none", "=empty")) or isinstance(inner, BaseModel):
                    yield where, (*value[:index], changed, *value[index + 1 :])


def spoilt_records() -> Iterator[tuple[str, PortRecord]]:
    record = make_record()
    target = record.targets[TARGET]
    yield from ((w, record.model_copy(update={"components": c})) for w, c in mutations(record.components, "components"))
    for name in ("artifacts", "parity", "throughput"):
        yield from ((w, with_target(record, **{name: c})) for w, c in mutations(getattr(target, name), name))
        yield f"{name}=missing", with_target(record, **{name: () if name == "artifacts" else None})


SPOILT = dict(spoilt_records())


@functools.cache
def outcome_of(path: str) -> Outcome | None:
    """What a spoilt record comes to; None for one that no reader accepts."""
    record = SPOILT[path]
    try:
        for part in (*record.components, record.targets[TARGET]):
            type(part).model_validate(part.model_dump(by_alias=True, warnings=False))
    except ValidationError:
        return None
    return judge(record).outcome


def test_the_record_itself_passes() -> None:
    verdict = judge(make_record())
    assert verdict.outcome is Outcome.PASSED, [c for c in verdict.checks if c.outcome is not Outcome.PASSED]
    assert all(check.reason.endswith(".") for check in verdict.checks)


def test_the_walk_reaches_every_kind_of_evidence() -> None:
    assert len(SPOILT) > 500
    for path in (
        "components[0].contract.max_relative_error=nan",
        "artifacts[1].attestation.layers_by_precision=empty",
        "parity.outputs[3].ratio=nan",
        "parity.teacher_forced[2].error_eager[5]=nan",
        "parity.free_running.envelope_ssim[0]=nan",
        "throughput.drivers[1].ratio_low=nan",
        "throughput.paced.jitter_ms=inf",
        "throughput.unchanged_frames=none",
    ):
        assert path in SPOILT


def test_spoilt_evidence_does_not_pass() -> None:
    assert [path for path in SPOILT if outcome_of(path) is Outcome.PASSED] == []


def test_what_is_no_number_fails() -> None:
    numberless = [path for path in SPOILT if path.endswith("=nan")]
    assert len(numberless) > 100
    assert [path for path in numberless if outcome_of(path) is not Outcome.FAILED] == []


def test_most_of_the_walk_is_judged_and_not_refused_by_the_reader() -> None:
    judged = [path for path in SPOILT if not path.endswith("=none") and outcome_of(path) is not None]
    assert len(judged) > 300
