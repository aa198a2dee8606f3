"""Each way in which a kernel's binary is not what was asked for is named, and absence passes nothing."""

from typing import Any

import pytest

from porting.record import Check, KernelRecord, Outcome, Step, TargetRecord
from porting.verdict import kernels
from porting.verdict.kernels import check_kernels, list_absences
from tests.verdict.records import make_profile

GOOD = KernelRecord(
    kernel="attention",
    variant="bfloat16",
    architecture="cuda:100",
    source_digest="0" * 64,
    sizes=(1, 2),
    tuning={"num_warps": 4},
    tensor_cores_claimed=True,
    files=("attention.bfloat16.sm_100.cubin",),
    symbol="kernel",
    architecture_found="cuda:100",
    warps=4,
    programs=8,
    registers=196,
    spill_store_bytes=0,
    spill_load_bytes=0,
    scratch_bytes=0,
    shared_bytes=49184,
    tensor_memory_columns=256,
    resident_programs=2,
    occupancy=0.125,
    occupancy_limiter="registers",
    instructions=1559,
    tensor_instructions={"UTCHMMA": 20},
    native_tensor_instructions=20,
    code_bytes=25344,
    compile_seconds=1.0,
)
PLAIN = GOOD.model_copy(
    update={
        "kernel": "norm",
        "tensor_cores_claimed": False,
        "tensor_instructions": {},
        "native_tensor_instructions": 0,
    }
)


def make_target(*records: KernelRecord, kind: str = "cuda") -> TargetRecord:
    profile = make_profile()
    device = profile.device.model_copy(update={"kind": kind})
    return TargetRecord(profile=profile.model_copy(update={"device": device}), precision="fp32", kernels=records)


def judge(*records: KernelRecord) -> dict[tuple[str, str], Check]:
    checks = check_kernels(make_target(*records))
    assert all(check.step is Step.ATTESTED for check in checks)
    found = {(check.name, check.subject): check for check in checks}
    assert len(found) == len(checks)
    return found


def worst(*records: KernelRecord) -> list[Check]:
    return [check for check in judge(*records).values() if check.outcome is not Outcome.PASSED]


def changed(**changes: Any) -> KernelRecord:
    return GOOD.model_copy(update=changes)


def test_good_binaries_pass_with_their_figures() -> None:
    checks = judge(GOOD, PLAIN)
    assert {check.outcome for check in checks.values()} == {Outcome.PASSED}
    assert set(checks) == {
        (kernels.COMPILED, "kernels"),
        *(
            (name, "attention")
            for name in (kernels.ARCHITECTURE, kernels.REGISTERS, kernels.FITS, kernels.MATRIX_UNITS)
        ),
        *((name, "norm") for name in (kernels.ARCHITECTURE, kernels.REGISTERS, kernels.FITS)),
    }
    assert "20 UTCHMMA, 20 of 20 native" in checks[kernels.MATRIX_UNITS, "attention"].reason


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"architecture": "cuda:107"}, kernels.ARCHITECTURE, "code for cuda:100, cuda:107 was asked for"),
        ({"spill_store_bytes": 616}, kernels.REGISTERS, "616 spill store bytes"),
        ({"spill_load_bytes": 8}, kernels.REGISTERS, "8 spill load bytes"),
        ({"scratch_bytes": 16}, kernels.REGISTERS, "16 scratch bytes"),
        ({"resident_programs": 0, "occupancy_limiter": "LDS"}, kernels.FITS, "limit: LDS"),
        ({"tensor_instructions": {}, "native_tensor_instructions": 0}, kernels.MATRIX_UNITS, "none of 1559"),
        (
            {"variant": "nvfp4", "tensor_instructions": {"HMMA.16816.F32.BF16": 256}, "native_tensor_instructions": 0},
            kernels.MATRIX_UNITS,
            "nvfp4: emulated in software, by 256 HMMA.16816.F32.BF16",
        ),
        ({"error": "LLVM ERROR: no", "files": ()}, kernels.COMPILED, "attention bfloat16: LLVM ERROR: no"),
        ({"files": ()}, kernels.COMPILED, "neither a file nor a reason"),
    ],
)
def test_a_bad_binary_fails_and_is_named(changes: dict[str, Any], name: str, words: str) -> None:
    (check,) = worst(changed(**changes), PLAIN)
    assert (check.outcome, check.name) == (Outcome.FAILED, name)
    assert words in check.reason


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("architecture_found", kernels.ARCHITECTURE),
        ("spill_store_bytes", kernels.REGISTERS),
        ("spill_load_bytes", kernels.REGISTERS),
        ("scratch_bytes", kernels.REGISTERS),
        ("registers", kernels.REGISTERS),
        ("resident_programs", kernels.FITS),
        ("instructions", kernels.MATRIX_UNITS),
        ("native_tensor_instructions", kernels.MATRIX_UNITS),
    ],
)
def test_a_figure_that_was_not_read_is_not_measured(field: str, name: str) -> None:
    (check,) = worst(changed(**{field: None, "unknown": {field: "no nvdisasm"}}))
    assert (check.outcome, check.name) == (Outcome.NOT_MEASURED, name)


def test_one_bad_variant_fails_its_kernel_and_alone_is_told_of() -> None:
    spilled = changed(variant="float16", spill_store_bytes=8)
    (check,) = worst(GOOD, spilled)
    assert check.subject == "attention"
    assert "float16" in check.reason
    assert "bfloat16" not in check.reason


def test_a_chip_whose_limits_nobody_published_is_not_judged_by_them() -> None:
    record = changed(resident_programs=None, unknown={"occupancy": "nobody published"})
    assert (kernels.FITS, "attention") not in judge(record)
    assert worst(record) == []


def test_what_a_kernel_file_excludes_is_left_out_and_listed() -> None:
    told = changed(variant="nvfp4", error="no fp4 units", unsupported=True, files=(), architecture_found=None)
    checks = judge(GOOD, told)
    assert {check.outcome for check in checks.values()} == {Outcome.PASSED}
    assert "attention nvfp4: no fp4 units" in checks[kernels.COMPILED, "kernels"].reason
    assert list_absences(make_target(GOOD, told)) == {"attention nvfp4": "no fp4 units"}


def test_a_target_that_excludes_everything_is_not_measured() -> None:
    (check,) = worst(changed(error="no fp4 units", unsupported=True, files=()))
    assert check.outcome is Outcome.NOT_MEASURED


def test_an_exclusion_without_a_reason_fails() -> None:
    (check,) = worst(GOOD, changed(variant="nvfp4", error="", unsupported=True, files=()))
    assert check.outcome is Outcome.FAILED


def test_a_device_without_kernels_is_not_measured_and_a_cpu_needs_none() -> None:
    (check,) = check_kernels(make_target())
    assert check.outcome is Outcome.NOT_MEASURED
    assert check_kernels(make_target(kind="cpu")) == ()


def test_two_records_of_one_binary_fail() -> None:
    (check,) = check_kernels(make_target(GOOD, GOOD))
    assert check.outcome is Outcome.FAILED
    assert "attention bfloat16" in check.reason
