"""Loads, stores and copies, instruction by instruction. Source: CDNA3, CDNA4 and RDNA4 instruction sets, memory."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators.amdgcn.operands import M0
from porting.emulators.amdgcn.state import Waves
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer
from tests.emulators.amdgcn.bench import execute, lanes_of

Array = npt.NDArray[Any]
BASE = 0x7F12_0000_0100
ALL = ["gfx942", "gfx950", "gfx1250", "gfx1201"]
OLD = {
    "u8": "ubyte",
    "i8": "sbyte",
    "u16": "ushort",
    "i16": "sshort",
    "b32": "dword",
    "b64": "dwordx2",
    "b96": "dwordx3",
    "b128": "dwordx4",
}
STORED = {"b8": "byte", "b16": "short", **{name: OLD[name] for name in ("b32", "b64", "b96", "b128")}}


def content(size: int = 4096, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def buffer_of(data: Array) -> Buffer:
    return Buffer("data", BASE, data)


def name_of(target: str, space: str, direction: str, width: str) -> str:
    """The mnemonic of a width: gfx9 and gfx12 name them differently."""
    if "gfx9" in target:
        width = (OLD if direction == "load" else STORED)[width]
    return f"{space}_{direction}_{width}"


def words_at(data: Array, places: Array, width: str) -> Array:
    """What a load of that width gives: (registers, lanes)."""
    size = int(width[1:]) // 8
    raw = np.stack([data[place : place + size] for place in places])
    if size >= 4:
        return raw.copy().view(np.uint32).T
    dtype = {"u8": np.uint8, "i8": np.int8, "u16": np.uint16, "i16": np.int16}[width]
    return raw.copy().view(dtype)[:, :1].astype(np.int32).view(np.uint32).T


def span(first: int, count: int) -> str:
    return f"v{first}" if count == 1 else f"v[{first}:{first + count - 1}]"


def pointers(places: Array) -> dict[int, Array]:
    """64-bit addresses in v0 and v1."""
    addresses = places.astype(np.uint64) + np.uint64(BASE)
    return {0: (addresses & np.uint64(0xFFFFFFFF)).astype(np.uint32), 1: (addresses >> np.uint64(32)).astype(np.uint32)}


def disorder(target: str, step: int = 16) -> Array:
    return np.random.default_rng(5).permutation(len(lanes_of(target))).astype(np.int64) * step


@pytest.mark.parametrize("width", OLD)
@pytest.mark.parametrize("target", ALL)
def test_global_loads(target: str, width: str) -> None:
    data, places = content(), disorder(target)
    count = max(int(width[1:]) // 32, 1)
    name = name_of(target, "global", "load", width)
    waves = execute(
        target, f"{name} {span(4, count)}, v[0:1], off offset:48", pointers(places), buffers=[buffer_of(data)]
    )
    np.testing.assert_array_equal(waves.block(4, count)[:, 0], words_at(data, places + 48, width))


@pytest.mark.parametrize("width", STORED)
@pytest.mark.parametrize("target", ALL)
def test_global_stores(target: str, width: str) -> None:
    data, places = np.zeros(2048, np.uint8), disorder(target)
    count, size = max(int(width[1:]) // 32, 1), int(width[1:]) // 8
    values = np.random.default_rng(1).integers(0, 2**32, (count, len(places)), dtype=np.uint32)
    name = name_of(target, "global", "store", width)
    mask = 0xF0F0F0F0F0F0F0F0 & (1 << len(places)) - 1
    execute(
        target,
        f"{name} v[0:1], {span(4, count)}, off offset:16",
        {**pointers(places), 4: values},
        exec_mask=mask,
        buffers=[buffer_of(data)],
    )
    expected = np.zeros_like(data)
    for lane, place in enumerate(places):
        if mask >> lane & 1:
            expected[place + 16 : place + 16 + size] = values[:, lane].copy().view(np.uint8)[:size]
    np.testing.assert_array_equal(data, expected)


@pytest.mark.parametrize("target", ALL)
def test_scalar_base_and_vector_offset(target: str) -> None:
    data, places = content(), disorder(target, 4)
    name = name_of(target, "global", "load", "b32")
    scalars = {2: BASE & 0xFFFFFFFF, 3: BASE >> 32}
    waves = execute(
        target, f"{name} v4, v0, s[2:3] offset:8", {0: places.astype(np.uint32)}, scalars, buffers=[buffer_of(data)]
    )
    np.testing.assert_array_equal(waves.block(4, 1)[:, 0], words_at(data, places + 8, "b32"))


def test_offsets_of_gfx1250_are_signed_and_may_be_scaled() -> None:
    data = content()
    base = BASE + 1024
    scalars = {2: base & 0xFFFFFFFF, 3: base >> 32}
    lanes = np.arange(32, dtype=np.int32) - 16
    waves = execute(
        "gfx1250", "global_load_b64 v[4:5], v0, s[2:3] scale_offset", {0: lanes}, scalars, buffers=[buffer_of(data)]
    )
    np.testing.assert_array_equal(waves.block(4, 2)[:, 0], words_at(data, 1024 + 8 * lanes.astype(np.int64), "b64"))


@pytest.mark.parametrize("text", ["global_load_dword v4, v[0:1], off", "global_store_dword v[0:1], v4, off"])
def test_addresses_out_of_bounds_and_misaligned(text: str) -> None:
    for place, kind in ((4096, FaultKind.OUT_OF_BOUNDS), (-4, FaultKind.OUT_OF_BOUNDS), (2, FaultKind.MISALIGNED)):
        places = np.zeros(64, np.int64)
        places[9] = place
        with pytest.raises(Fault) as caught:
            execute("gfx942", text, {**pointers(places), 4: 0}, buffers=[buffer_of(content())])
        assert caught.value.kind is kind
        execute("gfx942", text, {**pointers(places), 4: 0}, exec_mask=0xFF, buffers=[buffer_of(content())])


def test_half_register_loads_keep_the_other_half() -> None:
    data, places = content(), disorder("gfx942")
    loads = ("short_d16 v4", "short_d16_hi v5", "sbyte_d16_hi v6")
    text = "\n".join(f"global_load_{load}, v[0:1], off" for load in loads)
    waves = execute(
        "gfx942", text, {**pointers(places), 4: 0x12345678, 5: 0x12345678, 6: 0x12345678}, buffers=[buffer_of(data)]
    )
    halves = words_at(data, places, "u16")[0]
    np.testing.assert_array_equal(waves.u32[4][0], 0x12340000 | halves)
    np.testing.assert_array_equal(waves.u32[5][0], 0x5678 | halves << 16)
    octets = words_at(data, places, "i8")[0] & 0xFFFF
    np.testing.assert_array_equal(waves.u32[6][0], 0x5678 | octets << 16)


def descriptor(target: str, size: int, base: int = BASE) -> dict[int, int]:
    """A raw buffer in s[4:7]: CDNA3 with 32 bits of records at bit 64, gfx1250 with 45 at bit 57."""
    whole = base | size << 57 | 1 << 126 if target == "gfx1250" else base | size << 64 | 0x27000 << 96
    return {4 + place: whole >> (32 * place) & 0xFFFFFFFF for place in range(4)}


@pytest.mark.parametrize("target", ALL)
def test_buffer_loads_give_zero_beyond_the_records(target: str) -> None:
    data = content(512)
    offsets = (np.arange(len(lanes_of(target))) * 16).astype(np.uint32)
    name = name_of(target, "buffer", "load", "b128")
    off = "0" if "gfx9" in target else "null"
    text = f"{name} v[4:7], v0, s[4:7], {off} offen offset:32"
    waves = execute(target, text, {0: offsets}, descriptor(target, 320), buffers=[buffer_of(data)])
    for lane, offset in enumerate(offsets.tolist()):
        inside = offset + 32 + 16 <= 320
        want = data[offset + 32 : offset + 48].view(np.uint32).tolist() if inside else [0] * 4
        assert waves.block(4, 4)[:, 0, lane].tolist() == want


@pytest.mark.parametrize("target", ALL)
def test_buffer_stores_drop_what_is_beyond_the_records(target: str) -> None:
    data = np.zeros(1024, np.uint8)
    lanes = len(lanes_of(target))
    offsets = (np.arange(lanes) * 4).astype(np.uint32)
    name = name_of(target, "buffer", "store", "b32")
    execute(
        target,
        f"{name} v4, v0, s[4:7], s3 offen",
        {0: offsets, 4: offsets + 1},
        {**descriptor(target, 64), 3: 8},
        buffers=[buffer_of(data)],
    )
    expected = np.zeros(256, np.uint32)
    expected[2:16] = np.arange(14) * 4 + 1
    np.testing.assert_array_equal(data.view(np.uint32), expected)


def local(waves: Waves, size: int) -> Array:
    return waves.local.bytes.u8[:size].copy()


@pytest.mark.parametrize("width", ["u8", "i8", "u16", "i16", "b32", "b64", "b96", "b128"])
@pytest.mark.parametrize("target", ALL)
def test_local_loads(target: str, width: str) -> None:
    data, places = content(2048), disorder(target)
    count = max(int(width[1:]) // 32, 1)
    name = f"ds_{'read' if 'gfx9' in target else 'load'}_{width}"
    waves = execute(target, f"{name} {span(4, count)}, v0 offset:64", {0: places.astype(np.uint32)}, lds=data)
    np.testing.assert_array_equal(waves.block(4, count)[:, 0], words_at(data, places + 64, width))


@pytest.mark.parametrize("width", ["b8", "b16", "b32", "b64", "b96", "b128"])
@pytest.mark.parametrize("target", ALL)
def test_local_stores(target: str, width: str) -> None:
    places = disorder(target)
    count, size = max(int(width[1:]) // 32, 1), int(width[1:]) // 8
    values = np.random.default_rng(1).integers(0, 2**32, (count, len(places)), dtype=np.uint32)
    name = f"ds_{'write' if 'gfx9' in target else 'store'}_{width}"
    waves = execute(
        target,
        f"{name} v0, {span(4, count)} offset:16",
        {0: places.astype(np.uint32), 4: values},
        lds=np.zeros(2048, np.uint8),
    )
    expected = np.zeros(2048, np.uint8)
    for lane, place in enumerate(places):
        expected[place + 16 : place + 16 + size] = values[:, lane].copy().view(np.uint8)[:size]
    np.testing.assert_array_equal(local(waves, 2048), expected)


@pytest.mark.parametrize(
    ("target", "form", "unit"),
    [
        ("gfx942", "ds_read2_b32", 4),
        ("gfx942", "ds_read2_b64", 8),
        ("gfx950", "ds_read2st64_b32", 256),
        ("gfx1250", "ds_load_2addr_b64", 8),
        ("gfx1201", "ds_load_2addr_stride64_b32", 256),
    ],
)
def test_two_local_loads_at_once(target: str, form: str, unit: int) -> None:
    """Offsets count elements, or 64 of them."""
    data, places = content(4096), disorder(target, 8)
    width = "b64" if form.endswith("64") and "b64" in form else "b32"
    count = int(width[1:]) // 32
    waves = execute(
        target, f"{form} {span(4, 2 * count)}, v0 offset0:3 offset1:5", {0: places.astype(np.uint32)}, lds=data
    )
    got = waves.block(4, 2 * count)[:, 0]
    np.testing.assert_array_equal(got[:count], words_at(data, places + 3 * unit, width))
    np.testing.assert_array_equal(got[count:], words_at(data, places + 5 * unit, width))


def test_two_local_stores_at_once() -> None:
    places = disorder("gfx942", 4)
    text = "ds_write2st64_b32 v0, v4, v5 offset0:1 offset1:4"
    waves = execute(
        "gfx942", text, {0: places.astype(np.uint32), 4: 7, 5: lanes_of("gfx942")}, lds=np.zeros(2048, np.uint8)
    )
    words = local(waves, 2048).view(np.uint32)
    assert (words[64:128] == 7).all()
    assert words[256 + places // 4].tolist() == list(range(64))


def test_upper_half_is_stored() -> None:
    waves = execute(
        "gfx950",
        "ds_write_b16_d16_hi v0, v4",
        {0: lanes_of("gfx950") * 2, 4: 0xABCD0000 + lanes_of("gfx950")},
        lds=np.zeros(128, np.uint8),
    )
    assert (local(waves, 128).view(np.uint16) == 0xABCD).all()


def test_local_faults() -> None:
    cases = [(60, FaultKind.MISALIGNED), (66, FaultKind.MISALIGNED), (2048, FaultKind.OUT_OF_BOUNDS)]
    for place, kind in cases[1:]:
        with pytest.raises(Fault) as caught:
            execute("gfx942", "ds_read_b32 v4, v0", {0: place}, lds=content(2048))
        assert caught.value.kind is kind


@pytest.mark.parametrize("target", ["gfx942", "gfx1201"])
def test_private_memory_is_each_lanes_own(target: str) -> None:
    store, load = (name_of(target, "scratch", direction, "b64") for direction in ("store", "load"))
    text = f"{store} off, v[4:5], off offset:16\n{load} v[6:7], off, off offset:16"
    values = np.arange(2 * len(lanes_of(target)), dtype=np.uint32).reshape(2, -1)
    waves = execute(target, text, {4: values}, scratch=64)
    np.testing.assert_array_equal(waves.block(6, 2)[:, 0], values)
    with pytest.raises(Fault) as caught:
        execute(target, f"{store} off, v[4:5], off offset:60", {4: values}, scratch=64)
    assert caught.value.kind is FaultKind.OUT_OF_BOUNDS


@pytest.mark.parametrize("size", [4, 16])
def test_copies_to_lds_pass_no_register(size: int) -> None:
    """CDNA4: lane L writes at M0 + offset + size * L, whatever lanes are off."""
    data, places = content(), disorder("gfx950")
    name = {4: "global_load_lds_dword", 16: "global_load_lds_dwordx4"}[size]
    waves = execute(
        "gfx950",
        f"{name} v[0:1], off",
        pointers(places),
        {M0: 256},
        exec_mask=0xFFFF_FFFF_FFFF_FF0F,
        lds=np.zeros(2048, np.uint8),
        buffers=[buffer_of(data)],
    )
    expected = np.zeros(2048, np.uint8)
    for lane, place in enumerate(places):
        if not 4 <= lane < 8:
            expected[256 + size * lane : 256 + size * (lane + 1)] = data[place : place + size]
    np.testing.assert_array_equal(local(waves, 2048), expected)


def test_asynchronous_copies_of_gfx1250() -> None:
    """Each lane names its own LDS address; the offset moves both; masked lanes have an address beyond everything."""
    data, places = content(), disorder("gfx1250")
    into = (np.random.default_rng(2).permutation(32) * 16).astype(np.uint32)
    into[3] = 0x7FFFFFFF
    text = "global_load_async_to_lds_b128 v2, v[0:1], off offset:32"
    waves = execute(
        "gfx1250", text, {**pointers(places), 2: into}, lds=np.zeros(1024, np.uint8), buffers=[buffer_of(data)]
    )
    expected = np.zeros(1024, np.uint8)
    for lane, place in enumerate(places):
        if lane != 3:
            expected[into[lane] + 32 : into[lane] + 48] = data[place + 32 : place + 48]
    np.testing.assert_array_equal(local(waves, 1024), expected)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize("target", ["gfx942", "gfx1250"])
def test_scalar_loads(target: str, count: int) -> None:
    data = content(256)
    old = {1: "dword", 2: "dwordx2", 4: "dwordx4", 8: "dwordx8"}
    name = f"s_load_{old[count] if target == 'gfx942' else f'b{32 * count}'}"
    destination = "s8" if count == 1 else f"s[8:{7 + count}]"
    waves = execute(
        target,
        f"{name} {destination}, s[2:3], 0x20",
        scalars={2: BASE & 0xFFFFFFFF, 3: BASE >> 32},
        buffers=[buffer_of(data)],
    )
    want = data[32 : 32 + 4 * count].view(np.uint32).tolist()
    assert [int(waves.s32[8 + place][0]) for place in range(count)] == want


@pytest.mark.parametrize(("target", "wait"), [("gfx942", "s_waitcnt vmcnt(1)"), ("gfx1201", "s_wait_loadcnt 0x1")])
def test_loads_take_effect_in_order_when_they_are_waited_for(target: str, wait: str) -> None:
    data = content()
    name = name_of(target, "global", "load", "b32")
    first = f"{name} v4, v[0:1], off\n{name} v5, v[0:1], off offset:4"
    vectors = {**pointers(np.zeros(len(lanes_of(target)), np.int64)), 4: 1, 5: 1}
    before = execute(target, first, vectors, buffers=[buffer_of(data)], lazy=True)
    assert (before.u32[4][0][0], before.u32[5][0][0]) == (1, 1)
    after = execute(target, f"{first}\n{wait}", vectors, buffers=[buffer_of(data)], lazy=True)
    assert (after.u32[4][0][0], after.u32[5][0][0]) == (data.view(np.uint32)[0], 1)


def test_stores_carry_the_value_that_they_were_issued_with() -> None:
    data = np.zeros(64, np.uint8)
    text = "global_store_dword v[0:1], v4, off\nv_mov_b32_e32 v4, 9\ns_waitcnt vmcnt(0)"
    execute(
        "gfx942", text, {**pointers(np.zeros(64, np.int64)), 4: 5}, buffers=[buffer_of(data)], exec_mask=1, lazy=True
    )
    assert data.view(np.uint32)[0] == 5
