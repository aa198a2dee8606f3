"""Which family a checkpoint belongs to, from its config and its tensors' names; never from a file's name.

Inspecting reads headers and needs no torch; a family's modules are imported when its weights are wanted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from porting.adapters.gwm import layout as gwm_layout
from porting.adapters.gwm import summary as gwm_summary
from porting.adapters.inspection import Inspection
from porting.checkpoint import Checkpoint, open_checkpoint
from porting.content import folder
from porting.errors import BackendMissingError, CheckpointError

if TYPE_CHECKING:
    from porting.adapters.world_model import WorldModel

BUNDLED = "bundled:"


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint that this version can port."""

    name: str
    recognised_by: str
    """For the reader of "unknown family"."""
    recognises: Callable[[Checkpoint], bool]
    inspect: Callable[[Checkpoint], Inspection]
    load: "Callable[[Checkpoint], WorldModel]"


def _load_gwm(checkpoint: Checkpoint) -> "WorldModel":
    from porting.adapters.gwm.loading import load

    return load(checkpoint)


FAMILIES = (
    Family(
        name="gwm",
        recognised_by='config.json with "family": "gwm", or tensors encoder.*, denoiser.* and decoder.*',
        recognises=gwm_layout.recognises,
        inspect=gwm_summary.summarise,
        load=_load_gwm,
    ),
)


def inspect_checkpoint(path_or_name: str | Path) -> Inspection:
    """What a checkpoint is, from its headers alone.

    Raises:
        CheckpointError: it is not there, damaged, of no known family, or lacks tensors of its family.
        ConfigError: its config is missing, broken or impossible.
    """
    checkpoint = open_checkpoint(find_checkpoint(path_or_name))
    return find_family(checkpoint).inspect(checkpoint)


def load_world_model(path_or_name: str | Path) -> "WorldModel":
    """A checkpoint as a world model: modules with their weights, frame program, sample sessions.

    Raises:
        CheckpointError: as `inspect_checkpoint`, or a weight is not finite.
        ConfigError: as `inspect_checkpoint`.
        BackendMissingError: torch is not installed.
    """
    checkpoint = open_checkpoint(find_checkpoint(path_or_name))
    family = find_family(checkpoint)
    if find_spec("torch") is None:
        raise BackendMissingError("torch: is not installed, loading weights needs it; install worldport[torch]")
    return family.load(checkpoint)


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


def find_family(checkpoint: Checkpoint) -> Family:
    """The one family that recognises the checkpoint.

    Raises:
        CheckpointError: none does, or several do; the message says what was seen.
    """
    found = [family for family in FAMILIES if family.recognises(checkpoint)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{checkpoint.path}: several families recognise it: {', '.join(family.name for family in found)};"
            f' say which with "family" in {checkpoint.config_path}'
        )
    known = "; ".join(f"{family.name} ({family.recognised_by})" for family in FAMILIES)
    raise CheckpointError(f"{checkpoint.path}: of no known family: {_describe(checkpoint)}; known are: {known}")


def _describe(checkpoint: Checkpoint) -> str:
    """What could have told the family: the config's own words, and how the tensors are named."""
    said = [
        f"{key} {checkpoint.config[key]!r}"
        for key in ("family", "model_type", "_class_name")
        if key in checkpoint.config
    ]
    if not checkpoint.config_path.is_file():
        said = [f"there is no {checkpoint.config_path.name}"]
    starts = sorted({name.partition(".")[0] for name in checkpoint.tensors})
    more = f" and {len(starts) - 6} more" if len(starts) > 6 else ""
    named = ", ".join(f"{start}.*" for start in starts[:6])
    config = ", ".join(said) if said else f"{checkpoint.config_path.name} names no family"
    return f"{config}, {len(checkpoint.tensors)} tensors {named}{more}"
