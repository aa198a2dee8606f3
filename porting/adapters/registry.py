"""Which family a checkpoint belongs to, from its config and its tensors' names; never from a file's name.

Recognising reads headers and needs no torch; a family's own modules are imported when a checkpoint of it is opened.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from porting import adapters
from porting.adapters.family import Family, Likeness, list_words
from porting.adapters.inspection import Inspection
from porting.adapters.own_class import OWN_CLASS, inspect_own, load_own
from porting.checkpoint import Checkpoint, open_checkpoint, open_config
from porting.content import folder
from porting.errors import CheckpointError, ConfigError, UsageError

if TYPE_CHECKING:
    from porting.adapters.world_model import WorldModel

BUNDLED, NAMED = "bundled:", "config:"
ENTRY_POINTS = "worldport.adapters"
"""Entry point group of installed adapters; each entry is a `Family`."""
CHOSEN = "@"
"""Between what opens a checkpoint, a family's name or `module:Class`, and where the checkpoint is."""
NEAREST = 3


def list_families() -> tuple[Family, ...]:
    """Every family of this package: of each package in it, `FAMILIES` of its module `family`."""
    found: list[Family] = []
    for module in sorted(pkgutil.iter_modules(adapters.__path__), key=lambda entry: entry.name):
        if module.ispkg:
            name = f"{adapters.__name__}.{module.name}.family"
            found += importlib.import_module(name).FAMILIES
    return tuple(found)


def list_installed() -> tuple[tuple[Family, ...], tuple[str, ...]]:
    """Families of installed distributions; and, for the reader of an error, entries that are of no use."""
    found, broken = [], []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            family = entry.load()
        except (ImportError, AttributeError) as cause:
            broken.append(f"{entry.name} ({entry.value}: {cause})")
            continue
        if isinstance(family, Family):
            found.append(family)
        else:
            broken.append(f"{entry.name} ({entry.value} is a {type(family).__name__}, not a Family)")
    return tuple(found), tuple(broken)


FAMILIES = list_families()


def inspect_checkpoint(path_or_name: str | Path) -> Inspection:
    """What a checkpoint is, from its headers alone; of `config:NAME` or a config's JSON file, what it would be.

    Raises:
        CheckpointError: it is not there, damaged, of no known family, or lacks tensors of its family.
        ConfigError: its config is missing, broken or impossible.
        UsageError: the family or class that was named is not there.
        BackendMissingError: a package that its family needs is not installed.
    """
    chosen, rest = _split_chosen(path_or_name)
    if OWN_CLASS.fullmatch(chosen):
        return inspect_own(chosen, open_checkpoint(find_checkpoint(rest)))
    checkpoint = _open(rest)
    with _insisting(checkpoint, chosen):
        return _choose_family(checkpoint, chosen).inspect(checkpoint)


def load_world_model(path_or_name: str | Path) -> "WorldModel":
    """A checkpoint as a world model: modules with their weights, frame program, sample sessions.

    Raises:
        CheckpointError: as `inspect_checkpoint`, or a weight is not finite.
        ConfigError: as `inspect_checkpoint`.
        UsageError: as `inspect_checkpoint`.
        BackendMissingError: torch, or a package that its family needs, is not installed.
    """
    chosen, rest = _split_chosen(path_or_name)
    checkpoint = open_checkpoint(find_checkpoint(rest))
    if OWN_CLASS.fullmatch(chosen):
        return load_own(chosen, checkpoint)
    family = _choose_family(checkpoint, chosen)
    family.check_packages()
    with _insisting(checkpoint, chosen):
        return family.load(checkpoint)


def open_model(path_or_name: str | Path) -> tuple[Checkpoint, Family]:
    """The headers, or the config, of what is meant, and its family: for `plan`, which needs no more.

    Raises:
        CheckpointError: as `inspect_checkpoint`.
        ConfigError: as `inspect_checkpoint`.
        UsageError: the family that was named is not there.
    """
    chosen, rest = _split_chosen(path_or_name)
    checkpoint = _open(rest)
    return checkpoint, _choose_family(checkpoint, chosen)


def find_checkpoint(path_or_name: str | Path) -> Path:
    """The path that is meant: `bundled:NAME` is a checkpoint that ships with the package, all else a path.

    Raises:
        CheckpointError: no checkpoint of that name ships.
    """
    text = str(path_or_name)
    if not text.startswith(BUNDLED):
        return Path(path_or_name)
    name, bundled = text.removeprefix(BUNDLED), folder("checkpoints")
    names = sorted(entry.name for entry in bundled.iterdir() if entry.is_dir())
    if name not in names:
        raise CheckpointError(
            f"{text}: no such bundled checkpoint; there are: {', '.join(BUNDLED + n for n in names) or 'none'}"
        )
    return bundled / name


def find_config(name: str) -> Path:
    """A config that ships with a family; `name` without the `config:` in front.

    Raises:
        ConfigError: there is none of that name.
    """
    known = {key: path for family in FAMILIES for key, path in family.configs.items()}
    if name not in known:
        raise ConfigError(
            f"{NAMED}{name}: no such config; there are: {', '.join(NAMED + key for key in sorted(known))}"
        )
    return known[name]


