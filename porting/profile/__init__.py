"""Targets: one TOML file each that says what the hardware is, how to compile for it, and what a port must reach.

Nothing here knows how any of that is measured. Unknown keys are refused, unknown facts are left out, disputed ones are
kept as they are told.
"""

from porting.profile.budgets import ParityBudget, ThroughputBudget
from porting.profile.device import Device, Format
from porting.profile.figures import Claim, Figure, Minimum
from porting.profile.finding import find_profile, find_profiles, read_profiles
from porting.profile.reading import BACKEND_KINDS, read_profile
from porting.profile.target import CompileChoice, NativeFormats, Profile

__all__ = [
    "BACKEND_KINDS",
    "Claim",
    "CompileChoice",
    "Device",
    "Figure",
    "Format",
    "Minimum",
    "NativeFormats",
    "ParityBudget",
    "Profile",
    "ThroughputBudget",
    "find_profile",
    "find_profiles",
    "read_profile",
    "read_profiles",
]
