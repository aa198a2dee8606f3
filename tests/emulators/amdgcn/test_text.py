import pytest

from porting.emulators.amdgcn.text import Instruction, parse, parse_instruction, split_operands, split_words
from porting.emulators.faults import Fault
from tests.emulators.amdgcn.kernels import kernel_text

BODY = """
.loc 1 19 0 prologue_end ; adaln.py:19:0
s_load_dwordx2 s[2:3], s[0:1], 0x0
s_branch .LBB0_1
.loc 1 0 0 is_stmt 0
s_nop 0
.LBB0_1:
.loc 1 23 47
s_endpgm
"""


def read(text: str) -> Instruction:
    return parse_instruction(text, 7, 3, 0)


def test_operands_and_modifiers_are_told_apart() -> None:
    instruction = read("buffer_load_dwordx4 v[0:3], v4, s[8:11], 0 offen offset:16 sc0")

    assert instruction.operands == ("v[0:3]", "v4", "s[8:11]", "0")
    assert instruction.modifiers == {"offen": "", "offset": "16", "sc0": ""}


def test_lists_in_brackets_stay_whole() -> None:
    assert read("v_pk_fma_f32 v[0:1], v[2:3], s[4:5], v[6:7] op_sel_hi:[1,0,1]").modifiers == {"op_sel_hi": "[1,0,1]"}


def test_an_accumulation_register_may_be_called_like_a_modifier() -> None:
    assert read("v_accvgpr_read_b32 v0, a16").operands == ("v0", "a16")


def test_a_comment_belongs_to_its_register() -> None:
    assert read("v_mov_b32_e32 v1 /*v257*/, s0").operands == ("v1 /*v257*/", "s0")


def test_instructions_without_operands_may_have_modifiers() -> None:
    instruction = read("global_inv scope:SCOPE_SE")

    assert (instruction.operands, instruction.modifiers) == ((), {"scope": "SCOPE_SE"})


def test_waits_keep_their_words() -> None:
    assert read("s_waitcnt vmcnt(1) lgkmcnt(0)").operands == ("vmcnt(1) lgkmcnt(0)",)


def test_both_halves_of_a_dual_instruction_are_read() -> None:
    first = read("v_dual_mul_f32 v0, v1, v2 :: v_dual_bitop2_b32 v3, 31, v4 bitop3:0x40")

    assert first.operands == ("v0", "v1", "v2")
    assert first.second is not None
    assert first.second.mnemonic == "v_dual_bitop2_b32"
    assert first.second.modifiers == {"bitop3": "0x40"}


def test_an_unknown_word_is_a_modifier_that_no_decoder_honours() -> None:
    assert read("v_add_f32_e32 v0, v1, v2 frobnicate").modifiers == {"frobnicate": ""}


def test_splitting_respects_brackets() -> None:
    assert split_operands("v[0:1], hwreg(A, 1), x") == ["v[0:1]", "hwreg(A, 1)", "x"]
    assert split_words('offset:swizzle(BITMASK_PERM, "p") gds') == ['offset:swizzle(BITMASK_PERM, "p")', "gds"]


def test_a_program_knows_labels_source_lines_and_its_descriptor() -> None:
    program = parse(kernel_text("gfx950", BODY, (8, 4), {"next_free_vgpr": 34}))

    assert (program.name, program.processor) == ("kernel", "gfx950")
    assert [each.mnemonic for each in program.instructions] == ["s_load_dwordx2", "s_branch", "s_nop", "s_endpgm"]
    assert program.labels[".LBB0_1"] == 3
    assert program.descriptor["next_free_vgpr"] == 34
    assert [(each.offset, each.size) for each in program.parameters] == [(0, 8), (8, 4)]
    assert program.argument_bytes == 12


def test_instructions_know_their_line_and_their_source_line() -> None:
    text = kernel_text("gfx950", BODY)
    program = parse(text)

    load, _, nop, end = program.instructions
    assert text.splitlines()[load.line - 1].strip() == load.text
    # Line 0 means that the compiler knows none: the last known one stays.
    assert (load.source_line, nop.source_line, end.source_line) == (19, 19, 23)


def test_directives_may_name_symbols() -> None:
    text = kernel_text("gfx950", BODY, descriptor={"private_segment_fixed_size": 0}).replace(
        "private_segment_fixed_size 0", "private_segment_fixed_size .Lkernel.private_seg_size"
    )

    assert parse(text + "\t.set .Lkernel.private_seg_size, 96\n").descriptor["private_segment_fixed_size"] == 96


@pytest.mark.parametrize("missing", [".amdhsa_kernel", ".amdgcn_target", ".amdgpu_metadata", "kernel:"])
def test_a_text_without_its_parts_is_refused(missing: str) -> None:
    with pytest.raises(Fault, match="the text"):
        parse(kernel_text("gfx950", BODY).replace(missing, "other"))
