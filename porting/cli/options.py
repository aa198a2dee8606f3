"""Options that several commands share, and where profiles are looked for."""

import os
from pathlib import Path
from typing import Annotated

import typer

from porting import content
from porting.errors import UsageError
from porting.profile import Profile, find_profile, read_profile

PROFILES_VARIABLE = "WORLDPORT_PROFILES"

CheckpointArgument = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="Folder or file of weights, or bundled:NAME.")
]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that a port was written to.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the record as JSON, and nothing else, on stdout.")]
TargetsOption = Annotated[
    list[str] | None, typer.Option("--target", metavar="NAME", help="Target; repeat it for several. [default: all]")
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
    """The profiles of these targets, each once.

    Raises:
        ProfileError: one is not there or not readable.
    """
    return tuple(find_profile(name, profile_folders(own)) for name in dict.fromkeys(names))


def read_profiles(own: Path | None) -> list[Profile]:
    """Every profile there is; a user's own hides one of the same name.

    Raises:
        ProfileError: one is not readable.
    """
    found: dict[str, Profile] = {}
    for folder in profile_folders(own):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, read_profile(path))
    return [found[name] for name in sorted(found)]
