"""Emulates many kernels for many architectures in parallel; what was found once is kept by content."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
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
    records: dict[int, EmulatedKernel] = {}

    def found(index: int, record: EmulatedKernel) -> None:
        records[index] = record
        if tell is not None:
            tell(record)

    missing = []
    for index, request in enumerate(requests):
        reason = why_unsupported(kernels[request.kernel], request.architecture, request.variant)
        kept = find_kept(cache_dir, request.key, EmulatedKernel)
        if reason is not None:
            found(index, request.unfinished().model_copy(update={"unsupported": reason}))
        elif kept is not None:
            found(index, kept)
        else:
            missing.append(index)
    wanted = [requests[index] for index in missing]
    text = EmulationBatch(requests=tuple(wanted), jobs=max(jobs, 1)).model_dump_json()
    with closing(run_batch("porting.emulation.worker", text, wanted, WITH_LINES)) as answers:
        for place, folder, words in answers:
            record, repeatable = _read_answer(wanted[place], folder, words)
            if repeatable:
                keep(cache_dir, wanted[place].key, record)
            found(missing[place], record)
    return tuple(records[index] for index in range(len(requests)))


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
