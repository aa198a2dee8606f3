"""Transposed loads, against the documents' words: what each lane gets of what the lanes of its group read."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer
from tests.emulators.amdgcn.bench import execute

Array = npt.NDArray[Any]


def fields(words: Array, bits: int) -> Array:
    """(registers, lanes) -> (lanes, elements), the lowest bits first."""
    rows = []
    for lane in range(words.shape[1]):
        whole = sum(int(word) << (32 * place) for place, word in enumerate(words[:, lane]))
        rows.append([whole >> (bits * place) & ((1 << bits) - 1) for place in range(32 * len(words) // bits)])
    return np.array(rows)


def read(target: str, mnemonic: str, words: int, seed: int = 0) -> tuple[Array, Array]:
    """Random LDS, every lane at an address of its own in disorder. -> (what each lane asks for, what it gets)."""
    random = np.random.default_rng(seed)
    lanes = 64 if target == "gfx950" else 32
    places = random.permutation(lanes)
    lds = random.integers(0, 256, lanes * 16 + 64, dtype=np.uint8)
    address = (places * 16 + 32).astype(np.uint32)
    d = f"v[4:{4 + words - 1}]"
    waves = execute(target, f"{mnemonic} {d}, v0 offset:32", {0: address - 32 + 0}, lds=lds)
    asked = np.stack([lds[at : at + 4 * words].view(np.uint32) for at in address], axis=-1)
    return asked, waves.block(4, words)[:, 0].copy()


def test_gfx950_sixteen_bits() -> None:
    """CDNA4, DS_READ_B64_TR_B16: in sixteen lanes, lane l gets element l % 4 of lanes l / 4, l / 4 + 4, ..."""
    asked, got = (fields(words, 16) for words in read("gfx950", "ds_read_b64_tr_b16", 2))
    for lane in range(64):
        first = lane // 16 * 16 + lane % 16 // 4
        assert got[lane].tolist() == [asked[first + 4 * place, lane % 4] for place in range(4)]


def test_gfx950_eight_bits_are_two_interleaved_transposes() -> None:
    """Each row of 16 lanes: lanes 0-7 get the even lanes' bytes, lanes 8-15 the odd lanes'."""
    asked, got = (fields(words, 8) for words in read("gfx950", "ds_read_b64_tr_b8", 2))
    for row in range(4):
        block = asked[16 * row : 16 * row + 16]
        np.testing.assert_array_equal(got[16 * row : 16 * row + 8], block[0::2].T)
        np.testing.assert_array_equal(got[16 * row + 8 : 16 * row + 16], block[1::2].T)


@pytest.mark.parametrize(("mnemonic", "bits", "words"), [("ds_read_b64_tr_b4", 4, 2), ("ds_read_b96_tr_b6", 6, 3)])
def test_gfx950_narrower_elements_are_one_transpose(mnemonic: str, bits: int, words: int) -> None:
    asked, got = (fields(each, bits) for each in read("gfx950", mnemonic, words))
    for row in range(4):
        np.testing.assert_array_equal(got[16 * row : 16 * row + 16], asked[16 * row : 16 * row + 16].T)


def test_gfx1250_sixteen_bits_are_four_transposes() -> None:
    """Triton: 32 lanes as four groups of eight; destination lane D gets element E = D % 8 of each lane of its group."""
    asked, got = (fields(words, 16) for words in read("gfx1250", "ds_load_tr16_b128", 4))
    for group in range(4):
        np.testing.assert_array_equal(got[8 * group : 8 * group + 8], asked[8 * group : 8 * group + 8].T)


def test_gfx1250_eight_bits_draw_from_two_runs_of_four_lanes() -> None:
    """Triton: lane 2 gets element 2 of lanes 0-3 and 8-11."""
    asked, got = (fields(words, 8) for words in read("gfx1250", "ds_load_tr8_b64", 2))
    assert got[2].tolist() == [asked[lane, 2] for lane in (0, 1, 2, 3, 8, 9, 10, 11)]
    assert got[13].tolist() == [asked[lane, 5] for lane in (4, 5, 6, 7, 12, 13, 14, 15)]
    assert got[16].tolist() == [asked[lane, 0] for lane in (16, 17, 18, 19, 24, 25, 26, 27)]


def test_gfx1250_four_bits() -> None:
    """AMD rocjitsu: groups of eight lanes; the odd groups' nibbles go to lanes 16-31, the second two to register 1."""
    asked, got = (fields(words, 4) for words in read("gfx1250", "ds_load_tr4_b64", 2))
    for lane in (0, 5, 15):
        assert got[lane].tolist() == [asked[source, lane] for source in (*range(8), *range(16, 24))]
        assert got[lane + 16].tolist() == [asked[source, lane] for source in (*range(8, 16), *range(24, 32))]


def test_gfx1250_six_bits() -> None:
    """AMD rocjitsu: sixteen lanes at a time, the lower four of every eight first."""
    asked, got = (fields(words, 6) for words in read("gfx1250", "ds_load_tr6_b96", 3))
    lower = [lane for lane in range(32) if lane % 8 < 4]
    for lane in (0, 7, 15):
        assert got[lane].tolist() == [asked[source, lane] for source in lower]
        assert got[lane + 16].tolist() == [asked[source + 4, lane] for source in lower]


@pytest.mark.parametrize("mnemonic", ["load_tr16_b128", "load_tr8_b64", "load_tr4_b64", "load_tr6_b96"])
def test_global_loads_transpose_alike(mnemonic: str) -> None:
    words = {"b128": 4, "b64": 2, "b96": 3}[mnemonic.rsplit("_", 1)[1]]
    asked, got = read("gfx1250", f"ds_{mnemonic}", words, seed=4)
    content = asked.T.copy().view(np.uint8).reshape(32, -1)
    padded = np.zeros((32, 16), np.uint8)
    padded[:, : 4 * words] = content
    buffer = Buffer("b", 0x1_0000_0100, padded.reshape(-1))
    text = f"global_{mnemonic} v[4:{3 + words}], v0, s[2:3] offset:16"
    offsets = np.arange(32, dtype=np.uint32) * 16
    scalars = {2: 0x100 - 16, 3: 1}
    waves = execute("gfx1250", text, {0: offsets}, scalars, buffers=[buffer])
    np.testing.assert_array_equal(waves.block(4, words)[:, 0], got)


def test_lanes_that_exec_leaves_out_are_a_fault() -> None:
    with pytest.raises(Fault) as caught:
        execute("gfx950", "ds_read_b64_tr_b16 v[4:5], v0", {0: 0}, exec_mask=0xFFFF, lds=np.zeros(64, np.uint8))
    assert caught.value.kind is FaultKind.DIVERGENT
