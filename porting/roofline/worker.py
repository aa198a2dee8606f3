"""The child process of a calibration: `python -m porting.roofline.worker THREADS` writes JSON samples on stdout."""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

PRODUCT_SIDES = (512, 1024, 1536)
COPY_BYTES = tuple(2**exponent for exponent in (18, 20, 22, 24, 26, 28))
"""Read and written together: from what fits in a core's own cache to what fits in none."""
SECONDS_EACH = 0.15
MIN_REPETITIONS, MAX_REPETITIONS = 5, 60
CACHED_BYTES = 2**24
"""Copies of less are repeated within a sample: a single one is shorter than starting threads takes."""


def main(threads: int) -> None:
    """Measure and write."""
    sys.stdout.write(json.dumps([*measure_products(), *measure_copies(threads)]))


def measure_products() -> list[dict[str, object]]:
    """fp32 matrix products of several sizes; BLAS was told its threads by the environment."""
    samples = []
    for side in PRODUCT_SIDES:
        left, right = (np.random.default_rng(seed).random((side, side), np.float32) for seed in (0, 1))
        out = np.empty((side, side), np.float32)
        product = partial(np.matmul, left, right, out=out)
        samples += [_sample("matmul", side, seconds) for seconds in _repeat(product)]
    return samples


def measure_copies(threads: int) -> list[dict[str, object]]:
    """Copies, each thread its own part."""
    samples = []
    with ThreadPoolExecutor(threads) as pool:
        for size in COPY_BYTES:
            source = np.ones(size // 2 // threads * threads, np.uint8)
            parts = [*zip(np.split(source, threads), np.split(np.zeros_like(source), threads), strict=True)]
            inner = max(1, CACHED_BYTES // size)

            def copy(parts: list[tuple[np.ndarray, np.ndarray]] = parts, inner: int = inner) -> None:
                list(pool.map(lambda part: _copy(part, inner), parts))

            samples += [_sample("copy", size, seconds / inner) for seconds in _repeat(copy)]
    return samples


def _copy(part: tuple[np.ndarray, np.ndarray], repetitions: int) -> None:
    source, target = part
    for _ in range(repetitions):
        np.copyto(target, source)


def _repeat(work: Callable[[], object]) -> list[float]:
    """Seconds of each repetition, the first two left out."""
    work()
    work()
    seconds: list[float] = []
    while len(seconds) < MIN_REPETITIONS or (sum(seconds) < SECONDS_EACH and len(seconds) < MAX_REPETITIONS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def _sample(what: str, size: int, seconds: float) -> dict[str, object]:
    return {"what": what, "size": size, "seconds": seconds}


if __name__ == "__main__":
    main(int(sys.argv[1]))
