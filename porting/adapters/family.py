"""What a family of checkpoints is to the registry: how it is recognised, and what opens it. Needs no torch.

Every package of `porting.adapters` that has a module `family` with `FAMILIES` is a family here; an installed
distribution adds its own through the entry point group `worldport.adapters`, each entry a `Family`.
"""

import fnmatch
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from porting.adapters.inspection import Inspection
from porting.adapters.names import bare_name
from porting.checkpoint import Checkpoint
from porting.errors import BackendMissingError

if TYPE_CHECKING:
    from porting.adapters.blueprint import Blueprint
    from porting.adapters.world_model import WorldModel

WORDS = ("family", "model_type", "_class_name")
"""Keys of a config that name what it is the config of; transformers also lists "architectures"."""


@dataclass(frozen=True)
class Likeness:
    """What of a checkpoint fits one family."""

    named: bool
    """Its config names the family."""
    found: tuple[str, ...]
    """Tensors of the signature that are there."""
    missing: tuple[str, ...]
    contradicted: bool
    """Its config names something else."""
    whole: bool = False
    """What names the family is a pipeline's own config, not that of one of its parts."""

    @property
    def holds(self) -> bool:
        """Whether it is a checkpoint of the family."""
        return self.named or (not self.contradicted and bool(self.found) and not self.missing)

    @property
    def share(self) -> float:
        """How near it comes, from 0 to 1."""
        return len(self.found) / max(1, len(self.found) + len(self.missing))


@dataclass(frozen=True)
class Signature:
    """How a family's checkpoints look, in config and in tensor names."""

    words: tuple[str, ...]
    """What its config says of itself under one of `WORDS` or in "architectures", classes and model types alike."""
    tensors: tuple[str, ...]
    """Names that all must be there where no config speaks, `*` for anything; wrappers in front do not count."""
    keys: tuple[str, ...] = ()
    """Keys that its config has: what tells it from relatives whose configs say the same word."""
    other_keys: tuple[str, ...] = ()
    """Keys of such relatives' configs, none of which its own has."""

    def compare(self, checkpoint: Checkpoint) -> Likeness:
        """Hold config and tensor names against the signature; a checkpoint of several parts is as like as its best."""
        wholes = [checkpoint] if not checkpoint.parts else []
        likenesses = [self._compare_one(one) for one in (*wholes, *checkpoint.parts.values())]
        if checkpoint.parts and self._is_named(checkpoint):
            return Likeness(True, self.tensors, (), contradicted=False, whole=True)
        return max(likenesses, key=lambda found: (found.holds, found.share))

    def _compare_one(self, checkpoint: Checkpoint) -> Likeness:
        found, missing = _split(self.tensors, {bare_name(name) for name in checkpoint.tensors})
        named = self._is_named(checkpoint)
        return Likeness(named, found, missing, contradicted=bool(list_words(checkpoint)) and not named)

    def _is_named(self, checkpoint: Checkpoint) -> bool:
        """Whether a config, with those of its parts, is this family's."""
        told = set(checkpoint.config).union(*(part.config for part in checkpoint.parts.values()))
        said = set(list_words(checkpoint)) & set(self.words)
        return bool(said) and told >= set(self.keys) and told.isdisjoint(self.other_keys)


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint that this version can port."""

    name: str
    title: str
    """What people call it."""
    signature: Signature
    inspect: Callable[[Checkpoint], Inspection]
    load: "Callable[[Checkpoint], WorldModel]"
    needs: tuple[str, ...] = ("torch",)
    """Packages that loading it imports."""
    extra: str = "torch"
    """The extra of this distribution that installs them."""
    configs: Mapping[str, Path] = field(default_factory=dict)
    """Configs of published sizes that ship, by the name that stands behind `config:`."""
    build: "Callable[[Checkpoint], Blueprint] | None" = None
    """Program and empty modules from the config alone, where the family is built that way."""

    def check_packages(self) -> None:
        """Refuse to load what needs a package that is not here.

        Raises:
            BackendMissingError: names the package and what installs it.
        """
        for package in self.needs:
            if find_spec(package) is None:
                raise BackendMissingError(
                    f"{package}: is not installed, loading weights of family {self.name} needs it;"
                    f" install worldport[{self.extra}]"
                )


def packaged_family(
    name: str,
    title: str,
    signature: Signature,
    adapter: str,
    needs: tuple[str, ...] = ("torch",),
    extra: str = "families",
    configs: Mapping[str, Path] | None = None,
) -> Family:
    """A family whose adapter is a module with `build(checkpoint) -> Blueprint`, imported when a checkpoint is opened.

    Args:
        name: unique.
        title: for people.
        signature: how it is recognised.
        adapter: dotted name of the module.
        needs: packages that the module imports.
        extra: what installs them.
        configs: configs of published sizes, by name.
    """

    def build(checkpoint: Checkpoint) -> "Blueprint":
        family.check_packages()
        blueprint: Blueprint = importlib.import_module(adapter).build(checkpoint)
        return blueprint

    def inspect(checkpoint: Checkpoint) -> Inspection:
        blueprint = build(checkpoint)
        from porting.adapters.assembly import inspect_blueprint

        return inspect_blueprint(checkpoint, blueprint)

    def load(checkpoint: Checkpoint) -> "WorldModel":
        blueprint = build(checkpoint)
        from porting.adapters.assembly import load_blueprint

        return load_blueprint(checkpoint, blueprint)

    family = Family(name, title, signature, inspect, load, needs, extra, configs or {}, build)
    return family


def list_configs(package_file: str) -> dict[str, Path]:
    """The JSON files in `configs` beside a family's module, by their stems."""
    return {path.stem: path for path in sorted((Path(package_file).parent / "configs").glob("*.json"))}


def list_words(checkpoint: Checkpoint) -> list[str]:
    """What a checkpoint's config says it is the config of."""
    said = [checkpoint.config[key] for key in WORDS if key in checkpoint.config]
    listed = checkpoint.config.get("architectures")
    said += listed if isinstance(listed, list) else []
    return [word for word in said if isinstance(word, str)]


def _split(patterns: Iterable[str], names: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patterns that some name fits, and those that none fits."""
    found = [pattern for pattern in patterns if _is_there(pattern, names)]
    return tuple(found), tuple(pattern for pattern in patterns if pattern not in found)


def _is_there(pattern: str, names: set[str]) -> bool:
    if "*" not in pattern:
        return pattern in names
    fits = re.compile(fnmatch.translate(pattern)).match
    return any(fits(name) for name in names)
