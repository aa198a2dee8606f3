"""The least time that a frame can take on some peaks, and what share of the limit was reached.

A floor assumes perfect overlap of arithmetic and fetching, nothing but compulsory traffic, and every unit busy.
"""

from collections.abc import Mapping

from porting.record.limit import ComponentFloor, ComponentWork, FrameLimit, FrameWork, Peaks

FEWER_PRODUCTS = 4.0
"""Winograd's F(4x4, 3x3) makes a convolution over a window with so many times fewer products than are counted."""
BETTER_CODE = 1.5
"""The product that a peak is measured with may fall short of the units' own rate by a third, and a clock may boost."""
NEARER_CACHE = 4.0
"""A peak's copies write as much as they read: reading alone is up to twice as fast, and so is a cache one step nearer,
which may hold what a call takes although the calibration's smallest working set did not fit."""


def limit_frame(
    work: FrameWork,
    peaks: Peaks,
    measured_ms: Mapping[str, float] | None = None,
    frame_ms: float | None = None,
) -> FrameLimit:
    """A frame's floor beside what was measured.

    Args:
        work: of one frame.
        peaks: of the device that the frames were, or would be, made on.
        measured_ms: component -> time of all its calls in a median frame. One that is absent was not measured.
        frame_ms: a median frame.
    """
    measured = measured_ms or {}
    floors = tuple(_floor(component, peaks, measured.get(component.component)) for component in work.components)
    copied = work.ring_bytes + work.input_bytes
    return FrameLimit(
        work=work,
        peaks=peaks,
        components=floors,
        copy_ms=1000.0 * copied / peaks.bandwidth(copied),
        measured_ms=frame_ms,
        incomplete=work.uncounted,
    )


def _floor(work: ComponentWork, peaks: Peaks, measured_ms: float | None) -> ComponentFloor:
    flops = work.flops if peaks.shared_units else work.matrix_flops
    compute = 1000.0 * work.calls_per_frame * flops / peaks.matrix_flops_per_second
    moved = work.compulsory_bytes
    memory = 1000.0 * work.calls_per_frame * moved / peaks.bandwidth(moved)
    return ComponentFloor(
        component=work.component,
        calls_per_frame=work.calls_per_frame,
        compute_ms=compute,
        memory_ms=memory,
        bound="compute" if compute >= memory else "memory",
        measured_ms=measured_ms,
        impossible_ms=work.calls_per_frame * _impossible_ms(work, peaks),
    )


def _impossible_ms(work: ComponentWork, peaks: Peaks) -> float:
    """A time of one call that no code can stay below, whatever the floor's own figures are off by.

    Arithmetic beside products is left out: some of it is of constants, which a compiler folds.
    """
    products = work.matrix_flops - work.convolution_flops * (1.0 - 1.0 / FEWER_PRODUCTS)
    compute = products / (peaks.matrix_flops_per_second * BETTER_CODE)
    moved = work.compulsory_bytes
    return 1000.0 * max(compute, moved / (peaks.bandwidth(moved) * NEARER_CACHE))
