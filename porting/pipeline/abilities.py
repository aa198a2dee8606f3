"""What this host can do for a target: which of its backends build and run here, and how high it can climb.

Nothing is loaded and nothing is built: packages are looked up, drivers are asked in a child process.
"""

import itertools
import platform
from dataclasses import dataclass

from porting.devices import Census, FoundDevice, find_devices
from porting.pipeline.backends import (
    BACKENDS,
    DISTRIBUTIONS,
    Backend,
    Requirement,
    advise,
    find_version,
    has_compiler,
    has_kernel_compiler,
    has_runner,
    list_requirements,
    serves,
)
from porting.profile import Device, Profile
from porting.record import Step

__all__ = [
    "DISTRIBUTIONS",
    "Ability",
    "Link",
    "Requirement",
    "describe_ability",
    "find_version",
    "find_versions",
    "has_backend",
    "list_requirements",
    "match_device",
]


@dataclass(frozen=True)
class Link:
    """One link of a target's fallback chain: a backend, held against this host."""

    backend: str
    package: str
    """What supplies it here, with its version; empty where nothing does."""
    builds: bool
    """An artifact for exactly this target can be built here."""
    attests: bool
    """And read back here."""
    runs: bool
    """And run here, on the device itself."""
    reason: str
    """Why it does that much and no more."""
    advice: str = ""
    """What to do for more, where something can be done on this host."""


@dataclass(frozen=True)
class Ability:
    """What this host can do for one target."""

    target: str
    highest: Step | None
    """None when it cannot even compile for it."""
    reason: str
    backends: dict[str, bool]
    """Backend of the profile -> its compiler is here and this version of worldport drives it."""
    chain: tuple[Link, ...]
    """Every backend of the profile, in the profile's order."""
    kernels: Link | None
    """The kernel library on its own; None where a target takes no kernels."""
    device: FoundDevice | None
    """The device of this host that is the target; None for a CPU, and where none is here."""

    @property
    def building(self) -> tuple[str, ...]:
        """Backends that build for this target here, in the profile's order."""
        return tuple(link.backend for link in self.chain if link.builds)


@dataclass(frozen=True)
class _Presence:
    """Whether the target's device is here, and if not, why."""

    here: bool
    device: FoundDevice | None
    reason: str


def find_versions(distributions: tuple[str, ...]) -> dict[str, str | None]:
    """Versions of several distributions, for cache keys and tables."""
    return {name: find_version(name) for name in distributions}


def has_backend(backend: str) -> bool:
    """True when this version of worldport drives the backend and its package is installed."""
    return has_compiler(backend) and any(find_version(name) for name in DISTRIBUTIONS.get(backend, ()))


def match_device(device: Device, census: Census) -> FoundDevice | None:
    """The first device that is the target: exactly its architecture, and its product where the profile names any."""
    return next((found for found in census.devices if _is_same(device, found)), None)


def _is_same(device: Device, found: FoundDevice) -> bool:
    if found.architecture != device.architecture:
        return False
    # A GH200 is no H200, so whole words only.
    return not device.products or bool(set(device.products) & set(found.name.split()))


def describe_ability(profile: Profile) -> Ability:
    """Hold one profile against this host."""
    presence = _find_presence(profile.device)
    chain = tuple(_describe_link(profile, name, presence) for name in profile.compile.backends)
    highest = _highest(chain)
    return Ability(
        target=profile.name,
        highest=highest,
        reason=_say_why(profile, highest, chain, presence),
        backends={name: has_backend(name) for name in profile.compile.backends},
        chain=chain,
        kernels=None if profile.device.kind == "cpu" else _describe_kernels(profile, presence),
        device=presence.device,
    )


def _find_presence(device: Device) -> _Presence:
    if device.kind == "cpu":
        return _Presence(True, None, f"this host is one ({platform.machine()})")
    census = find_devices(device.kind)
    found = match_device(device, census)
    if found is not None:
        note = f"; but {census.note}" if census.note else ""
        return _Presence(True, found, f"{found.name or found.architecture} is here{note}")
    wanted = " ".join(filter(None, (device.architecture, " or ".join(device.products))))
    others = ", ".join(f"{other.name} {other.architecture}".strip() for other in census.devices)
    why = f"here is {others}" if others else census.note or "the driver lists none"
    return _Presence(False, None, f"no {wanted} device here ({why})")


def _highest(chain: tuple[Link, ...]) -> Step | None:
    if any(link.runs for link in chain):
        return Step.THROUGHPUT
    if any(link.builds and link.attests for link in chain):
        return Step.ATTESTED
    return Step.COMPILED if any(link.builds for link in chain) else None


