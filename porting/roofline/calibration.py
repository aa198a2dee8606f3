"""Measures in a second or two what this host's CPU does at most: a matrix product in fp32, and copies of several sizes.

A peak is the fastest repetition: whatever else the machine does can only make one slower.
The child process that measures gets its thread count before BLAS is loaded; in this process it could not change.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable

from porting.errors import RunnerError
from porting.record.limit import Bandwidth, Calibration, CalibrationSample, Peaks

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
TIMEOUT_SECONDS = 120.0

Measure = Callable[[int], tuple[list[CalibrationSample], tuple[str, ...]]]
"""Samples, and what else the machine did meanwhile."""


def calibrate_host(threads: int, measure: Measure | None = None) -> Calibration:
    """Peaks of this host with that many threads: the best size's fastest repetition, every raw sample kept.

    Args:
        threads: as many as the runtimes are given.
        measure: what makes the samples; a child process by default.

    Raises:
        RunnerError: the child could not measure.
    """
    return settle_calibration(threads, *(measure or _measure_in_child)(threads))


def settle_calibration(threads: int, samples: list[CalibrationSample], disturbances: tuple[str, ...]) -> Calibration:
    """The peaks that samples show, of one calibration or of several.

    Raises:
        RunnerError: they are not of both product and copy.
    """
    rates = _best_rates(samples)
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
    return Calibration(threads=threads, peaks=peaks, samples=tuple(samples), disturbances=disturbances)


def _best_rates(samples: list[CalibrationSample]) -> dict[tuple[str, int], float]:
    """(what, size) -> operations or bytes per second of the fastest repetition."""
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    for sample in samples:
        times[sample.what, sample.size].append(sample.seconds)
    return {
        (what, size): (2 * size**3 if what == "matmul" else size) / min(seconds)
        for (what, size), seconds in times.items()
    }


def _measure_in_child(threads: int) -> tuple[list[CalibrationSample], tuple[str, ...]]:
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    command = [sys.executable, "-m", "porting.roofline.worker", str(threads)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
        )
        found = json.loads(done.stdout)
        samples = [CalibrationSample.model_validate(sample) for sample in found["samples"]]
        return samples, tuple(found["disturbances"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as cause:
        raise RunnerError(f"calibration: the child process measured nothing ({cause}); see that numpy runs") from cause
