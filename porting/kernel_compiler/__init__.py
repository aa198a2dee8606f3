"""Compiles kernel files for devices that are not here, and reads from the binaries what they are.

`batch` runs compiles in processes that may crash, `worker` and `offline` are those processes, `cache` keeps answers by
content, `nvidia`, `amd` and `occupancy` read the evidence, `search` chooses tunings by it. Whether a binary is good
enough is for the verdict to say.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from porting.kernel_compiler.batch import answer_requests
from porting.kernel_compiler.cache import default_cache_folder, find_answer, keep_answer
from porting.kernel_compiler.evidence import claims_tensor_cores
from porting.kernel_compiler.request import KernelRequest
from porting.kernel_library import Kernel
from porting.record import KernelRecord

__all__ = ["compile_kernels", "compile_requests", "fill_cache", "make_request", "name_variants", "why_unsupported"]

DEFAULT_JOBS = min(os.cpu_count() or 1, 8)


def compile_kernels(
    kernels: Mapping[str, Kernel],
    architecture: str,
    variants: Collection[str] | None,
    out_dir: Path,
    cache_dir: Path | None = None,
    jobs: int = DEFAULT_JOBS,
) -> tuple[KernelRecord, ...]:
    """Compile kernels for one architecture and write `<kernel>.<variant>.<architecture>.*` into a folder.

    Args:
        kernels: by name, as `find_kernels` gives them.
        architecture: "cuda:107", "hip:gfx950", ...
        variants: dtypes and formats to compile, of those that each kernel claims; None for all that it claims.
        out_dir: is made when it is not there; files of the same names are replaced, or removed when there are none now.
        cache_dir: of answers that were found before; `default_cache_folder()` when None.
        jobs: compiles at once.

    Returns:
        One record a kernel and variant, paths relative to `out_dir`. A kernel that cannot be compiled has `error`
        there and no files; nothing is raised for it.
    """
    requests = [make_request(kernel, variant, architecture) for kernel, variant in _cells(kernels, variants)]
    reasons = [why_unsupported(kernels[request.kernel], request.architecture, request.variant) for request in requests]
    wanted = [request for request, reason in zip(requests, reasons, strict=True) if reason is None]
    compiled = iter(compile_requests(wanted, cache_dir, jobs, out_dir))
    records = []
    for request, reason in zip(requests, reasons, strict=True):
        if reason is None:
            records.append(next(compiled))
        else:
            _place_files(request, {}, out_dir, out_dir)
            records.append(request.unfinished().model_copy(update={"error": reason, "unsupported": True}))
    return tuple(records)


def fill_cache(
    kernels: Mapping[str, Kernel],
    architectures: Iterable[str],
    variants: Collection[str] | None,
    cache_dir: Path | None = None,
    jobs: int = DEFAULT_JOBS,
) -> None:
    """Compile for many architectures in one go, so that `compile_kernels` then finds every answer in the cache.

    Worth it for more than one architecture: importing the compiler takes longer than most kernels do.
    """
    wanted = tuple(dict.fromkeys(architectures))
    requests = [
        make_request(kernel, variant, architecture)
        for kernel, variant in _cells(kernels, variants)
        for architecture in wanted
        if why_unsupported(kernel, architecture, variant) is None
    ]
    compile_requests(requests, cache_dir, jobs)


def compile_requests(
    requests: Sequence[KernelRequest],
    cache_dir: Path | None = None,
    jobs: int = DEFAULT_JOBS,
    out_dir: Path | None = None,
) -> list[KernelRecord]:
    """One record a request, in their order, from the cache where it has them; files go into `out_dir` if any."""
    cache = default_cache_folder() if cache_dir is None else cache_dir
    records: dict[int, KernelRecord] = {}
    for index, request in enumerate(requests):
        if (kept := find_answer(cache, request)) is not None:
            answer, folder = kept
            records[index] = answer.record
            if out_dir is not None:
                _place_files(request, answer.digests, folder, out_dir)
    missing = [index for index in range(len(requests)) if index not in records]
    # Kept as they come: a run that is stopped continues there.
    with closing(answer_requests([requests[index] for index in missing], jobs)) as answers:
        for place, answer, folder in answers:
            index = missing[place]
            keep_answer(cache, requests[index], answer, folder)
            records[index] = answer.record
            if out_dir is not None:
                _place_files(requests[index], answer.digests, folder, out_dir)
    return [records[index] for index in range(len(requests))]


def make_request(
    kernel: Kernel, variant: str, architecture: str, tuning: Mapping[str, int] | None = None
) -> KernelRequest:
    """What to ask for one kernel: at its typical sizes, with the file's own tuning unless another is given."""
    return KernelRequest(
        kernel=kernel.name,
        path=kernel.path,
        source_digest=kernel.digest,
        variant=variant,
        architecture=architecture,
        sizes=kernel.typical,
        tuning=dict(kernel.tuning_for(architecture, variant) if tuning is None else tuning),
        tensor_cores_claimed=claims_tensor_cores(kernel.tensor_cores, variant),
    )


def name_variants(kernel: Kernel, wanted: Collection[str] | None = None) -> tuple[str, ...]:
    """Names of the dtypes or formats that a kernel claims, of those wanted: "bfloat16", "nvfp4", ..."""
    names = [str(variant).removeprefix("torch.") for variant in kernel.variants]
    return tuple(name for name in names if wanted is None or name in wanted)


def _cells(kernels: Mapping[str, Kernel], variants: Collection[str] | None) -> list[tuple[Kernel, str]]:
    return [(kernel, variant) for kernel in kernels.values() for variant in name_variants(kernel, variants)]


def why_unsupported(kernel: Kernel, architecture: str, variant: str) -> str | None:
    """The kernel file's reason why this architecture cannot take it, or cannot in this variant; None when it can."""
    return kernel.unsupported.get(architecture) or kernel.unsupported.get(f"{architecture} {variant}")


def _place_files(request: KernelRequest, digests: Mapping[str, str], source: Path, out_dir: Path) -> None:
    """Put an answer's files into the folder, each whole or not at all; older ones of the same request go."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for old in out_dir.glob(f"{request.stem}.*"):
        if old.name not in digests:
            old.unlink()
    for name in digests:
        partial = out_dir / f".{name}.partial"
        shutil.copyfile(source / name, partial)
        partial.replace(out_dir / name)
