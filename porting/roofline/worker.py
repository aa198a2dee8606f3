"""The child process of a calibration: `python -m porting.roofline.worker THREADS` writes samples in JSON on stdout."""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from porting.host import HostWatch

PRODUCT_SIDES = (384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Those are left out that take longer than a host of few cores has time for; many cores need large ones."""
COPY_BYTES = tuple(2**exponent for exponent in (18, 20, 22, 24, 26, 28))
"""Read and written together: from what fits in a core's own cache to what fits in none."""
PASSES = 2
"""All sizes, and again: what disturbs one of them for a moment is over by the next pass."""
SECONDS_EACH = 0.05
"""Of one size in one pass."""
LONGEST_PRODUCT = 0.06
"""Seconds; the next larger side is not tried when it would take longer."""
MIN_REPETITIONS, MAX_REPETITIONS = 3, 60
CACHED_BYTES = 2**24
"""Copies of less are repeated within a sample: a single one is shorter than starting threads takes."""

Array = npt.NDArray[np.generic]


def main(threads: int) -> None:
    """Measure and write."""
    watch = HostWatch(threads)
    samples = []
    for _ in range(PASSES):
        samples += measure_products()
        watch.sample()
        samples += measure_copies(threads)
        watch.sample()
    sys.stdout.write(json.dumps({"samples": samples, "disturbances": watch.disturbances()}))


def measure_products() -> list[dict[str, object]]:
    """fp32 matrix products of several sizes; BLAS was told its threads by the environment."""
    samples = []
    fastest, side_before = 0.0, PRODUCT_SIDES[0]
    for side in PRODUCT_SIDES:
        if fastest * (side / side_before) ** 3 > LONGEST_PRODUCT:
            break
        left, right = (np.random.default_rng(seed).random((side, side), np.float32) for seed in (0, 1))
        out = np.empty((side, side), np.float32)
        taken = _repeat(partial(np.matmul, left, right, out=out))
        samples += [_sample("matmul", side, seconds) for seconds in taken]
        fastest, side_before = min(taken), side
    return samples


def measure_copies(threads: int) -> list[dict[str, object]]:
    """Copies, each thread its own part."""
    samples = []
    with ThreadPoolExecutor(threads) as pool:
        for size in COPY_BYTES:
            source = np.ones(size // 2 // threads * threads, np.uint8)
            parts = [*zip(np.split(source, threads), np.split(np.zeros_like(source), threads), strict=True)]
            inner = max(1, CACHED_BYTES // size)

            def copy(parts: list[tuple[Array, Array]] = parts, inner: int = inner) -> None:
                list(pool.map(lambda part: _copy(part, inner), parts))

            samples += [_sample("copy", size, seconds / inner) for seconds in _repeat(copy)]
    return samples


def _copy(part: tuple[Array, Array], repetitions: int) -> None:
    source, target = part
    for _ in range(repetitions):
        np.copyto(target, source)


def _repeat(work: Callable[[], object]) -> list[float]:
    """Seconds of each repetition, the first left out."""
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
