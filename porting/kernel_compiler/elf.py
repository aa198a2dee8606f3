"""Reads ELF files: header, sections, symbols, notes. Knows no vendor; `nvidia` and `amd` say what the parts mean."""

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from porting.errors import CompileError

MAGIC = b"\x7fELF\x02\x01"
"""64 bits, little endian."""
SECTION_NOTE = 7
SECTION_SYMBOLS = 2
SECTION_NO_BITS = 8


@dataclass(frozen=True)
class Section:
    """One section; `data` is empty where the file holds none of it, as for a zeroed one."""

    name: str
    kind: int
    link: int
    size: int
    data: bytes


@dataclass(frozen=True)
class Symbol:
    """One entry of the symbol table."""

    index: int
    name: str
    size: int


@dataclass(frozen=True)
class ElfFile:
    """A 64-bit little-endian ELF file."""

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) < 64 or not self.data.startswith(MAGIC):
            raise CompileError("the binary is no 64-bit ELF file; compile the kernel again")

    @property
    def abi_version(self) -> int:
        """Version of the vendor's layout, which decides how `flags` are read."""
        return self.data[8]

    @property
    def machine(self) -> int:
        """e_machine: 190 CUDA, 224 AMDGPU."""
        return int(struct.unpack_from("<H", self.data, 18)[0])

    @property
    def flags(self) -> int:
        """e_flags."""
        return int(struct.unpack_from("<I", self.data, 48)[0])

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """In the file's order, so that `Section.link` counts in it.

        Raises:
            CompileError: the table lies outside the file.
        """
        try:
            (start,) = struct.unpack_from("<Q", self.data, 40)
            step, count, names_at = struct.unpack_from("<HHH", self.data, 58)
            rows = [struct.unpack_from("<IIQQQQIIQQ", self.data, start + step * row) for row in range(count)]
            names = rows[names_at][4]
            return tuple(
                Section(
                    name=_text(self.data, names + row[0]),
                    kind=row[1],
                    link=row[6],
                    size=row[5],
                    data=b"" if row[1] == SECTION_NO_BITS else self.data[row[4] : row[4] + row[5]],
                )
                for row in rows
            )
        except (struct.error, IndexError, ValueError) as cause:
            raise CompileError(f"the ELF file's sections cannot be read ({cause}); compile the kernel again") from cause

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """Of the first symbol table; empty where there is none."""
        table = next((section for section in self.sections if section.kind == SECTION_SYMBOLS), None)
        if table is None:
            return ()
        names = self.sections[table.link].data
        rows = struct.iter_unpack("<IBBHQQ", table.data)
        return tuple(Symbol(index, _text(names, row[0]), row[5]) for index, row in enumerate(rows))

    def note(self, owner: str, kind: int) -> bytes | None:
        """What one note of an owner says."""
        for section in self.sections:
            place = 0
            while section.kind == SECTION_NOTE and place + 12 <= len(section.data):
                name_size, size, found = struct.unpack_from("<III", section.data, place)
                name_end = place + 12 + name_size
                start = (name_end + 3) // 4 * 4
                if section.data[place + 12 : name_end].rstrip(b"\0") == owner.encode() and found == kind:
                    return section.data[start : start + size]
                place = (start + size + 3) // 4 * 4
        return None


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(0, start)].decode("utf-8", "replace")


def read_message_pack(data: bytes) -> Any:
    """The value that MessagePack bytes hold, as AMD's metadata note does.

    Source: the MessagePack specification, formats table; floats and extensions, which that note has not, are refused.

    Raises:
        CompileError: the bytes end early or have another format.
    """
    try:
        value, _ = _unpack(data, 0)
    except (struct.error, IndexError, UnicodeDecodeError) as cause:
        raise CompileError(f"the metadata note is damaged ({cause}); compile the kernel again") from cause
    return value


INTEGERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
LENGTHS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}


def _unpack(data: bytes, place: int) -> tuple[Any, int]:
    """The value at a place, and the place behind it."""
    code = data[place]
    place += 1
    if code < 0x80 or code >= 0xE0:
        return (code if code < 0x80 else code - 0x100), place
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], place
    if code in INTEGERS:
        return struct.unpack_from(INTEGERS[code], data, place)[0], place + struct.calcsize(INTEGERS[code])
    if code in LENGTHS:
        (length,) = struct.unpack_from(LENGTHS[code], data, place)
        place += struct.calcsize(LENGTHS[code])
        kind = "text" if code <= 0xDB else "list" if code <= 0xDD else "table"
    elif code < 0xC0:
        kind, length = ("text", code & 0x1F) if code >= 0xA0 else ("list" if code >= 0x90 else "table", code & 0x0F)
    else:
        raise CompileError(f"the metadata note has MessagePack format {code:#x}; update worldport")
    if kind == "text":
        if place + length > len(data):
            raise IndexError(f"a text of {length} bytes ends early")
        return data[place : place + length].decode("utf-8"), place + length
    values = []
    for _ in range(length * (2 if kind == "table" else 1)):
        value, place = _unpack(data, place)
        values.append(value)
    return (dict(zip(values[::2], values[1::2], strict=True)) if kind == "table" else values), place
