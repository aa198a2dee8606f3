"""`worldport kernels run`: every cell's outcome with its evidence, and an exit code that says the worst."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from porting import emulation, kernel_compiler
from porting.cli.app import load_commands
from porting.content import folder
from porting.record import EmulatedKernel
from tests.verdict.test_emulated import GOOD, GOOD_LAUNCH
from tests.verdict.test_kernels import GOOD as COMPILED

FILE = folder("kernels") / "adaln.py"
FAULTY = GOOD.model_copy(
    update={
        "launches": (GOOD_LAUNCH.model_copy(update={"fault": "lazy: line 9: ld.shared (source line 31): race: x"}),)
    }
)
LOST = GOOD.model_copy(update={"launches": (), "error": "unknown instruction: foo.bar"})
ABSENT = GOOD.model_copy(update={"launches": (), "unsupported": "has no fp4"})


def run(
    monkeypatch: pytest.MonkeyPatch, found: tuple[EmulatedKernel, ...], *arguments: str
) -> tuple[Result, list[Any]]:
    asked: list[Any] = []

    def emulate(kernels: Any, architectures: Any, variants: Any, jobs: int) -> tuple[EmulatedKernel, ...]:
        asked.append((tuple(kernels), tuple(architectures), variants))
        return found

    def compile_kernels(kernels: Any, architecture: str, *_: Any, **__: Any) -> tuple[Any, ...]:
        return (COMPILED.model_copy(update={"kernel": "adaln", "architecture": architecture}),)

    monkeypatch.setattr(emulation, "emulate_kernels", emulate)
    monkeypatch.setattr(kernel_compiler, "compile_kernels", compile_kernels)
    return CliRunner().invoke(load_commands(), ["kernels", "run", str(FILE), *arguments]), asked


def test_a_good_kernel_passes_with_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = GOOD_LAUNCH.model_copy(
        update={"bytes_read": {"global": 4096}, "instructions": {"add.f32": 8, "ld.global.b32": 2}, "bank_conflicts": 3}
    )
    good = GOOD.model_copy(update={"launches": (launch,)})
    result, asked = run(monkeypatch, (good,), "--target", "b300", "--variant", "bfloat16")
    assert result.exit_code == 0
    assert asked == [(("adaln",), ("cuda:103",), ["bfloat16"])]
    lines = result.stdout.splitlines()
    assert lines[0] == "PASSED  adaln bfloat16 cuda:103: error budget ratio 1.1x"
    assert lines[1] == "  sizes 3x67: 2 programs of 4 warps, 10 warp-wide instructions (as executed for cuda:100)"
    assert "lazy; eager; lazy, last warp first: the same bits" in lines[2]
    assert lines[3] == "    read 4 KiB global"
    assert lines[4] == "    3 bank conflicts; 8 add.f32, 2 ld.global.b32"
    assert "binary at sizes 1x2: 196 registers, none spilled" in lines[5]
    assert "the assembler, the hardware" in lines[6]


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        ((GOOD, FAULTY), 1, "FAILED  adaln bfloat16 cuda:103: 3x67: lazy: line 9: ld.shared (source line 31): race: x"),
        ((GOOD, LOST), 3, "NOT MEASURED  adaln bfloat16 cuda:103: unknown instruction: foo.bar"),
        ((ABSENT,), 3, "NOT FOR THIS CHIP  adaln bfloat16 cuda:103: has no fp4"),
        ((GOOD, ABSENT), 0, "NOT FOR THIS CHIP"),
        ((LOST, FAULTY), 1, "FAILED"),
        ((), 3, "Executed from the compiled text"),
    ],
)
def test_the_worst_cell_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, found: tuple[EmulatedKernel, ...], code: int, words: str
) -> None:
    result, _ = run(monkeypatch, found, "--target", "b300")
    assert result.exit_code == code
    assert words in result.stdout


def test_no_clean_bill_stands_beside_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, (FAULTY,), "--target", "b300")
    assert "race: x" in result.stdout
    assert "no race" not in result.stdout


def test_json_is_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    result, asked = run(monkeypatch, (GOOD,), "--target", "blackwell", "--json")
    evidence = json.loads(result.stdout)
    assert EmulatedKernel.model_validate(evidence["emulated"][0]) == GOOD
    assert {record["architecture"] for record in evidence["compiled"]} == set(asked[0][1])
    assert len(asked[0][1]) > 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "cpu"), "--target cpu: takes no kernels; name an accelerator"),
        (("--target", "nosuch"), "nosuch"),
        (("--target", "b200", "--variant", "int3"), "claims float32, float16, bfloat16"),
        ((), "--target"),
    ],
)
def test_bad_input_exits_2(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str) -> None:
    result, asked = run(monkeypatch, (), *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert asked == []


def test_a_file_that_is_no_kernel_exits_2(tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    path.write_text("x = 1\n")
    for given in (path, tmp_path / "absent.py"):
        result = CliRunner().invoke(load_commands(), ["kernels", "run", str(given), "--target", "b200"])
        assert result.exit_code == 2
        assert given.name in result.stderr
