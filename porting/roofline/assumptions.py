"""What a floor takes for granted, in words: for whoever holds it against a measurement, or plans by a projection."""

from collections.abc import Iterator

from porting.profile import Profile
from porting.record.limit import FrameWork, Peaks

MIB = 2**20


def list_assumptions(work: FrameWork, peaks: Peaks, profile: Profile) -> tuple[str, ...]:
    """Sentences, the ones that hold for every floor first.

    Args:
        work: of one frame.
        peaks: that the floor is made with.
        profile: of the target.
    """
    return (*_of_every_floor(peaks), *(_of_projections(work, peaks, profile) if peaks.projected else ()))


def _of_every_floor(peaks: Peaks) -> Iterator[str]:
    yield "Computing and fetching overlap wholly; what a component makes on the way to its outputs is never fetched."
    yield "Components run one after the other, and calling them costs nothing."
    if not peaks.shared_units:
        yield "Arithmetic beside matrix products costs no time of its own."


def _of_projections(work: FrameWork, peaks: Peaks, profile: Profile) -> Iterator[str]:
    device = profile.device
    yield (
        f"The device reaches {peaks.matrix_flops_per_second / 1e12:.4g} TFLOP/s in dense products and"
        f" {peaks.bandwidth(0) / 1e9:.5g} GB/s from its memory, the largest figures that the profile's sources state."
    )
    caches = [figure.optimistic for figure in (device.l2_mib, device.last_level_cache_mib) if figure is not None]
    fetched = max((part.compulsory_bytes for part in work.components), default=0)
    if caches and fetched <= max(caches) * MIB:
        yield (
            f"Every call fetches its weights and states from memory, although a cache of {max(caches):g} MiB could hold"
            f" the {fetched / MIB:.3g} MiB of any one call: where it does, fetching takes less."
        )
    else:
        yield "Every call fetches its weights and states from memory."
