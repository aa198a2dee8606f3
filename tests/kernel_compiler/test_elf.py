"""ELF files and MessagePack: what is read, and that damage is named and not guessed around."""

import struct
from typing import Any

import pytest

from porting.errors import CompileError
from porting.kernel_compiler.elf import ElfFile, read_message_pack
from tests.kernel_compiler.sources import compiled, read


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x07", 7),
        (b"\xe0", -32),
        (b"\xff", -1),
        (b"\xcc\xff", 255),
        (b"\xcd\x01\x00", 256),
        (b"\xce\x00\x01\x00\x00", 65536),
        (b"\xd1\xff\xfe", -2),
        (b"\xc0", None),
        (b"\xc2", False),
        (b"\xc3", True),
        (b"\xa3abc", "abc"),
        (b"\xd9\x03abc", "abc"),
        (b"\x92\x01\xa1b", [1, "b"]),
        (b"\xdc\x00\x01\x05", [5]),
        (b"\x81\xa1k\x91\x02", {"k": [2]}),
        (b"\xde\x00\x01\xa1k\xc3", {"k": True}),
    ],
)
def test_message_pack(data: bytes, value: Any) -> None:
    assert read_message_pack(data) == value


@pytest.mark.parametrize("data", [b"", b"\xa3ab", b"\xcd\x01", b"\x92\x01", b"\xcb" + bytes(8), b"\xc1", b"\xa1\xff"])
def test_damaged_message_pack_is_refused(data: bytes) -> None:
    with pytest.raises(CompileError, match="metadata note"):
        read_message_pack(data)


@pytest.mark.parametrize("data", [b"", b"MZ" + bytes(100), b"\x7fELF\x01\x01" + bytes(100)])
def test_what_is_no_64_bit_elf_file_is_refused(data: bytes) -> None:
    with pytest.raises(CompileError, match="no 64-bit ELF file"):
        ElfFile(data)


def test_a_file_that_was_cut_is_refused() -> None:
    record = compiled()[1]["product", "bfloat16", "cuda:100"]
    file = ElfFile(read(record, ".cubin")[:2000])
    with pytest.raises(CompileError, match="sections cannot be read"):
        _ = file.sections


def test_sections_symbols_and_notes() -> None:
    records = compiled()[1]
    cubin = ElfFile(read(records["product", "bfloat16", "cuda:100"], ".cubin"))
    text = cubin.section(".text.kernel")
    assert text is not None
    assert len(text.data) == text.size
    assert "kernel" in {symbol.name for symbol in cubin.symbols}
    assert cubin.section(".text.other") is None
    hsaco = ElfFile(read(records["product", "bfloat16", "hip:gfx950"], ".hsaco"))
    note = hsaco.note("AMDGPU", 32)
    assert note is not None
    assert read_message_pack(note)["amdhsa.kernels"][0][".name"] == "kernel"
    assert hsaco.note("AMDGPU", 33) is None
    assert hsaco.note("NVIDIA", 32) is None
    assert struct.unpack_from("<H", hsaco.data, 18) == (hsaco.machine,)
