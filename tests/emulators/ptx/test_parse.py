"""Reading PTX: scopes, labels, locations, variables; and texts that are not read."""

import numpy as np
import pytest

from porting.emulators import Fault, FaultKind
from porting.emulators.ptx.parse import operands_of, parse
from tests.emulators.ptx.snippets import kernel_text, run_lines

HEAD = (
    ".visible .entry k(.param .u64 .ptr .global .align 1 k_param_0, .param .u32 k_param_1,\n .param .f32 k_param_2)\n"
)


def body(lines: str, head: str = HEAD) -> str:
    return f"// by hand\n.target sm_90a\n{head}.reqntid 64\n.maxnreg 128\n{{\n{lines}\n}}\n"


def test_parameters_are_aligned() -> None:
    head = HEAD.replace(".param .f32 k_param_2", ".param .u64 k_param_2, .param .align 64 .b8 k_param_3[128]")
    program = parse(body("ret;", head))
    assert program.threads == 64
    assert [(one.name, one.offset, one.size) for one in program.parameters] == [
        ("k_param_0", 0, 8),
        ("k_param_1", 8, 4),
        ("k_param_2", 16, 8),
        ("k_param_3", 64, 128),
    ]


def test_instructions() -> None:
    program = parse(body("\t@!%p1 st.global.v2.b32 [ %rd1 + 16 ], { %r1, %r2 };   // note; {\n"))
    (one,) = program.instructions
    assert (one.mnemonic, one.predicate, one.negated) == ("st.global.v2.b32", "%p1", True)
    assert one.operands == ("[ %rd1 + 16 ]", "{ %r1, %r2 }")
    assert one.line == 8
    assert one.text == "@!%p1 st.global.v2.b32 [ %rd1 + 16 ], { %r1, %r2 }"


def test_names_of_inner_braces_hide_those_outside() -> None:
    program = parse(
        body(
            ".reg .pred %p<3>; .reg .b32 %r<2>;\n mov.b32 %r1, 1;\n"
            "{\n.reg .b32 %r1, a<2>; .reg .pred p;\n mov.b32 a1, %r1; { .reg .b32 a1; mov.b32 a1, %r0; }"
            "@p bra skip; skip:\n}"
            "\n{ .reg .pred p; @p bra skip; skip: mov.b32 %r1, 2; }"
        )
    )
    texts = [(one.mnemonic, one.operands, one.predicate) for one in program.instructions]
    assert texts == [
        ("mov.b32", ("%r1", "1"), None),
        ("mov.b32", ("a1@1", "%r1@1"), None),
        ("mov.b32", ("a1@2", "%r0"), None),
        ("bra", ("skip",), "p@1"),
        ("bra", ("skip",), "p@3"),
        ("mov.b32", ("%r1", "2"), None),
    ]
    assert program.registers["a0@1"] == "b32"
    assert program.registers["%p2"] == "pred"
    branches = [one for one in program.instructions if one.mnemonic == "bra"]
    assert [program.target("skip", one.scopes) for one in branches] == [4, 5]


def test_lines_of_the_kernel_s_file_also_for_inlined_functions() -> None:
    program = parse(
        body(
            ".loc 1 10 0\n mov.b32 %a, 0;\n .loc 2 300 5, function_name $L__x, inlined_at 1 12 7\n mov.b32 %a, 1;\n"
            ".loc 3 7 1, function_name $L__y, inlined_at 2 300 5\n mov.b32 %a, 2;\n .loc 1 13 0\n ret;"
        )
    )
    assert [one.source_line for one in program.instructions] == [10, 12, 12, 13]


def test_a_fault_names_text_line_and_source_line() -> None:
    text = '.file 1 "k.py"\n.loc 1 41 3\nst.global.b32 [%base+4096], %t;'
    with pytest.raises(Fault, match=r"\+4096\], %t \(source line 41\): access") as raised:
        run_lines(text)
    assert raised.value.source_line == 41


def test_tables_and_labels() -> None:
    program = parse(body("$L__a:\n mov.b32 %r, 0;\n$L__t: .branchtargets $L__a, $L__b;\n$L__b: ret;"))
    assert program.tables["$L__t"] == ("$L__a", "$L__b")
    assert program.labels["$L__b"] == 1
    with pytest.raises(Fault, match="no label nowhere"):
        program.target("nowhere", (0,))


def test_variables() -> None:
    text = ".extern .shared .align 16 .b8 global_smem[];\n.shared .align 8 .b8 fixed[24];\n" + body(
        ".local .align 8 .b8 depot[16];\n ret;"
    )
    assert [(one.name, one.space, one.size) for one in parse(text).variables] == [
        ("global_smem", "shared", 0),
        ("fixed", "shared", 24),
        ("depot", "local", 16),
    ]


def test_variables_of_fixed_size_come_first() -> None:
    lines = (
        ".shared .align 8 .b8 fixed[24]; .reg .b32 %r<3>; mov.b32 %r0, fixed; mov.b32 %r1, global_smem;"
        "st.shared.b32 [%r0+20], %t; st.shared.b32 [global_smem+60], %t; sub.s32 %r2, %r1, %r0;"
        "st.global.b32 [%base], %r2;"
    )
    content, _ = run_lines(lines, shared=64)
    assert content[:4].view(np.uint32).tolist() == [32]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no .visible .entry"),
        (body("ret;").replace(".reqntid 64", ""), "lacks .reqntid"),
        (body("ret;").replace(".reqntid 64", ".reqntid 8, 8, 1"), "lacks .reqntid"),
        (body("%r1 = 3;"), "not a statement"),
    ],
)
def test_texts_that_are_not_read(text: str, told: str) -> None:
    with pytest.raises(Fault, match=told) as raised:
        parse(text)
    assert raised.value.kind is FaultKind.UNKNOWN


def test_operands() -> None:
    assert operands_of("{%r1, %r2}, [%rd1+4], -1") == ("{%r1, %r2}", "[%rd1+4]", "-1")
    assert operands_of("") == ()
    assert kernel_text([], 1, 32).count("kernel_param_0") == 1
