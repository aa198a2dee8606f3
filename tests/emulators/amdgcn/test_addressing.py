"""Buffer descriptors: base and number of records. Source: CDNA3 instruction set, buffer resource descriptor."""

import numpy as np
import pytest

from porting.emulators.amdgcn.operands import UndecodedError
from porting.emulators.launch import Buffer
from tests.emulators.amdgcn.bench import execute, lanes_of

BASE = 0x7F12_3456_7000
FILL = 0xAAAAAAAA


def narrow(records: int) -> dict[int, int]:
    """s[4:7]: 48-bit base, no stride, 32-bit number of records."""
    return {4: BASE & 0xFFFFFFFF, 5: BASE >> 32, 6: records, 7: 0x27000}


def wide(records: int) -> dict[int, int]:
    """gfx1250: 57-bit base, 45-bit number of records after it."""
    whole = BASE | records << 57
    return {4 + place: whole >> (32 * place) & 0xFFFFFFFF for place in range(4)}


def load(target: str, scalars: dict[int, int], soffset: int = 0, offset: int = 0) -> list[int]:
    """What lane L loads at 4 L + soffset + offset: words are their own numbers."""
    name = "buffer_load_dword" if target == "gfx950" else "buffer_load_b32"
    text = f"{name} v1, v0, s[4:7], s8 offen offset:{offset}"
    memory = Buffer("x", BASE, np.arange(4096, dtype=np.uint32).view(np.uint8))
    vectors = {0: lanes_of(target) * 4, 1: np.uint32(FILL)}
    waves = execute(target, text, vectors, {**scalars, 8: soffset}, buffers=[memory])
    return [int(word) for word in waves.u32[1][0]]


@pytest.mark.parametrize("target", ["gfx950", "gfx1201", "gfx1250"])
def test_all_offsets_are_added(target: str) -> None:
    scalars = (wide if target == "gfx1250" else narrow)(16384)
    lanes = len(lanes_of(target))

    assert load(target, scalars, 400, 40) == [110 + lane for lane in range(lanes)]


@pytest.mark.parametrize("target", ["gfx950", "gfx1201", "gfx1250"])
@pytest.mark.parametrize("records", [0, 40, 43, 44])
def test_a_lane_past_the_records_gets_zero(target: str, records: int) -> None:
    scalars = (wide if target == "gfx1250" else narrow)(records)
    lanes = len(lanes_of(target))

    assert load(target, scalars) == [lane if 4 * lane + 4 <= records else 0 for lane in range(lanes)]


def test_the_shared_offset_counts_against_the_records() -> None:
    assert load("gfx950", narrow(48), 40)[:4] == [10, 11, 0, 0]


def test_records_of_gfx1250_may_exceed_four_gigabytes() -> None:
    assert load("gfx1250", wide(1 << 40)) == list(range(32))


def test_a_descriptor_with_a_stride_is_unknown() -> None:
    scalars = narrow(4096)
    scalars[5] |= 16 << 16

    with pytest.raises(UndecodedError, match="stride"):
        load("gfx950", scalars)
