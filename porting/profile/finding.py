"""Finds profiles by their own name or by that of a family, in several folders; the first that has a name wins."""

from collections.abc import Iterable
from pathlib import Path

from porting.errors import ProfileError
from porting.profile.reading import read_profile
from porting.profile.target import Profile


def read_profiles(folders: Iterable[Path]) -> tuple[Profile, ...]:
    """Every profile there is, by name; one of an earlier folder hides those of the same name.

    Raises:
        ProfileError: one is not readable.
    """
    paths: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            paths.setdefault(path.stem, path)
    return tuple(read_profile(paths[name]) for name in sorted(paths))


def find_profile(name: str, folders: Iterable[Path]) -> Profile:
    """The profile of exactly that name, from the first folder that has it; the others are not opened.

    Raises:
        ProfileError: no folder has it; the message lists the profiles and families there are.
    """
    looked_in = tuple(folders)
    for folder in looked_in:
        if (folder / f"{name}.toml").is_file():
            return read_profile(folder / f"{name}.toml")
    profiles = read_profiles(looked_in)
    known = ", ".join(profile.name for profile in profiles)
    families = ", ".join(sorted({family for profile in profiles for family in profile.families}))
    raise ProfileError(
        f"target {name!r}: no such profile or family; there are: {known}" + (f"; families: {families}" * bool(families))
    )


def find_profiles(name: str, folders: Iterable[Path]) -> tuple[Profile, ...]:
    """What a target's name stands for: the profile of that name, else the members of that family, by name.

    A profile's own name always means that profile alone, also where a family is called the same.

    Raises:
        ProfileError: neither is there, or a profile is not readable.
    """
    looked_in = tuple(folders)
    if not any((folder / f"{name}.toml").is_file() for folder in looked_in):
        members = tuple(profile for profile in read_profiles(looked_in) if name in profile.families)
        if members:
            return members
    return (find_profile(name, looked_in),)
