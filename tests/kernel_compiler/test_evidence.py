"""What both vendors share: claims, and instructions in loops."""

import pytest

from porting.kernel_compiler.evidence import claims_tensor_cores, count_repeated


@pytest.mark.parametrize(
    ("variant", "claimed"),
    [("bfloat16", True), ("float16", True), ("fp8", True), ("nvfp4", True), ("float32", False), ("float64", False)],
)
def test_only_narrow_variants_claim_matrix_units(variant: str, claimed: bool) -> None:
    assert claims_tensor_cores(True, variant) is claimed
    assert claims_tensor_cores(False, variant) is False


@pytest.mark.parametrize(
    ("labels", "branches", "repeated"),
    [
        ({"a": 10}, [(19, "a")], 10),
        ({"a": 10}, [], 0),
        ({"a": 30}, [(19, "a")], 0),
        ({}, [(19, "a")], 0),
        ({"a": 10, "b": 12}, [(19, "a"), (15, "b")], 10),
        ({"a": 10, "b": 15}, [(19, "a"), (24, "b")], 15),
        ({"a": 10, "b": 40}, [(19, "a"), (44, "b")], 15),
        ({"a": 19}, [(19, "a")], 0),
    ],
)
def test_instructions_in_loops_count_once(
    labels: dict[str, int], branches: list[tuple[int, str]], repeated: int
) -> None:
    assert count_repeated(labels, branches) == repeated
