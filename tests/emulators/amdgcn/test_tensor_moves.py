"""The tensor data mover: descriptors written field by field, as Triton's AMD backend documents them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from porting.emulators.amdgcn.state import Waves
from porting.emulators.faults import Fault, FaultKind
from porting.emulators.launch import Buffer
from tests.emulators.amdgcn.bench import execute

Array = npt.NDArray[Any]
BASE = 0x7_0000_1000
FIRST = 4
"""The first scalar register of the descriptor."""


def descriptor(
    tile: tuple[int, ...],
    limits: tuple[int, ...],
    strides: tuple[int, ...],
    lds: int = 0,
    element: int = 1,
    padding: tuple[int, int] | None = None,
    offset: int = 0,
    enabled: int = 1,
    kind: int = 2,
    flags: int = 0,
) -> list[int]:
    """The words of the groups. Sizes innermost first; strides of all but the innermost dimension.

    element: log2 of the bytes of one; padding: words between gaps, words of a gap.
    """
    first = enabled | lds << 32 | (BASE + offset) << 64 | kind << 126
    second = flags | element << 16
    if padding:
        second |= 1 << 20 | (padding[0].bit_length() - 2) << 22 | (padding[1] - 1) << 25
    tile, limits, strides = (
        (*values, *(0,) * (count - len(values))) for values, count in ((tile, 5), (limits, 5), (strides, 4))
    )
    second |= limits[0] << 48 | limits[1] << 80 | tile[0] << 112 | tile[1] << 128 | tile[2] << 144
    second |= strides[0] << 160 | strides[1] << 208
    third = limits[2] | limits[3] << 32 | strides[2] << 64 | tile[3] << 112
    fourth = strides[3] | limits[4] << 48 | tile[4] << 80
    words = []
    for group, count in ((first, 4), (second, 8), (third, 4), (fourth, 4)):
        words += [group >> (32 * place) & 0xFFFFFFFF for place in range(count)]
    return words


def move(
    mnemonic: str, words: list[int], buffer: Array, lds: Array, groups: int = 2, exec_mask: int | None = None
) -> Waves:
    spans = ["s[4:7]", "s[8:15]", "s[16:19]", "s[20:23]"][:groups]
    scalars = {FIRST + place: word for place, word in enumerate(words)}
    return execute(
        "gfx1250",
        f"{mnemonic} {', '.join(spans)}",
        scalars=scalars,
        lds=lds,
        buffers=[Buffer("tensor", BASE, buffer.reshape(-1).view(np.uint8))],
        exec_mask=exec_mask,
    )


def local(waves: Waves, size: int, dtype: Any) -> Array:
    content: Array = waves.local.bytes.u8[:size].view(dtype).copy()
    return content


def test_a_tile_of_two_dimensions_is_copied_row_by_row() -> None:
    tensor = np.arange(6 * 20, dtype=np.uint16).reshape(6, 20)
    words = descriptor((8, 4), (20 - 3, 6 - 1), (20,), lds=64, offset=2 * (1 * 20 + 3))
    waves = move("tensor_load_to_lds", words, tensor, np.full(256, 0xEE, np.uint8))
    got = local(waves, 256, np.uint16)
    np.testing.assert_array_equal(got[32:64].reshape(4, 8), tensor[1:5, 3:11])
    assert (got[:32] == 0xEEEE).all()
    assert (got[64:] == 0xEEEE).all()


def test_zeros_stand_where_the_tensor_ends() -> None:
    tensor = np.arange(1, 13, dtype=np.uint32).reshape(3, 4)
    words = descriptor((4, 4), (2, 1), (4,), element=2, offset=4 * (2 * 4 + 2))
    waves = move("tensor_load_to_lds", words, tensor, np.full(64, 0xEE, np.uint8))
    expected = np.zeros((4, 4), np.uint32)
    expected[0, :2] = tensor[2, 2:]
    np.testing.assert_array_equal(local(waves, 64, np.uint32).reshape(4, 4), expected)


def test_padding_leaves_gaps() -> None:
    """Four words, then a gap of two, and so on: what lies in the gaps stays."""
    tensor = np.arange(16, dtype=np.uint32)
    words = descriptor((16,), (16,), (), element=2, padding=(4, 2))
    waves = move("tensor_load_to_lds", words, tensor, np.full(96, 0xEE, np.uint8))
    got = local(waves, 96, np.uint32).reshape(4, 6)
    np.testing.assert_array_equal(got[:, :4], tensor.reshape(4, 4))
    assert (got[:, 4:] == 0xEEEEEEEE).all()


def test_five_dimensions() -> None:
    tensor = np.arange(2 * 3 * 2 * 4 * 8, dtype=np.uint8).reshape(2, 3, 2, 4, 8)
    words = descriptor((4, 2, 2, 2, 2), (8, 4, 2, 3, 2), (8, 32, 64, 192), element=0)
    waves = move("tensor_load_to_lds", words, tensor, np.zeros(64, np.uint8), groups=4)
    np.testing.assert_array_equal(local(waves, 64, np.uint8).reshape(2, 2, 2, 2, 4), tensor[:2, :2, :2, :2, :4])


def test_store_writes_only_what_the_tensor_has() -> None:
    tensor = np.zeros((4, 8), np.uint16)
    lds = np.arange(12, dtype=np.uint16)
    words = descriptor((4, 3), (3, 2), (8,), offset=2 * (2 * 8 + 5))
    move("tensor_store_from_lds", words, tensor, lds.view(np.uint8))
    expected = np.zeros((4, 8), np.uint16)
    expected[2, 5:8], expected[3, 5:8] = lds[0:3], lds[4:7]
    np.testing.assert_array_equal(tensor, expected)


def test_exec_is_ignored_and_the_predicate_is_not() -> None:
    tensor = np.arange(1, 9, dtype=np.uint16)
    waves = move("tensor_load_to_lds", descriptor((8,), (8,), ()), tensor, np.zeros(16, np.uint8), exec_mask=0)
    np.testing.assert_array_equal(local(waves, 16, np.uint16), tensor)
    off = move("tensor_load_to_lds", descriptor((8,), (8,), (), enabled=0), tensor, np.zeros(16, np.uint8))
    assert not local(off, 16, np.uint16).any()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"kind": 0}, FaultKind.MISUSE),
        ({"flags": 1 << 19}, FaultKind.UNKNOWN),
        ({"flags": 3}, FaultKind.UNKNOWN),
        ({"lds": 60}, FaultKind.OUT_OF_BOUNDS),
        ({"offset": 8}, FaultKind.OUT_OF_BOUNDS),
    ],
)
def test_what_is_wrong_or_unknown_is_a_fault(change: dict[str, Any], kind: FaultKind) -> None:
    words = descriptor((8,), (8,), (), **change)
    with pytest.raises(Fault) as caught:
        move("tensor_load_to_lds", words, np.arange(8, dtype=np.uint16), np.zeros(64, np.uint8))
    assert caught.value.kind is kind
