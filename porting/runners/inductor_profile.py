"""AOTInductor's calls of torch and oneDNN, timed by their own profilers; what inductor wrote itself is what is left.

Its own kernels, and calls that go past torch's dispatcher (products by `mm`, attention), carry no marks.
"""

import math
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from porting.program import ComponentSpec
from porting.runners.base import Buffer
from porting.runners.inductor import InductorRunner
from porting.runners.profiling import OperatorRun, Profiled, take_medians, time_calls
from porting.tensor_spec import Precision

SOURCE = "torch's profiler and oneDNN's"
LEFT = "unmarked kernels"
LEFT_KIND = "inductor's own kernels, mm, attention"
ONEDNN = re.compile(r"^onednn_verbose,(?:v\d+,)?(?:[\d.]+,)?(?:primitive,)?exec,cpu,(\w+),([^,]*),.*,([^,]*),([\d.]+)$")
"""Kind, implementation, problem, milliseconds."""
FEWER_PRODUCTS = "winograd"
"""In an implementation's name: it makes fewer products than a problem's sizes tell."""
SIZES = re.compile(r"(mb|ic|oc|oh|ow|od|kh|kw|kd|g)(\d+)")
LEAST_MS = 0.002
"""Operators of torch that take less only look at shapes: they are left in the rest."""


def profile(
    path: Path,
    spec: ComponentSpec,
    threads: int,
    precision: Precision,
    buffers: tuple[Mapping[str, Buffer], Mapping[str, Buffer]],
) -> Profiled:
    """Run the package as its runner does, then with either profiler."""
    del precision
    runner = InductorRunner(path, spec, threads)
    call = runner.bind(*buffers)
    call_ms, count = time_calls(call)
    marked = take_medians(_torch_calls(call, count))
    library = take_medians(_onednn_calls(call, count))
    runner.close()
    seen = (*library, *marked)
    left = max(call_ms - sum(run.ms for run in seen), 0.0)
    operators = sorted((*seen, OperatorRun(LEFT, LEFT_KIND, left)), key=lambda run: -run.ms)
    reason = f"{LEFT[:1].upper()}{LEFT[1:]} are what is left of a call: neither profiler sees into them."
    return Profiled(SOURCE, call_ms, count, tuple(operators), reason)


def _torch_calls(call: Callable[[], None], count: int) -> list[list[OperatorRun]]:
    """What torch's profiler tells of each call; oneDNN's own operators are left to its own profiler."""
    calls = []
    for _ in range(count):
        with torch.profiler.profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as profiler:
            call()
        calls.append([run for event in profiler.events() if (run := _describe(event)) is not None])
    return calls


def _describe(event: Any) -> OperatorRun | None:
    """One operator of torch by its name and shapes; None where it takes no time of its own."""
    ms = event.self_cpu_time_total / 1e3
    if "mkldnn" in event.name or not event.name.startswith("aten::") or ms < LEAST_MS:
        return None
    shapes = [shape for shape in event.input_shapes or [] if shape]
    name = f"{event.name} {' by '.join('x'.join(map(str, shape)) for shape in shapes[:2])}".rstrip()
    return OperatorRun(name, event.name, ms, count_flops(event.name, shapes, event.concrete_inputs or []))


def count_flops(name: str, shapes: list[list[int]], concrete: list[Any]) -> int | None:
    """Operations of torch's own products; None for those that are not counted, 0 for what is no product."""
    kind = name.removeprefix("aten::")
    if kind == "_slow_conv2d_forward" and len(shapes) >= 2 and len(concrete) >= 6:
        # Input, weight, window, bias, stride, padding.
        window, stride, padding = concrete[2], concrete[4], concrete[5]
        sides = [
            (side + 2 * around - across) // step + 1
            for side, across, step, around in zip(shapes[0][2:], window, stride, padding, strict=True)
        ]
        return 2 * shapes[0][0] * math.prod(map(int, sides)) * math.prod(shapes[1])
    if kind in {"mm", "bmm", "addmm", "linear"}:
        left, right = shapes[-2:] if kind == "addmm" else shapes[:2]
        return 2 * math.prod(left) * (right[0] if kind == "linear" else right[-1])
    return None if "attention" in kind else 0


def _onednn_calls(call: Callable[[], None], count: int) -> list[list[OperatorRun]]:
    """What oneDNN writes of each call; the operators of all calls come in the same order."""
    with _captured() as text, torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        for _ in range(count):
            call()
    runs = [match for line in text() if (match := ONEDNN.match(line)) is not None]
    each, rest = divmod(len(runs), count)
    if rest:
        return []
    return [parse_onednn(runs[index * each : (index + 1) * each]) for index in range(count)]


def parse_onednn(runs: list[re.Match[str]]) -> list[OperatorRun]:
    """The operators of one call; those of one kind are numbered."""
    seen: Counter[str] = Counter()
    found = []
    for run in runs:
        kind, how, problem, ms = run.groups()
        name = f"{kind} {seen[kind]} ({problem})"
        seen[kind] += 1
        flops = None if FEWER_PRODUCTS in how else _count_problem(kind, problem)
        found.append(OperatorRun(name, f"{kind} {how}", float(ms), flops))
    return found


def _count_problem(kind: str, problem: str) -> int | None:
    """Operations of a oneDNN problem such as mb1_ic16oc64_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1."""
    if kind in {"convolution", "inner_product"}:
        sizes = {name: int(size) for name, size in SIZES.findall(problem)}
        groups = sizes.pop("g", 1)
        return 2 * math.prod(sizes.values()) // groups
    return None if kind in {"matmul", "deconvolution"} else 0


@contextmanager
def _captured() -> Iterator[Callable[[], list[str]]]:
    """What libraries write on stdout, to be read afterwards; this process is there for nothing else."""
    sys.stdout.flush()
    kept = os.dup(1)
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield lambda: lines
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            lines += file.read().decode("utf-8", "replace").splitlines()