def find_family(checkpoint: Checkpoint) -> Family:
    """The one family that recognises the checkpoint.

    Raises:
        CheckpointError: none does, or several do; the message says what was seen, and which families come nearest.
        ConfigError: none does, of a config alone.
    """
    installed, broken = list_installed()
    compared = [(family, family.signature.compare(checkpoint)) for family in (*FAMILIES, *installed)]
    # A pipeline's word counts more than its parts', and a config's more than tensors that happen to have such names.
    found = (
        [family for family, like in compared if like.whole]
        or [family for family, like in compared if like.named]
        or [family for family, like in compared if like.holds]
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{checkpoint.path}: several families recognise it: {', '.join(family.name for family in found)};"
            f' say which with "family" in {checkpoint.config_path}, or with --family'
        )
    unusable = f"; installed adapters that could not be used: {', '.join(broken)}" if broken else ""
    kind = ConfigError if checkpoint.format == "config" else CheckpointError
    raise kind(f"{checkpoint.path}: of no known family: {_describe(checkpoint)}; {_list_nearest(compared)}{unusable}")


def _open(text: str) -> Checkpoint:
    """A checkpoint's headers, or a config alone."""
    if text.startswith(NAMED):
        return open_config(find_config(text.removeprefix(NAMED)))
    path = find_checkpoint(text)
    return open_config(path) if path.suffix == ".json" and path.is_file() else open_checkpoint(path)


def _split_chosen(path_or_name: str | Path) -> tuple[str, str]:
    """What is to open it, empty where that is to be found out, and the rest; a path may hold an @ of its own."""
    text = str(path_or_name)
    chosen, mark, rest = text.partition(CHOSEN)
    if mark and (OWN_CLASS.fullmatch(chosen) or any(family.name == chosen for family in _all_families())):
        return chosen, rest
    return "", text


def _choose_family(checkpoint: Checkpoint, chosen: str) -> Family:
    return name_family(chosen) if chosen else find_family(checkpoint)


@contextmanager
def _insisting(checkpoint: Checkpoint, chosen: str) -> Iterator[None]:
    """What a family that was insisted on stumbles over, told as what it is where the checkpoint is another family's.

    Raises:
        CheckpointError: it is; instead of the first key or tensor that does not fit the one that was named.
    """
    try:
        yield
    except (CheckpointError, ConfigError) as cause:
        try:
            own = find_family(checkpoint)
        except (CheckpointError, ConfigError):
            own = None
        if not chosen or own is None or own.name == chosen:
            raise
        what = str(cause).rpartition("; ")[0] or str(cause)
        raise CheckpointError(
            f"{checkpoint.path}: is of family {own.name} ({own.title}), not {chosen}, which finds: {what};"
            " leave --family out"
        ) from cause


def name_family(name: str) -> Family:
    """The family of a name.

    Raises:
        UsageError: there is none.
    """
    known = {family.name: family for family in _all_families()}
    if name not in known:
        raise UsageError(f"family {name!r}: is not known; known are: {', '.join(sorted(known))}")
    return known[name]


def _all_families() -> tuple[Family, ...]:
    return (*FAMILIES, *list_installed()[0])


def _list_nearest(compared: list[tuple[Family, Likeness]]) -> str:
    """The families that come nearest, each with what was seen of it and what was not."""
    nearest = sorted((pair for pair in compared if pair[1].found), key=lambda pair: -pair[1].share)[:NEAREST]
    if not nearest:
        return f"known are: {'; '.join(f'{family.name} ({family.title})' for family, _ in compared)}"
    told = [
        f"{family.name} ({family.title}; has {', '.join(like.found)}; lacks {', '.join(like.missing) or 'nothing'})"
        for family, like in nearest
    ]
    return f"nearest are: {'; '.join(told)}; known are: {', '.join(family.name for family, _ in compared)}"


def _describe(checkpoint: Checkpoint) -> str:
    """What could have told the family: the config's own words, and how the tensors are named."""
    said = [repr(word) for word in list_words(checkpoint)]
    if not checkpoint.config_path.is_file():
        config = f"there is no {checkpoint.config_path.name}"
    else:
        name = checkpoint.config_path.name
        config = f"{name} says {', '.join(said)}" if said else f"{name} names no family"
    parts = [f"parts {', '.join(_describe_part(name, part) for name, part in checkpoint.parts.items())}"]
    starts = sorted({name.partition(".")[0] for name in checkpoint.tensors})
    more = f" and {len(starts) - 6} more" if len(starts) > 6 else ""
    named = ", ".join(f"{start}.*" for start in starts[:6])
    return ", ".join([config, *(parts if checkpoint.parts else []), f"{len(checkpoint.tensors)} tensors {named}{more}"])


def _describe_part(name: str, part: Checkpoint) -> str:
    return f"{name} ({', '.join(list_words(part)) or 'no config'})"
