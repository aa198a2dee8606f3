import numpy as np
import pytest

from porting.emulators.amdgcn.operands import EXEC, M0, NULL, TRAP, VCC, UndecodedError, constant_bits, parse_operand
from porting.emulators.amdgcn.targets import TARGETS, find_target
from porting.emulators.faults import Fault

AT = 100
"""Row of a0."""


@pytest.mark.parametrize(
    ("text", "kind", "index", "count"),
    [
        ("v7", "vector", 7, 1),
        ("v[4:7]", "vector", 4, 4),
        ("a3", "vector", AT + 3, 1),
        ("a[0:15]", "vector", AT, 16),
        ("v1 /*v257*/", "vector", 257, 1),
        ("v[2:3] /*v[514:515]*/", "vector", 514, 2),
        ("s12", "scalar", 12, 1),
        ("s[0:1]", "scalar", 0, 2),
        ("vcc", "scalar", VCC, 2),
        ("vcc_lo", "scalar", VCC, 1),
        ("exec_hi", "scalar", EXEC + 1, 1),
        ("m0", "scalar", M0, 1),
        ("ttmp9", "scalar", TRAP + 9, 1),
        ("null", "scalar", NULL, 2),
        ("off", "off", 0, 1),
        ("src_scc", "scc", 0, 1),
    ],
)
def test_registers(text: str, kind: str, index: int, count: int) -> None:
    operand = parse_operand(text, AT)

    assert (operand.kind, operand.index, operand.count) == (kind, index, count)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-16", -16), ("0x7fffffff", 0x7FFFFFFF), ("0.5", 0.5), ("-4.0", -4.0), ("lit(0x3f800000)", 0x3F800000)],
)
def test_constants(text: str, value: float) -> None:
    operand = parse_operand(text, AT)

    assert (operand.kind, operand.value) == ("literal", value)


@pytest.mark.parametrize(
    ("text", "negated", "absolute"),
    [("-v1", True, False), ("|v1|", False, True), ("-|v1|", True, True), ("neg(0)", True, False)],
)
def test_signs(text: str, negated: bool, absolute: bool) -> None:
    operand = parse_operand(text, AT)

    assert (operand.negated, operand.absolute) == (negated, absolute)


def test_halves() -> None:
    assert [parse_operand(text, AT).half for text in ("v1.l", "v1.h", "v1")] == ["l", "h", ""]


@pytest.mark.parametrize("text", ["foo", "v", "s[0:", "lds_direct", "src_shared_base", "@x"])
def test_anything_else_is_unknown(text: str) -> None:
    with pytest.raises(UndecodedError, match="operand"):
        parse_operand(text, AT)


def test_keys_tell_scalar_registers_from_vector_ones() -> None:
    assert parse_operand("v[4:6]", AT).keys == (4, 5, 6)
    assert parse_operand("s[4:5]", AT).keys == (-5, -6)
    assert parse_operand("null", AT).keys == ()
    assert parse_operand("1.0", AT).keys == ()


def test_an_inline_float_has_the_width_of_its_operand() -> None:
    assert constant_bits(1.0, 16) == 0x3C00
    assert constant_bits(1.0, 32) == 0x3F800000
    assert constant_bits(-0.5, 64) == int(np.float64(-0.5).view(np.uint64))
    assert constant_bits(-1, 16) == 0xFFFF


def test_profiles_are_found_by_either_name() -> None:
    assert find_target("hip:gfx950") is find_target("gfx950") is TARGETS["gfx950"]
    assert {name: target.lanes for name, target in TARGETS.items()} == {
        "gfx942": 64,
        "gfx950": 64,
        "gfx1250": 32,
        "gfx1201": 32,
    }


def test_another_processor_is_unknown() -> None:
    with pytest.raises(Fault, match="gfx90a"):
        find_target("hip:gfx90a")
