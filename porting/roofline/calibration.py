"""Measures in a second or two what this host's CPU does at most: a matrix product in fp32, and copies of several sizes.

The child process that measures gets its thread count before BLAS is loaded; in this process it could not change.
"""

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable

from porting.errors import RunnerError
from porting.record.limit import Bandwidth, Calibration, CalibrationSample, Peaks

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
TIMEOUT_SECONDS = 120.0

Measure = Callable[[int], list[CalibrationSample]]


def calibrate_host(threads: int, measure: Measure | None = None) -> Calibration:
    """Peaks of this host with that many threads: the best size's median, every raw sample kept.

    Args:
        threads: as many as the runtimes are given.
        measure: what makes the samples; a child process by default.

    Raises:
        RunnerError: the child could not measure.
    """
    samples = tuple((measure or _measure_in_child)(threads))
    rates = _median_rates(samples)
    products = {size: rate for (what, size), rate in rates.items() if what == "matmul"}
    copies = {size: rate for (what, size), rate in rates.items() if what == "copy"}
    if not products or not copies:
        raise RunnerError("calibration: made no samples of both product and copy; run it on a host with numpy")
    peaks = Peaks(
        name=f"this host's CPU, {threads} thread" + "s" * (threads != 1),
        matrix_flops_per_second=max(products.values()),
        bandwidths=tuple(
            Bandwidth(working_set_bytes=size, bytes_per_second=rate) for size, rate in sorted(copies.items())
        ),
        shared_units=True,
        projected=False,
        source="measured on this host: numpy's fp32 matrix product and copies",
    )
    return Calibration(threads=threads, peaks=peaks, samples=samples)


def _median_rates(samples: tuple[CalibrationSample, ...]) -> dict[tuple[str, int], float]:
    """(what, size) -> operations or bytes per second of the median repetition."""
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    for sample in samples:
        times[sample.what, sample.size].append(sample.seconds)
    return {
        (what, size): (2 * size**3 if what == "matmul" else size) / statistics.median(seconds)
        for (what, size), seconds in times.items()
    }


def _measure_in_child(threads: int) -> list[CalibrationSample]:
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    command = [sys.executable, "-m", "porting.roofline.worker", str(threads)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
        )
        return [CalibrationSample.model_validate(sample) for sample in json.loads(done.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError) as cause:
        raise RunnerError(f"calibration: the child process measured nothing ({cause}); see that numpy runs") from cause
