"""Kernel files compiled and executed: what agrees, what a wrong kernel comes to, and what is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch

from porting.emulation import batch, emulate_kernels
from porting.emulation.batch import make_request
from porting.emulation.capture import pack_argument
from porting.emulation.kept import find_kept
from porting.errors import EmulationError
from porting.kernel_library import Kernel, load_kernel
from porting.record import EmulatedKernel
from porting.verdict.emulated import find_trouble
from tests.kernel_compiler.sources import ADD, write_kernel

RIGHT = ADD
WRONG = ADD.replace("x * half + y * one", "x * half + y * half")
REFERENCE = "return x * 0.5 + y"


def write(folder: Path, name: str, source: str, reference: str = REFERENCE) -> Kernel:
    path = write_kernel(folder, name, source)
    text = path.read_text().replace("    return x\n", f"    {reference}\n")
    path.write_text(text)
    return load_kernel(path)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], EmulatedKernel]:
    """A right kernel, one that computes something else and one that stores past the end, on three chips."""
    folder = tmp_path_factory.mktemp("kernels")
    kernels = {
        "right": write(folder, "right", RIGHT),
        "wrong": write(folder, "wrong", WRONG),
        "beyond": write(folder, "beyond", ADD.replace("tl.store(out_ptr + place, ", "tl.store(out_ptr + place + 64, ")),
        "silent": write(folder, "silent", ADD.replace("mask=place < n)", "mask=place < n - 5)")),
    }
    records = emulate_kernels(kernels, ("cuda:100", "cuda:103", "hip:gfx950"), ("float32",), folder / "cache", 2)
    return {(record.kernel, record.architecture): record for record in records}


CHIPS = ("cuda:100", "cuda:103", "hip:gfx950")


@pytest.mark.parametrize("chip", CHIPS)
def test_a_right_kernel_agrees_in_every_order(found: dict[tuple[str, str], EmulatedKernel], chip: str) -> None:
    record = found["right", chip]
    assert find_trouble(record) is None
    assert record.ratio is not None
    assert record.ratio <= 1.0
    assert [launch.sizes for launch in record.launches] == [(64,), (67,)]
    for launch in record.launches:
        assert launch.schedules == ("lazy", "eager", "lazy, last warp first")
        elements = launch.sizes[0] ** 2
        assert launch.bytes_read["global"] >= 2 * 4 * elements
        assert launch.bytes_written["global"] == 4 * elements
        assert sum(launch.instructions.values()) > 0


@pytest.mark.parametrize("chip", CHIPS)
def test_a_wrong_kernel_is_told_with_its_error(found: dict[tuple[str, str], EmulatedKernel], chip: str) -> None:
    trouble = find_trouble(found["wrong", chip])
    assert trouble is not None
    assert trouble.startswith("64: output 0: error is")


@pytest.mark.parametrize("chip", CHIPS)
def test_a_store_past_the_end_names_the_instruction_and_the_source_line(
    found: dict[tuple[str, str], EmulatedKernel], chip: str
) -> None:
    trouble = find_trouble(found["beyond", chip])
    assert trouble is not None
    assert "access out of bounds" in trouble
    assert "out_ptr" in trouble
    assert "source line" in trouble


@pytest.mark.parametrize("chip", CHIPS)
def test_what_is_not_written_is_seen(found: dict[tuple[str, str], EmulatedKernel], chip: str) -> None:
    trouble = find_trouble(found["silent", chip])
    assert trouble is not None
    assert "5 of 4096 values are not finite" in trouble


def test_chips_with_the_same_text_share_its_execution(found: dict[tuple[str, str], EmulatedKernel]) -> None:
    first, second = found["right", "cuda:100"], found["right", "cuda:103"]
    assert first.launches == second.launches
    assert {launch.executed_as for launch in second.launches} <= {"cuda:100", "cuda:103"}
    assert found["right", "hip:gfx950"].launches[0].executed_as == "hip:gfx950"


def test_what_was_found_is_kept_and_a_changed_kernel_is_executed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = write(tmp_path, "right", RIGHT)
    heard: list[str] = []
    asked = ({"right": kernel}, ("cuda:120",), ("float32",), tmp_path / "cache", 1)
    (first,) = emulate_kernels(*asked, lambda record: heard.append(record.kernel))
    assert (
        find_kept(tmp_path / "cache", make_request(kernel, "float32", "cuda:120", tmp_path).key, EmulatedKernel)
        == first
    )

    def no_worker(module: str, text: str, wanted: list[Any], environment: Any) -> Any:
        assert not wanted, "is executed again"
        yield from ()

    monkeypatch.setattr(batch, "run_batch", no_worker)
    assert emulate_kernels(*asked, lambda record: heard.append(record.kernel)) == (first,)
    assert heard == ["right", "right"]
    changed = write(tmp_path / "other", "right", WRONG)
    with pytest.raises(AssertionError, match="is executed again"):
        emulate_kernels({"right": changed}, *asked[1:])


def test_what_a_chip_cannot_take_is_not_executed(tmp_path: Path) -> None:
    kernel = write(tmp_path, "right", RIGHT + '\nUNSUPPORTED = {"cuda:80": "has no such adder"}\n')
    (record,) = emulate_kernels({"right": kernel}, ("cuda:80",), ("float32",), tmp_path / "cache", 1)
    assert record.unsupported == "has no such adder"
    assert record.launches == ()


def test_a_kernel_that_does_not_compile_says_why(tmp_path: Path) -> None:
    kernel = write(tmp_path, "broken", ADD.replace("tl.program_id(0)", "tl.no_such_thing(0)"))
    (record,) = emulate_kernels({"broken": kernel}, ("cuda:120",), ("float32",), tmp_path / "cache", 1)
    assert record.error is not None
    assert "no_such_thing" in record.error


def test_arguments_are_packed_as_the_kernel_takes_them() -> None:
    tensor = torch.zeros(4)
    assert pack_argument(tensor, "*fp32") == tensor.data_ptr().to_bytes(8, "little")
    assert pack_argument(None, "*bf16") == bytes(8)
    assert pack_argument(-2, "i32") == b"\xfe\xff\xff\xff"
    assert pack_argument(2**40, "i64") == (2**40).to_bytes(8, "little")
    assert pack_argument(1.5, "fp32") == b"\x00\x00\xc0\x3f"
    assert pack_argument(True, "i1") == b"\x01"
    with pytest.raises(EmulationError, match="of type tensordesc"):
        pack_argument(object(), "tensordesc<fp32[64]>")
