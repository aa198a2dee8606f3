"""A device's peaks from its profile: the sourced figures, read the way that one asks for. Always a projection."""

from typing import Literal

from porting.errors import ProfileError
from porting.profile import Figure, Format, Profile
from porting.record.limit import Bandwidth, Peaks

Reading = Literal["conservative", "optimistic"]


def read_figure(figure: Figure, reading: Reading) -> float:
    """The smallest or the largest value claimed."""
    return float(figure.conservative if reading == "conservative" else figure.optimistic)


def peaks_of_device(profile: Profile, number_format: Format, reading: Reading = "optimistic") -> Peaks:
    """What the profile's sources claim of a format; the optimistic reading is the one that nothing may exceed.

    Raises:
        ProfileError: the profile gives no peak for the format, or no bandwidth.
    """
    device = profile.device
    peak = device.peaks.get(number_format)
    if peak is None or device.bandwidth_gb_per_s is None:
        what = "bandwidth_gb_per_s" if peak is not None else f"peaks.{number_format}"
        raise ProfileError(f"{profile.name}: device.{what}: no source gives it; measure on the device instead")
    sources = dict.fromkeys((*peak.sources, *device.bandwidth_gb_per_s.sources))
    return Peaks(
        name=f"{profile.name} {number_format}",
        matrix_flops_per_second=read_figure(peak, reading) * 1e12,
        bandwidths=(
            Bandwidth(working_set_bytes=0, bytes_per_second=read_figure(device.bandwidth_gb_per_s, reading) * 1e9),
        ),
        shared_units=False,
        projected=True,
        source="; ".join(sources),
    )
