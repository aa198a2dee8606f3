"""Evidence from code objects: header, metadata note and text must be of one kernel and one chip."""

import dataclasses
import struct

import pytest

from porting.errors import CompileError
from porting.kernel_compiler.amd import PROCESSORS, count_instructions, count_scratch_loads, is_native, read_evidence
from porting.kernel_compiler.evidence import CompiledCode
from tests.kernel_compiler.sources import compiled, read


def code_of(architecture: str, variant: str = "bfloat16") -> CompiledCode:
    record = compiled()[1]["product", variant, architecture]
    return CompiledCode(
        architecture=architecture,
        variant=variant,
        binary=read(record, ".hsaco"),
        text=read(record, ".amdgcn").decode(),
        symbol="kernel",
        warps=4,
        shared_bytes=record.shared_bytes or 0,
        tensor_memory_columns=0,
    )


@pytest.mark.parametrize(
    ("architecture", "instruction"),
    [
        ("hip:gfx942", "v_mfma_f32_32x32x8_bf16"),
        ("hip:gfx950", "v_mfma_f32_32x32x16_bf16"),
        ("hip:gfx1201", "v_wmma_f32_16x16x16_bf16"),
        ("hip:gfx1250", "v_wmma_f32_16x16x32_bf16"),
    ],
)
def test_figures_of_every_chip(architecture: str, instruction: str) -> None:
    found = read_evidence(code_of(architecture))
    assert found.architecture_found == architecture
    assert (found.spill_store_bytes, found.spill_load_bytes, found.scratch_bytes, found.scalar_spills) == (0, 0, 0, 0)
    assert found.registers is not None
    assert found.scalar_registers is not None
    assert found.registers > 16
    assert found.scalar_registers > 8
    assert found.instructions is not None
    assert found.loop_instructions is not None
    assert 20 < found.loop_instructions < found.instructions
    assert found.code_bytes is not None
    assert 4 * found.instructions <= found.code_bytes <= 16 * found.instructions
    assert set(found.tensor_instructions) == {instruction}
    assert found.native_tensor_instructions == found.tensor_instructions[instruction]
    assert found.resident_programs
    assert not found.unknown


def test_a_dtype_that_the_chip_lacks_is_seen_to_be_emulated() -> None:
    """gfx942 multiplies FNUZ fp8 only; Triton widens the others to fp16."""
    found = read_evidence(code_of("hip:gfx942", "float8_e4m3fn"))
    assert found.tensor_instructions
    assert found.native_tensor_instructions == 0
    native = read_evidence(code_of("hip:gfx950", "float8_e4m3fn"))
    assert native.native_tensor_instructions == sum(native.tensor_instructions.values()) > 0


def test_text_of_another_chip_is_refused() -> None:
    code = dataclasses.replace(code_of("hip:gfx942"), text=code_of("hip:gfx950").text)
    with pytest.raises(CompileError, match=r"text is not for .*gfx942"):
        read_evidence(code)


def test_a_header_that_contradicts_the_note_equals_no_request() -> None:
    code = code_of("hip:gfx942")
    (number,) = (number for number, name in PROCESSORS.items() if name == "gfx950")
    flags = struct.unpack_from("<I", code.binary, 48)[0] & ~0xFF | number
    binary = code.binary[:48] + struct.pack("<I", flags) + code.binary[52:]
    assert read_evidence(dataclasses.replace(code, binary=binary)).architecture_found == (
        "hip:gfx942 (its header says gfx950)"
    )


def test_another_symbol_is_refused() -> None:
    with pytest.raises(CompileError, match="describes 0 kernels other"):
        read_evidence(dataclasses.replace(code_of("hip:gfx942"), symbol="other"))


def test_a_cubin_is_refused() -> None:
    record = compiled()[1]["product", "bfloat16", "cuda:90"]
    with pytest.raises(CompileError, match="ELF file is for machine 190"):
        read_evidence(dataclasses.replace(code_of("hip:gfx942"), binary=read(record, ".cubin")))


def test_a_text_that_is_silent_on_occupancy_gives_none() -> None:
    code = code_of("hip:gfx942")
    found = read_evidence(dataclasses.replace(code, text=code.text.replace("; Occupancy:", "; Nothing:")))
    assert found.occupancy is None
    assert "does not say" in found.unknown["occupancy"]


@pytest.mark.parametrize(
    ("name", "native_to"),
    [
        ("v_mfma_f32_32x32x8_bf16", {"bfloat16"}),
        ("v_mfma_f32_32x32x8_bf16_1k", {"bfloat16"}),
        ("v_mfma_f32_32x32x16_f16", {"float16"}),
        ("v_mfma_f32_32x32x2_f32", {"float32"}),
        ("v_mfma_f32_16x16x8_xf32", {"float32"}),
        ("v_mfma_f32_32x32x16_fp8_fp8", {"fp8", "float8_e4m3fn"}),
        ("v_mfma_f32_32x32x64_f8f6f4", {"fp8", "float8_e4m3fn"}),
        ("v_mfma_scale_f32_32x32x64_f8f6f4", {"mxfp8", "mxfp4"}),
        ("v_wmma_f32_16x16x16_bf16", {"bfloat16"}),
        ("v_wmma_f32_16x16x128_fp8_fp8", {"fp8", "float8_e4m3fn"}),
        ("v_wmma_scale_f32_16x16x128_f8f6f4", {"mxfp8", "mxfp4"}),
        ("v_wmma_scale16_f32_16x16x128_f8f6f4", {"nvfp4"}),
        ("v_mfma_i32_32x32x16_i8", set()),
    ],
)
def test_which_variants_an_instruction_takes_as_they_are(name: str, native_to: set[str]) -> None:
    variants = {"float32", "float16", "bfloat16", "float8_e4m3fn", "fp8", "mxfp8", "mxfp4", "nvfp4"}
    assert {variant for variant in variants if is_native(name, variant)} == native_to


TEXT = """
kernel:                                 ; @kernel
\ts_load_dwordx2 s[0:1], s[2:3], 0x0
\ts_cbranch_execz .LBB0_2
.LBB0_1:                                ; =>This Inner Loop Header: Depth=1
\tv_mfma_f32_32x32x8_bf16 a[0:15], v[0:1], v[2:3], a[0:15]
\ts_nop 7
\tscratch_load_dwordx2 v[0:1], off, off offset:8
\ts_cbranch_scc1 .LBB0_1
.LBB0_2:
\tscratch_load_b32 v0, off, off
\tscratch_load_d16_hi_b16 v0, off, off
\tglobal_store_dword v[0:1], v2, off
\ts_endpgm
\t.section\t.rodata
"""


def test_a_text_is_counted_without_padding_and_loops_apart() -> None:
    found = count_instructions(TEXT, "bfloat16")
    assert found.instructions == 9
    assert found.loop_instructions == 3
    assert found.tensor_instructions == {"v_mfma_f32_32x32x8_bf16": 1}
    assert count_scratch_loads(TEXT) == 8 + 4 + 2


def test_a_text_without_instructions_is_refused() -> None:
    with pytest.raises(CompileError, match="holds no instruction"):
        count_instructions("nothing", "bfloat16")
