"""Emulates many kernels for many architectures in parallel; what was found once is kept by content."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from pydantic import ValidationError

from porting.emulation.kept import find_kept, keep
from porting.emulation.request import ANSWER, EXAMPLES, WITH_LINES, EmulationBatch, EmulationRequest
from porting.host import user_cache
from porting.kernel_compiler import name_variants, why_unsupported
from porting.kernel_compiler.batch import explain, run_batch
from porting.kernel_library import Kernel
from porting.record import EmulatedKernel

DEFAULT_JOBS = min(os.cpu_count() or 1, 8)
Progress = Callable[[EmulatedKernel], None]


def emulate_kernels(
    kernels: Mapping[str, Kernel],
    architectures: Iterable[str],
    variants: Collection[str] | None,
    cache_dir: Path | None = None,
    jobs: int = DEFAULT_JOBS,
    tell: Progress | None = None,
) -> tuple[EmulatedKernel, ...]:
    """Execute each kernel's first examples as compiled for each architecture.

    Args:
        kernels: by name, as `find_kernels` gives them.
        architectures: "cuda:107", "hip:gfx950", ...
        variants: dtypes and formats, of those that each kernel claims; None for all that it claims.
        cache_dir: of what was found before; the user's cache when None.
        jobs: processes at once.
        tell: hears of each as it is found.

    Returns:
        One record a kernel, variant and architecture, in that order. Nothing is raised for what could not be executed.
    """
    cache_dir = user_cache("emulated") if cache_dir is None else cache_dir
    requests = [
        make_request(kernel, variant, architecture, cache_dir)
        for architecture in dict.fromkeys(architectures)
        for kernel in kernels.values()
        for variant in name_variants(kernel, variants)
    ]
    records = {index: known for index, request in enumerate(requests) if (known := _find_known(kernels, request))}
    tell = tell or (lambda record: None)
    for record in records.values():
        tell(record)
    missing = [index for index in range(len(requests)) if index not in records]
    for place, record in _execute([requests[index] for index in missing], jobs):
        records[missing[place]] = record
        tell(record)
    return tuple(records[index] for index in range(len(requests)))


def _find_known(kernels: Mapping[str, Kernel], request: EmulationRequest) -> EmulatedKernel | None:
    """What needs no execution: the chip cannot take it, or it was executed before."""
    reason = why_unsupported(kernels[request.kernel], request.architecture, request.variant)
    if reason is not None:
        return request.unfinished().model_copy(update={"unsupported": reason})
    return find_kept(request.cache_dir, request.key, EmulatedKernel)


def _execute(requests: Sequence[EmulationRequest], jobs: int) -> Iterator[tuple[int, EmulatedKernel]]:
    """Each request's place and record, as they come; what would come out the same again is kept."""
    text = EmulationBatch(requests=tuple(requests), jobs=max(jobs, 1)).model_dump_json()
    with closing(run_batch("porting.emulation.worker", text, requests, WITH_LINES)) as answers:
        for place, folder, words in answers:
            record, repeatable = _read_answer(requests[place], folder, words)
            if repeatable:
                keep(requests[place].cache_dir, requests[place].key, record)
            yield place, record


def make_request(kernel: Kernel, variant: str, architecture: str, cache_dir: Path) -> EmulationRequest:
    """The kernel as it is tuned for that architecture, on the first of its examples."""
    return EmulationRequest(
        kernel=kernel.name,
        path=kernel.path,
        source_digest=kernel.digest,
        variant=variant,
        architecture=architecture,
        tuning=kernel.tuning_for(architecture, variant),
        examples=kernel.examples[:EXAMPLES],
        cache_dir=cache_dir.absolute(),
    )


def _read_answer(request: EmulationRequest, folder: Path, words: str) -> tuple[EmulatedKernel, bool]:
    """What the child found, or how it ended; and whether the same request comes to the same again."""
    try:
        return EmulatedKernel.model_validate_json((folder / ANSWER).read_text(encoding="utf-8")), True
    except (OSError, ValidationError):
        error, repeatable = explain(request, folder, words)
        return request.unfinished().model_copy(update={"error": error}), repeatable
