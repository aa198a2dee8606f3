"""Evidence from cubins: read from the file itself, with the traps of each generation of matrix instructions."""

import dataclasses
from pathlib import Path

import pytest

from porting.errors import CompileError
from porting.kernel_compiler import nvidia
from porting.kernel_compiler.evidence import CompiledCode
from porting.kernel_compiler.nvidia import count_instructions, is_native, read_evidence
from tests.kernel_compiler.sources import compiled, read

PLAIN = " gdesc[UR4], gdesc[UR14], tmem[UR11], tmem[UR22], idesc[UR23], !UPT"
SCALED = " gdesc[UR8], gdesc[UR10], tmem[UR15], tmem[UR34], idesc[UR35], tmem[UR18], UP0"
"""Operands of Blackwell's instructions as nvdisasm lists them."""
SPILLS = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"


def code_of(architecture: str, asked: str | None = None) -> CompiledCode:
    record = compiled()[1]["product", "bfloat16", architecture]
    assert (record.warps, record.shared_bytes, record.tensor_memory_columns) != (None, None, None)
    return CompiledCode(
        architecture=asked or architecture,
        variant="bfloat16",
        binary=read(record, ".cubin"),
        text=read(record, ".ptx").decode(),
        symbol="kernel",
        warps=record.warps or 0,
        shared_bytes=record.shared_bytes or 0,
        tensor_memory_columns=record.tensor_memory_columns or 0,
        log=SPILLS,
    )


@pytest.mark.parametrize(
    ("architecture", "instruction"),
    [
        ("cuda:80", "HMMA.16816.F32.BF16"),
        ("cuda:90", "HGMMA.64x64x16.F32.BF16"),
        ("cuda:100", "UTCHMMA"),
        ("cuda:107", "UTCHMMA"),
        ("cuda:120", "HMMA.16816.F32.BF16"),
    ],
)
def test_figures_of_every_generation(architecture: str, instruction: str) -> None:
    found = read_evidence(code_of(architecture))
    assert found.architecture_found == architecture
    assert (found.spill_store_bytes, found.spill_load_bytes, found.scratch_bytes) == (0, 0, 0)
    assert found.registers is not None
    assert 16 < found.registers <= 255
    assert found.instructions is not None
    assert found.loop_instructions is not None
    assert 30 < found.loop_instructions < found.instructions
    assert found.code_bytes is not None
    assert found.instructions * 16 <= found.code_bytes < found.instructions * 16 + 1024
    assert set(found.tensor_instructions) == {instruction}
    assert found.native_tensor_instructions == found.tensor_instructions[instruction]


def test_code_for_another_chip_is_found_out() -> None:
    assert read_evidence(code_of("cuda:100", asked="cuda:107")).architecture_found == "cuda:100"


def test_spills_and_local_memory_are_read() -> None:
    log = "616 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads"
    found = read_evidence(dataclasses.replace(code_of("cuda:80"), log=log))
    assert (found.spill_store_bytes, found.spill_load_bytes) == (12, 16)


def test_a_log_without_spills_is_unknown_and_not_zero() -> None:
    found = read_evidence(dataclasses.replace(code_of("cuda:80"), log=""))
    assert (found.spill_store_bytes, found.spill_load_bytes) == (None, None)
    assert "ptxas" in found.unknown["spill_store_bytes"]


def test_without_a_disassembler_instructions_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "find_disassembler", lambda: None)
    found = read_evidence(code_of("cuda:80"))
    assert (found.instructions, found.native_tensor_instructions) == (None, None)
    assert "install nvidia-cuda-nvdisasm" in found.unknown["instructions"]


def test_a_disassembler_that_refuses_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvdisasm"
    tool.write_text("#!/bin/sh\necho \"fatal: Cannot decode architecture 'SM107a'\" >&2\nexit 1\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setattr(nvidia, "find_disassembler", lambda: tool)
    assert "Cannot decode" in read_evidence(code_of("cuda:107")).unknown["instructions"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"binary": b"no"}, "no 64-bit ELF"),
        ({"symbol": "other"}, "no code of other"),
    ],
)
def test_a_file_that_is_not_the_kernel_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(CompileError, match=words):
        read_evidence(dataclasses.replace(code_of("cuda:80"), **change))  # type: ignore[arg-type]


def test_a_code_object_of_the_other_vendor_is_refused() -> None:
    record = compiled()[1]["product", "bfloat16", "hip:gfx942"]
    with pytest.raises(CompileError, match="ELF file is for machine 224"):
        read_evidence(dataclasses.replace(code_of("cuda:80"), binary=read(record, ".hsaco")))


@pytest.mark.parametrize(
    ("name", "operands", "native_to"),
    [
        ("HMMA.16816.F32.BF16", " R4, R8, R12, R4", {"bfloat16", "float32"}),
        ("HMMA.16816.F32", " R4, R8, R12, R4", {"float16", "float32"}),
        ("HMMA.1688.F32.TF32", " R4, R8, R12, R4", {"float32"}),
        ("HGMMA.64x128x16.F32.BF16", " R24, gdesc[UR4], R24", {"bfloat16", "float32"}),
        ("QMMA.16832.F32.E4M3.E4M3", " R4, R8, R12, R4", {"fp8", "float8_e4m3fn"}),
        ("QGMMA.64x128x32.F32.E4M3.E4M3", " R88, gdesc[UR8], R88", {"fp8", "float8_e4m3fn"}),
        ("QMMA.SF.16832.F32.E4M3.E4M3.E8", " R4, R8, R12, R4", {"mxfp8"}),
        ("OMMA.SF.16864.F32.E2M1.E2M1.UE4M3.4X", " R4, R8, R12", {"mxfp4", "nvfp4"}),
        ("UTCHMMA", PLAIN, {"bfloat16", "float16", "float32"}),
        ("UTCQMMA", PLAIN, {"fp8", "float8_e4m3fn"}),
        ("UTCQMMA", SCALED, {"mxfp8"}),
        ("UTCOMMA.BLOCK16", SCALED, {"mxfp4", "nvfp4"}),
    ],
)
def test_which_variants_an_instruction_takes_as_they_are(name: str, operands: str, native_to: set[str]) -> None:
    variants = {"float32", "float16", "bfloat16", "float8_e4m3fn", "fp8", "mxfp8", "mxfp4", "nvfp4"}
    assert {variant for variant in variants if is_native(name, operands, variant)} == native_to


LISTING = """
kernel:
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x37c] ;
        /*0010*/               @P2 BRA `(.L_x_0) ;
.L_x_1:
        /*0020*/                   NOP ;
        /*0030*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0040*/                   IADD3 R1, R1, 0x1, RZ ;
        /*0050*/              @!P0 BRA `(.L_x_1) ;
.L_x_0:
        /*0060*/                   STG.E desc[UR4][R2.64], R4 ;
.L_x_2:
        /*0070*/                   EXIT ;
.L_x_3:
        /*0080*/                   SYNCS.PHASECHK.TRANS64 P0, [UR4], R2 ;
        /*0090*/                   BRA `(.L_x_1) ;
.L_x_4:
        /*00a0*/                   BRA `(.L_x_4);
"""


def test_a_listing_is_counted_without_padding_and_loops_apart() -> None:
    found = count_instructions(LISTING, "bfloat16")
    assert found.instructions == 10
    assert found.loop_instructions == 3
    assert found.tensor_instructions == {"HMMA.16816.F32.BF16": 1}
    assert found.native_tensor_instructions == 1


def test_a_listing_without_instructions_is_refused() -> None:
    with pytest.raises(CompileError, match="lists no instruction"):
        count_instructions("nothing", "bfloat16")
