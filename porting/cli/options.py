"""Options that several commands share, and where profiles are looked for."""

import os
from pathlib import Path
from typing import Annotated

import typer

from porting import content, profile
from porting.bundle import Bundle
from porting.errors import UsageError
from porting.profile import Profile

PROFILES_VARIABLE = "WORLDPORT_PROFILES"

CheckpointArgument = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="Folder or file of weights, or bundled:NAME.")
]
FamilyOption = Annotated[
    str | None,
    typer.Option("--family", metavar="NAME", help="Family of the checkpoint. [default: the one that recognises it]"),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="FILE", help="Weights for a class of your own, named as module:Class."),
]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that a port was written to.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the record as JSON, and nothing else, on stdout.")]
TargetsOption = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="NAME", help="Target or family; repeat it for several. [default: all]"),
]
ProfilesOption = Annotated[
    Path | None,
    typer.Option(
        "--profiles",
        metavar="DIR",
        help=f"A folder of your own profiles, looked in first. [env var: {PROFILES_VARIABLE}]",
    ),
]
JobsOption = Annotated[int | None, typer.Option("--jobs", min=1, help="Artifacts compiled at once. [default: cores]")]


def name_checkpoint(checkpoint: str, family: str | None, weights: Path | None) -> str:
    """The checkpoint and what opens it, as one name that a record can hold: `family@path` or `module:Class@path`.

    Raises:
        UsageError: a class without weights, weights without a class, or a family that is not known.
    """
    from porting.adapters.own_class import OWN_CLASS
    from porting.adapters.registry import CHOSEN, name_family

    own = OWN_CLASS.fullmatch(checkpoint) is not None and not Path(checkpoint).exists()
    if weights is not None and not own:
        raise UsageError(f"--checkpoint {weights}: goes with a class, as module:Class, not with {checkpoint}")
    if own and not checkpoint.startswith(("bundled:", "config:")):
        if weights is None:
            raise UsageError(f"{checkpoint}: is a class; say which weights it is to load with --checkpoint FILE")
        return f"{checkpoint}{CHOSEN}{weights}"
    return checkpoint if family is None else f"{name_family(family).name}{CHOSEN}{checkpoint}"


def profile_folders(own: Path | None) -> list[Path]:
    """Where profiles are looked for, first one first.

    Raises:
        UsageError: the user's own folder is not there.
    """
    folders = [content.folder("profiles")]
    named = own if own is not None else Path(text) if (text := os.environ.get(PROFILES_VARIABLE)) else None
    if named is None:
        return folders
    if not named.is_dir():
        raise UsageError(f"{named}: no such folder of profiles; give --profiles or {PROFILES_VARIABLE} another")
    return [named, *folders]


def find_profiles(names: list[str], own: Path | None) -> tuple[Profile, ...]:
    """The profiles of these targets and families, each once, in the order they were named.

    Raises:
        ProfileError: one is not there or not readable.
    """
    found = [member for name in names for member in profile.find_profiles(name, profile_folders(own))]
    return tuple({member.name: member for member in found}.values())


def read_profiles(own: Path | None) -> tuple[Profile, ...]:
    """Every profile there is; a user's own hides one of the same name.

    Raises:
        ProfileError: one is not readable.
    """
    return profile.read_profiles(profile_folders(own))


def name_targets(bundle: Path, asked: list[str] | None) -> list[str] | None:
    """What was asked of a bundle, each family's name replaced by its members among the bundle's targets.

    A name that is neither stays, for whoever opens the bundle to refuse.

    Raises:
        BundleError: the bundle has no readable record.
    """
    if not asked:
        return asked
    targets = Bundle(bundle).read_record().targets
    names: list[str] = []
    for name in asked:
        members = [target for target in sorted(targets) if name in targets[target].profile.families]
        names += [name] if name in targets or not members else members
    return list(dict.fromkeys(names))
