"""A component's launch that spills or lost its matrix units fails the target by name; absence passes nothing."""

from typing import Any

import pytest

from porting.record import ArtifactRecord, Attestation, Check, LaunchRecord, Outcome, PortRecord, Step
from porting.verdict.launches import KERNELS, LAUNCHES, MATRIX_UNITS, check_launches
from tests.verdict.records import TARGET, judge, make_record, with_target

GOOD = LaunchRecord(
    kernel="ring_attention",
    variant="bfloat16",
    launches=6,
    grid=(4, 8),
    tuning={"num_warps": 4},
    tensor_cores_claimed=True,
    registers=128,
    spill_store_bytes=0,
    spill_load_bytes=0,
    scratch_bytes=0,
    instructions=900,
    tensor_instructions={"UTCHMMA": 4},
    native_tensor_instructions=4,
)
NORM = GOOD.model_copy(update={"kernel": "adaln", "launches": 1, "tensor_cores_claimed": False})


def changed(**changes: Any) -> LaunchRecord:
    return GOOD.model_copy(update=changes)


def launching(*launches: LaunchRecord, counted: int | None = None) -> PortRecord:
    """The dreamer's artifact has those launches."""
    record = make_record()
    count = sum(launch.launches for launch in launches) if counted is None else counted

    def change(artifact: ArtifactRecord) -> ArtifactRecord:
        if artifact.component != "dreamer":
            return artifact
        found = artifact.attestation
        assert isinstance(found, Attestation)
        kernels = {**found.layers_by_backend, KERNELS: count}
        read = found.model_copy(update={"launches": launches, "layers_by_backend": kernels})
        return artifact.model_copy(update={"attestation": read})

    return with_target(record, artifacts=tuple(map(change, record.targets[TARGET].artifacts)))


def checks(record: PortRecord) -> list[Check]:
    return list(check_launches(record.program, record.targets[TARGET]))


def test_good_launches_pass_and_are_named() -> None:
    registers, units = checks(launching(GOOD, NORM))
    assert (registers.name, registers.outcome, registers.step) == (LAUNCHES, Outcome.PASSED, Step.ATTESTED)
    assert "all 7 launches keep their values in registers (ring_attention, adaln)" in registers.reason
    assert (units.name, units.outcome) == (MATRIX_UNITS, Outcome.PASSED)


@pytest.mark.parametrize("field", ["spill_store_bytes", "spill_load_bytes", "scratch_bytes"])
def test_a_spill_fails_the_target(field: str) -> None:
    record = launching(changed(**{field: 16}), NORM)
    (failure,) = [check for check in judge(record).checks if check.outcome is Outcome.FAILED]
    assert (failure.step, failure.name, failure.subject) == (Step.ATTESTED, LAUNCHES, "dreamer")
    said = "dreamer (onnxruntime) for cpu launches ring_attention in bfloat16 on grid 4 x 8"
    assert said in failure.reason
    assert f"6 times: 16 {field.replace('_', ' ')}, beside 128 registers" in failure.reason
    assert "adaln" not in failure.reason
    assert judge(record).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tensor_instructions": {}, "native_tensor_instructions": 0}, "none of 900 instructions"),
        ({"tensor_instructions": {"HMMA": 8}, "native_tensor_instructions": 0}, "emulated in software, by 8 HMMA"),
    ],
)
def test_a_lost_matrix_unit_fails_the_target(changes: dict[str, Any], words: str) -> None:
    record = launching(changed(**changes), NORM)
    (failure,) = [check for check in judge(record).checks if check.outcome is Outcome.FAILED]
    assert (failure.name, failure.subject) == (MATRIX_UNITS, "dreamer")
    assert words in failure.reason


def test_what_was_not_read_back_does_not_pass() -> None:
    for record in (
        launching(changed(spill_load_bytes=None, unknown={"spill_load_bytes": "ptxas said nothing"})),
        launching(changed(native_tensor_instructions=None)),
        launching(GOOD, counted=7),
        launching(counted=3),  # a record of an older version
    ):
        assert Outcome.NOT_MEASURED in {check.outcome for check in checks(record)}
        assert judge(record).outcome is Outcome.NOT_MEASURED


def test_backends_without_kernels_of_their_own_have_no_such_check() -> None:
    assert checks(make_record()) == []
