"""A Triton cache as a file of a bundle: nothing of this machine in it, and nothing but a cache comes out of it."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from porting.errors import KernelError
from porting.kernel_library.launch_cache import LaunchList, install_cache, pack_cache, read_launches, write_launches

KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def _entry(folder: Path, key: str = KEY) -> Path:
    """What Triton writes for one kernel: texts on the way, the binary, its metadata, and the list of them all."""
    entry = folder / key
    entry.mkdir(parents=True)
    (entry / "kernel.cubin").write_bytes(b"\x7fELF binary")
    (entry / "kernel.ttir").write_text(f'loc("{folder}/kernel.py")')
    metadata = {"shared": 16, "extern_libs": [["libdevice", f"{folder}/lib/libdevice.10.bc"]]}
    (entry / "kernel.json").write_text(json.dumps(metadata))
    names = ("kernel.cubin", "kernel.ttir", "kernel.json")
    (entry / "__grp__kernel.json").write_text(json.dumps({"child_paths": {n: str(entry / n) for n in names}}))
    return entry


def test_what_was_packed_is_installed_with_paths_of_its_new_place(tmp_path: Path) -> None:
    entry = _entry(tmp_path / "made")
    pack_cache([entry, entry], tmp_path / "cache.tar")
    assert install_cache(tmp_path / "cache.tar", tmp_path / "installed") == (KEY,)
    installed = tmp_path / "installed" / KEY
    assert {path.name for path in installed.iterdir()} == {"kernel.cubin", "kernel.json", "__grp__kernel.json"}
    assert (installed / "kernel.cubin").read_bytes() == b"\x7fELF binary"
    listed = json.loads((installed / "__grp__kernel.json").read_text())["child_paths"]
    assert listed == {name: str(installed / name) for name in ("kernel.cubin", "kernel.json")}


def test_two_places_make_the_same_bytes_without_their_names(tmp_path: Path) -> None:
    for place in ("one", "other"):
        entries = [_entry(tmp_path / place, key) for key in (KEY, KEY[::-1])]
        pack_cache(entries if place == "one" else reversed(entries), tmp_path / f"{place}.tar")
    content = (tmp_path / "one.tar").read_bytes()
    assert content == (tmp_path / "other.tar").read_bytes()
    assert str(tmp_path).encode() not in content


def test_an_entry_without_a_binary_is_not_packed(tmp_path: Path) -> None:
    entry = _entry(tmp_path)
    (entry / "kernel.cubin").unlink()
    with pytest.raises(KernelError, match="holds no binary; compile the kernel again"):
        pack_cache([entry], tmp_path / "cache.tar")


@pytest.mark.parametrize("name", ["../escaped", f"{KEY}/../../escaped", "/escaped", f"{KEY}/deep/er", f"{KEY}/", "x/y"])
def test_an_archive_that_reaches_out_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "cache.tar", "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(KernelError, match="which no cache holds; compile it again"):
        install_cache(tmp_path / "cache.tar", tmp_path / "inside" / "cache")
    assert not list(tmp_path.rglob("escaped"))


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cache.tar", "w") as tar:
        member = tarfile.TarInfo(f"{KEY}/kernel.cubin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(KernelError, match="which no cache holds"):
        install_cache(tmp_path / "cache.tar", tmp_path / "cache")


@pytest.mark.parametrize("content", [None, b"", b"no archive at all" * 100])
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "cache.tar").write_bytes(content)
    with pytest.raises(KernelError, match=r"cache\.tar: cannot be unpacked"):
        install_cache(tmp_path / "cache.tar", tmp_path / "cache")


def test_a_list_of_launches_survives_its_file(tmp_path: Path) -> None:
    launches = LaunchList(
        component="decoder",
        architecture="hip:gfx950",
        precision="bf16",
        triton="3.9.0",
        environment={"TRITON_DISABLE_LINE_INFO": "true"},
        kernels={"rms_silu": "0" * 64},
        launches=(),
    )
    write_launches(launches, tmp_path / "list.json")
    assert read_launches(tmp_path / "list.json") == launches
    (tmp_path / "list.json").write_text('{"component": "decoder", "more": 1}')
    with pytest.raises(KernelError, match="is no list of launches"):
        read_launches(tmp_path / "list.json")
