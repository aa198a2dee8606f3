"""Logic, shifts and bit fields, each bit by bit as PTX ISA 9.0 states it (sections 9.7.1.14 to 9.7.1.20, 9.7.8)."""

import numpy as np
import pytest

from tests.emulators.ptx.snippets import execute

WORDS = [0, 1, 0x80000000, 0xFFFFFFFF, 0x12345678, 0xDEADBEEF, 0x7FFFFFFF, 0x00010000]
UNSIGNED = {16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {16: np.int16, 32: np.int32, 64: np.int64}


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_shifts_by_the_width_or_more(bits: int) -> None:
    value = [0x8123456789ABCDEF & ((1 << bits) - 1), 0x7123456789ABCDEF & ((1 << bits) - 1)]
    amounts = [0, 1, bits - 1, bits, bits + 1, 200, 256, 65536, 2**32 - 1]
    rows = [(a, n) for a in value for n in amounts]
    unsigned = UNSIGNED[bits]
    inputs = {"a": np.array([a for a, _ in rows], unsigned), "n": np.array([n for _, n in rows], np.uint32)}
    got = execute(
        f"shl.b{bits} %l, %a, %n; shr.u{bits} %u, %a, %n; shr.s{bits} %s, %a, %n;",
        inputs,
        {"l": unsigned, "u": unsigned, "s": SIGNED[bits]},
    )
    assert got["l"].tolist() == [(a << n) & ((1 << bits) - 1) if n < bits else 0 for a, n in rows]
    assert got["u"].tolist() == [a >> min(n, bits) for a, n in rows]
    assert got["s"].tolist() == [signed(a, bits) >> min(n, bits) for a, n in rows]


def field(a: int, position: int, length: int, bits: int, is_signed: bool) -> int:
    """The ISA's loop for bfe."""
    msb = bits - 1
    position, length = position & 0xFF, length & 0xFF
    sign = 0 if not is_signed or length == 0 else a >> min(position + length - 1, msb) & 1
    result = 0
    for place in range(bits):
        taken = a >> (position + place) & 1 if place < length and position + place <= msb else sign
        result |= taken << place
    return result


@pytest.mark.parametrize("bits", [32, 64])
def test_extracts_and_inserts_fields(bits: int) -> None:
    value, other = 0x9ABCDEF012345678 & ((1 << bits) - 1), 0xA5A5A5A55A5A5A5A & ((1 << bits) - 1)
    rows = [
        (position, length)
        for position in (0, 1, 5, bits - 3, bits - 1, bits, 255, 256 + 3)
        for length in (0, 1, 8, bits - 1, bits, 255)
    ]
    unsigned = UNSIGNED[bits]
    inputs = {
        "a": np.full(len(rows), value, unsigned),
        "b": np.full(len(rows), other, unsigned),
        "p": np.array([p for p, _ in rows], np.uint32),
        "n": np.array([n for _, n in rows], np.uint32),
    }
    got = execute(
        f"bfe.u{bits} %u, %a, %p, %n; bfe.s{bits} %s, %a, %p, %n; bfi.b{bits} %i, %a, %b, %p, %n;",
        inputs,
        {"u": unsigned, "s": unsigned, "i": unsigned},
    )
    assert got["u"].tolist() == [field(value, p, n, bits, False) for p, n in rows]
    assert got["s"].tolist() == [field(value, p, n, bits, True) for p, n in rows]
    inserted = []
    for p, n in rows:
        result, p, n = other, p & 0xFF, n & 0xFF
        for place in range(n):
            if p + place < bits:
                result = result & ~(1 << (p + place)) | (value >> place & 1 if place < bits else 0) << (p + place)
        inserted.append(result)
    assert got["i"].tolist() == inserted


def test_lop3_looks_each_bit_up() -> None:
    a, b, c = (np.array(WORDS, np.uint32), np.array(WORDS[::-1], np.uint32), np.array(WORDS[3:] + WORDS[:3], np.uint32))
    for table in (0x00, 0xFF, 0x80, 0x96, 0xE8, 0x2C, 0xCA):
        got = execute(f"lop3.b32 %d, %a, %b, %c, {table:#x};", {"a": a, "b": b, "c": c}, {"d": np.uint32})
        for x, y, z, d in zip(a.tolist(), b.tolist(), c.tolist(), got["d"].tolist(), strict=True):
            wanted = 0
            for bit in range(32):
                entry = (x >> bit & 1) << 2 | (y >> bit & 1) << 1 | (z >> bit & 1)
                wanted |= (table >> entry & 1) << bit
            assert d == wanted


def permuted(a: int, b: int, selector: int) -> int:
    octets = [(a | b << 32) >> (8 * place) & 0xFF for place in range(8)]
    result = 0
    for place in range(4):
        nibble = selector >> (4 * place) & 15
        octet = octets[nibble & 7]
        result |= ((0xFF if octet & 0x80 else 0) if nibble & 8 else octet) << (8 * place)
    return result


@pytest.mark.parametrize("selector", [0x3210, 0x5410, 0x7632, 0x0123, 0x4567, 0xBA98, 0x6240, 0x7777, 0x1054])
def test_permutes_bytes(selector: int) -> None:
    a, b = np.array(WORDS, np.uint32), np.array([0x80FF7F01 ^ word for word in WORDS], np.uint32)
    got = execute(
        f"prmt.b32 %d, %a, %b, {selector:#x}U; prmt.b32 %e, %a, %b, %s;",
        {"a": a, "b": b, "s": np.full(len(WORDS), selector, np.uint32)},
        {"d": np.uint32, "e": np.uint32},
    )
    wanted = [permuted(x, y, selector) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert got["d"].tolist() == wanted
    assert got["e"].tolist() == wanted


def test_permutes_into_its_own_source() -> None:
    got = execute(
        "prmt.b32 %a, %a, %a, 0x0123U; mov.b32 %d, %a;", {"a": np.array([0x12345678], np.uint32)}, {"d": np.uint32}
    )
    assert got["d"].tolist() == [0x78563412]


@pytest.mark.parametrize(
    ("mode", "control", "places"),
    [
        ("f4e", 1, (4, 3, 2, 1)),
        ("b4e", 2, (7, 0, 1, 2)),
        ("rc8", 3, (3, 3, 3, 3)),
        ("ecl", 1, (3, 2, 1, 1)),
        ("ecr", 2, (2, 2, 1, 0)),
        ("rc16", 1, (3, 2, 3, 2)),
    ],
)
def test_permutes_by_mode(mode: str, control: int, places: tuple[int, ...]) -> None:
    octets = [0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87]
    a, b = int.from_bytes(octets[:4], "little"), int.from_bytes(octets[4:], "little")
    got = execute(
        f"prmt.b32.{mode} %d, %a, %b, {control};",
        {"a": np.array([a], np.uint32), "b": np.array([b], np.uint32)},
        {"d": np.uint32},
    )
    assert int(got["d"][0]).to_bytes(4, "big") == bytes(octets[place] for place in places)


@pytest.mark.parametrize("amount", [0, 1, 13, 31, 32, 33, 64])
def test_funnel_shifts(amount: int) -> None:
    low, high = 0x89ABCDEF, 0x01234567
    both = high << 32 | low
    inputs = {name: np.array([value], np.uint32) for name, value in (("a", low), ("b", high), ("n", amount))}
    got = execute(
        "shf.l.wrap.b32 %d, %a, %b, %n; shf.r.wrap.b32 %e, %a, %b, %n;"
        "shf.l.clamp.b32 %f, %a, %b, %n; shf.r.clamp.b32 %g, %a, %b, %n;",
        inputs,
        dict.fromkeys("defg", np.uint32),
    )
    wrapped, clamped = amount & 31, min(amount, 32)
    assert got["d"].tolist() == [both << wrapped >> 32 & 0xFFFFFFFF]
    assert got["e"].tolist() == [both >> wrapped & 0xFFFFFFFF]
    assert got["f"].tolist() == [both << clamped >> 32 & 0xFFFFFFFF]
    assert got["g"].tolist() == [both >> clamped & 0xFFFFFFFF]


@pytest.mark.parametrize("bits", [32, 64])
def test_counts_and_finds_bits(bits: int) -> None:
    values = [0, 1, 2, 1 << (bits - 1), (1 << bits) - 1, (1 << bits) - 2, 0x00F0F00F, (1 << (bits - 1)) - 1]
    got = execute(
        f"clz.b{bits} %z, %a; popc.b{bits} %c, %a; brev.b{bits} %r, %a; bfind.u{bits} %u, %a; bfind.s{bits} %s, %a;",
        {"a": np.array(values, UNSIGNED[bits])},
        {"z": np.uint32, "c": np.uint32, "r": UNSIGNED[bits], "u": np.uint32, "s": np.uint32},
    )
    texts = [f"{value:0{bits}b}" for value in values]
    assert got["z"].tolist() == [len(text) - len(text.lstrip("0")) for text in texts]
    assert got["c"].tolist() == [text.count("1") for text in texts]
    assert got["r"].tolist() == [int(text[::-1], 2) for text in texts]
    assert got["u"].tolist() == [value.bit_length() - 1 if value else 0xFFFFFFFF for value in values]
    unlike = [value ^ ((1 << bits) - 1) if value >> (bits - 1) else value for value in values]
    assert got["s"].tolist() == [value.bit_length() - 1 if value else 0xFFFFFFFF for value in unlike]


def test_predicates() -> None:
    a, b = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    got = execute(
        "and.pred %d, %a, %b; or.pred %e, %a, %b; xor.pred %f, %a, %b; not.pred %g, %a;",
        {"a": a, "b": b},
        dict.fromkeys("defg", np.bool_),
    )
    assert [got[name].tolist() for name in "defg"] == [
        (a & b).tolist(),
        (a | b).tolist(),
        (a ^ b).tolist(),
        (~a).tolist(),
    ]
