"""Programs on a multiprocessor: known cases, each limit in turn, and that unknown limits give no figure."""

import pytest

from porting.kernel_compiler.occupancy import AMD, NVIDIA, amd_occupancy, nvidia_occupancy


@pytest.mark.parametrize(
    ("architecture", "warps", "registers", "shared", "columns", "programs", "limiter"),
    [
        (90, 4, 32, 0, 0, 16, "warps"),
        (90, 4, 200, 49152, 0, 2, "registers"),
        (90, 4, 32, 65536, 0, 3, "shared memory"),
        # 227 KiB and what the driver takes fill the 228 KiB exactly.
        (90, 8, 32, 227 << 10, 0, 1, "shared memory"),
        (90, 8, 32, (227 << 10) + 1, 0, 0, "shared memory"),
        (90, 1, 32, 0, 0, 32, "programs"),
        (100, 4, 64, 1024, 256, 2, "tensor memory"),
        (89, 4, 255, 0, 0, 2, "registers"),
        (120, 4, 32, 98304, 0, 1, "shared memory"),
        (107, 4, 64, 0, 1024, 0, "tensor memory"),
        (107, 4, 64, 328 << 10, 0, 0, "shared memory"),
    ],
)
def test_nvidia(
    architecture: int, warps: int, registers: int, shared: int, columns: int, programs: int, limiter: str
) -> None:
    found = nvidia_occupancy(architecture, warps, registers, shared, columns)
    assert (found.programs, found.limiter, found.unknown) == (programs, limiter, "")
    most = NVIDIA[architecture].warps
    assert found.share == (programs * warps / most if most else 0.0)


@pytest.mark.parametrize(
    ("architecture", "waves", "by_registers", "lds", "programs", "limiter"),
    [
        ("gfx942", 4, 3, 16384, 3, "registers"),
        ("gfx942", 4, 8, 16, 8, "waves"),
        ("gfx942", 4, 8, 32769, 1, "LDS"),
        ("gfx942", 4, 8, 65537, 0, "LDS"),
        ("gfx950", 4, 8, 100560, 1, "LDS"),
        ("gfx1201", 4, 16, 16384, 8, "LDS"),
        ("gfx1250", 8, 3, 0, 1, "registers"),
    ],
)
def test_amd(architecture: str, waves: int, by_registers: int, lds: int, programs: int, limiter: str) -> None:
    found = amd_occupancy(architecture, waves, by_registers, lds)
    assert (found.programs, found.limiter) == (programs, limiter)
    assert found.share == programs * waves / (AMD[architecture].waves_per_simd * 4)


def test_an_unknown_chip_has_no_occupancy_but_a_reason() -> None:
    for found in (nvidia_occupancy(130, 4, 32, 0, 0), amd_occupancy("gfx1310", 4, 8, 0)):
        assert (found.programs, found.share, found.limiter) == (None, None, None)
        assert "in no table" in found.unknown


def test_nobody_knows_the_warps_of_rubin() -> None:
    found = nvidia_occupancy(107, 4, 64, 100 << 10, 512)
    assert (found.programs, found.share, found.limiter) == (None, None, None)
    assert "nobody published" in found.unknown
