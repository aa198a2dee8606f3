"""A checkpoint whose headers were read: its config, its tensors' names, shapes and dtypes, and how to get their values.

It knows no model family: which tensors must be there, and what their names mean, is the adapter's business.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from porting.checkpoint.tensor_header import TensorHeader
from porting.errors import CheckpointError

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
SETTINGS = "worldport.json"
"""What a port needs to know and no published config says: resolution, sampler's steps, chunk. Optional."""
SEPARATOR = "/"
"""Between a part's name and its tensor's."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights and config that someone else wrote; so far only their headers were read."""

    path: Path
    """What was asked for: a folder or a file."""
    name: str
    format: Literal["safetensors", "torch", "parts", "config"]
    """"parts" where every part has a format of its own, "config" where there are no weights at all."""
    config: dict[str, Any]
    """Empty when there is no config file: whether one is needed is the adapter's business."""
    config_path: Path
    """Where the config is, or should be."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of worldport.json, beside the config; empty when there is none."""
    weight_files: tuple[Path, ...] = ()
    tensors: dict[str, TensorHeader] = field(default_factory=dict)
    file_of: dict[str, Path] = field(default_factory=dict, repr=False)
    """The file that holds each tensor."""
    inside: str | None = None
    """Key of the dict of tensors within a torch.save archive."""
    sets: tuple[str, ...] = ()
    """Keys of several such dicts; each tensor's name then begins with its dict's key and a dot."""
    parts: Mapping[str, "Checkpoint"] = field(default_factory=dict)
    """Components of a pipeline, or the files of a folder, by name. Their tensors are also `tensors`, each with the
    part's name and a slash before its own."""

    @property
    def settings_path(self) -> Path:
        """Where worldport.json is, or should be."""
        return self.config_path.with_name(SETTINGS)

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that the digest covers: config and settings, where there are any, the weights, and the parts'."""
        own = [path for path in (self.config_path, self.settings_path) if path.is_file()]
        if not self.parts:
            return (*own, *self.weight_files)
        return tuple(dict.fromkeys((*own, *(file for part in self.parts.values() for file in part.files))))

    def digest(self) -> str:
        """sha256 over the sha256 of config and weights, whatever the files are called. Reads every byte.

        Raises:
            CheckpointError: a file cannot be read.
        """
        total = hashlib.sha256()
        for path in self.files:
            try:
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as cause:
                raise CheckpointError(f"{path}: cannot be read ({cause.strerror}); make it readable") from cause
        return total.hexdigest()

    def part(self, name: str) -> "Checkpoint":
        """One part by its name.

        Raises:
            CheckpointError: there is no such part.
        """
        if name not in self.parts:
            there = ", ".join(self.parts) or "none"
            raise CheckpointError(f"{self.path}: has no part {name}; its parts: {there}; copy the whole checkpoint")
        return self.parts[name]

    def select(self, names: Iterable[str]) -> "Checkpoint":
        """The same checkpoint with these parts alone: what is not used is not hashed either.

        Raises:
            CheckpointError: a part is not there.
        """
        return join_parts(self, {name: self.part(name) for name in names})

    def load(self, names: "list[str] | None" = None) -> dict[str, "torch.Tensor"]:
        """The named tensors, all by default; mapped from the file, so that memory is taken as values are read.

        Raises:
            CheckpointError: a name is not there, or a file is not what its header said.
        """
        from porting.checkpoint import weights

        wanted = list(self.tensors) if names is None else names
        for name in wanted:
            if name not in self.tensors:
                raise CheckpointError(f"{self.path}: {name}: no such tensor; see `worldport inspect {self.path}`")
        loaded: dict[str, torch.Tensor] = {}
        for part_name, part in self.parts.items():
            start = f"{part_name}{SEPARATOR}"
            own = [name.removeprefix(start) for name in wanted if name.startswith(start)]
            loaded |= {start + name: tensor for name, tensor in part.load(own).items()}
        for path in () if self.parts else self.weight_files:
            own = [name for name in wanted if self.file_of[name] == path]
            if self.format == "torch":
                loaded |= weights.load_torch(path, own, self.inside, self.sets)
            else:
                loaded |= weights.load_safetensors(path, own)
        weights.check_loaded(self.file_of, self.tensors, loaded)
        return {name: loaded[name] for name in wanted}


def join_parts(whole: Checkpoint, parts: Mapping[str, Checkpoint]) -> Checkpoint:
    """The whole with these parts, their tensors and files."""
    return replace(
        whole,
        parts=dict(parts),
        weight_files=tuple(file for part in parts.values() for file in part.weight_files),
        tensors={_full(name, key): header for name, part in parts.items() for key, header in part.tensors.items()},
        file_of={_full(name, key): file for name, part in parts.items() for key, file in part.file_of.items()},
    )


def _full(part: str, name: str) -> str:
    return f"{part}{SEPARATOR}{name}"