def _say_why(profile: Profile, highest: Step | None, chain: tuple[Link, ...], presence: _Presence) -> str:
    """One sentence: the device, who builds or runs, and why that is not the profile's first choice where it is not."""
    if profile.device.kind == "cpu" and highest is not None:
        return presence.reason
    running = highest is Step.THROUGHPUT
    able = [link.backend for link in chain if (link.runs if running else link.builds)]
    if not able:
        return f"no backend of it builds here: {', '.join(link.backend for link in chain)}; {presence.reason}"
    preferred = itertools.takewhile(lambda link: link.backend != able[0], chain)
    skipped = "; ".join(f"{link.backend}, which {link.reason}" for link in preferred)
    fallback = f", in place of {skipped}" if skipped else ""
    done = f"run by {', '.join(able)}" if running else f"compiled by {', '.join(able)}, not run"
    return f"{presence.reason}: {done}{fallback}"


def _describe_link(profile: Profile, name: str, presence: _Presence) -> Link:
    """One backend against this host, the first obstacle told."""
    backend, kind = BACKENDS.get(name), profile.device.kind
    if backend is None or not serves(name, kind):
        return _unable(name, "", f"is not driven by this version of worldport for {kind} devices")
    package, installed = _find_package(backend), has_backend(name)
    if not installed and not has_compiler(name):
        return _unable(name, package, "is not driven by this version of worldport")
    if backend.chips is not None and profile.device.architecture not in backend.chips:
        return _unable(name, package, f"builds for {', '.join(backend.chips)} only")
    if not backend.crosses and not presence.here:
        reason = f"builds on the device itself, which is not here{_say_prepared(profile, backend)}"
        return _unable(name, package, reason, _elsewhere(profile, "compile"))
    if not installed:
        return _unable(name, "", f"is not installed ({' or '.join(backend.distributions)})", advise(backend.extra))
    outdated = _say_outdated(profile, backend, package)
    if outdated:
        return _unable(name, package, outdated, advise(backend.extra))
    return _say_able(profile, name, package, presence)


def _say_outdated(profile: Profile, backend: Backend, package: str) -> str:
    """Why an installed version is too old for the target; empty when it is not, or no source tells the oldest."""
    floor = next((oldest for name, oldest in profile.software.items() if name == backend.floor), None)
    version = package.partition(" ")[2]
    if floor is None or floor.admits(version):
        return ""
    return f"{version} is older than {floor.version}, the first for {profile.device.architecture}"


def _say_prepared(profile: Profile, backend: Backend) -> str:
    """What another backend of the target makes of it here; empty where none does."""
    maker = backend.prepared_by
    if maker is None or maker not in profile.compile.backends or not has_backend(maker):
        return ""
    return f" (its kernels are compiled here, by {maker})"


def _elsewhere(profile: Profile, command: str) -> str:
    return f"on a host with the device: worldport {command} BUNDLE --target {profile.name}"


def _missing_reader(backend: str, kind: str) -> str | None:
    """The distribution that reading artifacts back needs, where it is missing."""
    needed = BACKENDS[backend].readers.get(kind)
    return needed if needed is not None and find_version(needed) is None else None


def _say_able(profile: Profile, name: str, package: str, presence: _Presence) -> Link:
    """A backend that builds, and perhaps runs."""
    missing = _missing_reader(name, profile.device.kind)
    unread = f", is not read back ({missing} is not installed)" if missing else ""
    if not presence.here:
        runs, reason, advice = False, "runs on the device only", _elsewhere(profile, "verify")
    elif not has_runner(name):
        runs, reason, advice = False, "has no runner in this version of worldport", ""
    else:
        runs, reason, advice = True, "runs here", ""
    return Link(name, package, True, missing is None, runs, f"builds here{unread}, {reason}", _and(missing, advice))


def _and(missing: str | None, advice: str) -> str:
    """Both things to do, the installation first."""
    return "; ".join(filter(None, (advise("cross") if missing else "", advice)))


def _describe_kernels(profile: Profile, presence: _Presence) -> Link:
    """The kernel library by itself: Triton compiles it for every target, with or without the device."""
    triton, name = BACKENDS["triton"], "kernels"
    package = _find_package(triton)
    if not has_kernel_compiler():
        return _unable(name, package, "are not compiled by this version of worldport")
    if not package:
        return _unable(name, "", "are not compiled (triton is not installed)", advise(triton.extra))
    outdated = _say_outdated(profile, triton, package)
    if outdated:
        return _unable(name, package, f"are not compiled (triton {outdated})", advise(triton.extra))
    missing = _missing_reader("triton", profile.device.kind)
    unread = f", their code is not read back ({missing} is not installed)" if missing else ""
    runs = presence.here and has_runner("triton")
    return Link(name, package, True, missing is None, runs, f"are compiled here{unread}", _and(missing, ""))


def _unable(name: str, package: str, reason: str, advice: str = "") -> Link:
    """A link that does nothing here."""
    return Link(name, package, builds=False, attests=False, runs=False, reason=reason, advice=advice)


def _find_package(backend: Backend) -> str:
    """The installed distribution and its version, "triton 3.9.0"; empty where there is none."""
    versions = ((name, find_version(name)) for name in backend.distributions)
    return next((f"{name} {version}" for name, version in versions if version is not None), "")
