"""Finds a checkpoint's files, decides from their content what they are, and reads their headers.

A checkpoint is one weights file, one folder of weights with a config, or several such parts: a pipeline's folder of
component folders, or a folder of several weights files as research repositories publish them, one of which may have the
name that diffusers gives it.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from porting.checkpoint.checkpoint import CONFIG, SETTINGS, Checkpoint, join_parts
from porting.checkpoint.json_file import InvalidJsonError, read_object
from porting.checkpoint.kinds import Format, recognise_file, refuse_special
from porting.checkpoint.safetensors_file import read_safetensors_header
from porting.checkpoint.shards import open_shards
from porting.checkpoint.tensor_header import TensorHeader
from porting.checkpoint.torch_file import read_torch_header
from porting.errors import CheckpointError, ConfigError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
WEIGHT_NAMES = (WEIGHTS, "diffusion_pytorch_model.safetensors")
"""What transformers and diffusers call a folder's one weights file."""
INDEX_NAMES = (INDEX, "diffusion_pytorch_model.safetensors.index.json")
BESIDE = ("diffusion_pytorch_model", ".pth")
"""How weights are named that may have others beside them, and the suffix of those: an original repository's."""
PIPELINE = "model_index.json"
SAMPLE = "sample.safetensors"
"""Sessions to prove a port on, beside the weights; never weights themselves."""
LOOSE_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
LOOSE_LIMIT = 32
"""Weights files of a folder without an index; more are shards, or a store of checkpoints."""
CONFIG_LIMIT_BYTES = 2**20


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read the headers of a weights file, of a folder with weights and config.json, or of a pipeline's folder.

    Raises:
        CheckpointError: it is not there, damaged, unsafe to open, or no checkpoint; names the file and the tensor.
        ConfigError: a config is no JSON object.
    """
    asked = Path(path)
    try:
        if not asked.exists():
            raise CheckpointError(
                f"{asked}: there is no such file or folder; give a checkpoint's folder or weights file"
            )
        return _open_folder(asked) if asked.is_dir() else _open_file(asked, asked, asked.parent)
    except OSError as cause:
        where = cause.filename or asked
        raise CheckpointError(f"{where}: cannot be read ({cause.strerror}); make it readable") from cause


def open_config(path: str | Path) -> Checkpoint:
    """A config alone, as a checkpoint without tensors: what `inspect` and `plan` show of a model that is not here.

    A file that describes several parts has their configs under "parts", and may have settings under "worldport".

    Raises:
        ConfigError: there is no such file, or it is no JSON object.
    """
    asked = Path(path)
    if not asked.is_file():
        raise ConfigError(f"{asked}: there is no such config; give a config.json")
    values = dict(_read_json(asked))
    settings, parts = values.pop("worldport", {}), values.pop("parts", {})
    if not isinstance(settings, dict) or not isinstance(parts, dict):
        raise ConfigError(f'{asked}: "parts" and "worldport" must be objects; correct it')
    if any(not isinstance(part, dict) for part in parts.values()):
        raise ConfigError(f'{asked}: "parts" must hold one config a part; correct it')
    empty = Checkpoint(
        path=asked, name=asked.stem, format="config", config=values, config_path=asked, settings=settings
    )  # fmt: skip
    return replace(empty, parts={name: replace(empty, name=name, config=part) for name, part in parts.items()})


def _open_folder(asked: Path) -> Checkpoint:
    if (asked / PIPELINE).exists():
        return _open_pipeline(asked)
    found = [name for name in (*WEIGHT_NAMES, *INDEX_NAMES) if (asked / name).exists()]
    if len(found) > 1:
        raise CheckpointError(f"{asked}: holds both {' and '.join(found[:2])}; remove the one that is not meant")
    if not found:
        return _open_loose(asked)
    if found[0] in INDEX_NAMES:
        file_of, tensors = open_shards(asked / found[0])
        opened = _make(asked, asked, "safetensors", file_of, tensors)
    else:
        opened = _open_file(asked, asked / found[0], asked)
    stem, suffix = BESIDE
    beside = sorted(path for path in _list_loose(asked) if path.suffix == suffix) if found[0].startswith(stem) else []
    return _open_parts(asked, beside, {stem: _as_part(asked, stem, opened)}) if beside else opened


def _open_file(asked: Path, weights_file: Path, folder: Path) -> Checkpoint:
    """One weights file; config and settings stand in `folder`."""
    file_format = recognise_file(weights_file)
    if file_format == "torch":
        header = read_torch_header(weights_file)
        made = _make(asked, folder, file_format, dict.fromkeys(header.tensors, weights_file), header.tensors)
        return replace(made, inside=header.inside, sets=header.sets)
    tensors = read_safetensors_header(weights_file)
    return _make(asked, folder, file_format, dict.fromkeys(tensors, weights_file), tensors)


def _make(
    asked: Path, folder: Path, file_format: Format, file_of: dict[str, Path], tensors: dict[str, TensorHeader]
) -> Checkpoint:
    if not tensors:
        raise CheckpointError(f"{asked}: holds no tensors; give a checkpoint with weights")
    return Checkpoint(
        path=asked,
        name=_name(asked),
        format=file_format,
        config=_read_json(folder / CONFIG),
        config_path=folder / CONFIG,
        settings=_read_json(folder / SETTINGS),
        weight_files=tuple(sorted(set(file_of.values()))),
        tensors=tensors,
        file_of=file_of,
    )


def _open_pipeline(asked: Path) -> Checkpoint:
    """Every component of a diffusers pipeline that has a config.json, which is every one that has weights."""
    config = _read_json(asked / PIPELINE)
    parts: dict[str, Checkpoint] = {}
    for name, entry in config.items():
        if name.startswith("_") or not isinstance(entry, list) or len(entry) != 2 or not all(entry):
            continue
        if not (asked / name).is_dir():
            raise CheckpointError(f"{asked / name}: is missing, though {PIPELINE} names it; copy the whole pipeline")
        if (asked / name / CONFIG).exists():
            parts[name] = _open_folder(asked / name)
    if not parts:
        raise CheckpointError(f"{asked}: {PIPELINE} names no component with weights; copy the whole pipeline")
    return _join(asked, config, asked / PIPELINE, parts)


def _open_loose(asked: Path) -> Checkpoint:
    """Weights files of any name: one is the checkpoint, several are its parts, each named after its file."""
    paths = sorted(_list_loose(asked))
    if not paths:
        raise CheckpointError(
            f"{asked}: has no weights, neither {' nor '.join((*WEIGHT_NAMES, *INDEX_NAMES))}, but:"
            f" {_list_names(asked)}; give the weights file itself if it has another name"
        )
    if any("-of-" in path.stem for path in paths) or len(paths) > LOOSE_LIMIT:
        raise CheckpointError(
            f"{asked}: holds {len(paths)} weights files, {paths[0].name} among them, and no index; copy"
            f" {' or '.join(INDEX_NAMES)} too, or give one file"
        )
    if len(paths) == 1:
        return _open_file(asked, paths[0], asked)
    return _open_parts(asked, paths, {})


def _open_parts(asked: Path, paths: list[Path], opened: dict[str, Checkpoint]) -> Checkpoint:
    """The whole of parts that are open already and of one a file."""
    parts = dict(opened)
    for path in paths:
        if path.stem in parts:
            raise CheckpointError(f"{asked}: holds {path.stem} twice; remove the one that is not meant")
        parts[path.stem] = _as_part(asked, path.stem, _open_file(path, path, asked))
    return _join(asked, _read_json(asked / CONFIG), asked / CONFIG, parts)


def _as_part(asked: Path, name: str, opened: Checkpoint) -> Checkpoint:
    """Without the folder's config, which speaks of the whole."""
    return replace(opened, name=name, config={}, config_path=asked / f"{name}.json")


def _join(asked: Path, config: dict[str, Any], config_path: Path, parts: dict[str, Checkpoint]) -> Checkpoint:
    whole = Checkpoint(
        path=asked,
        name=_name(asked),
        format="parts",
        config=config,
        config_path=config_path,
        settings=_read_json(asked / SETTINGS),
    )
    return join_parts(whole, parts)


def _list_loose(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(LOOSE_SUFFIXES) and entry.name != SAMPLE and not entry.name.startswith("."):
                yield Path(entry.path)


def _list_names(folder: Path) -> str:
    """The first names of a folder, for a message; there may be very many."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return f"{', '.join(names[:8]) or 'nothing'}{more}"


def _name(asked: Path) -> str:
    return asked.resolve().name if asked.is_dir() else asked.stem


def _read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; empty when there is no file."""
    if not path.exists():
        return {}
    refuse_special(path)
    try:
        return read_object(path, CONFIG_LIMIT_BYTES)
    except InvalidJsonError as cause:
        raise ConfigError(f"{path}: {cause}; correct it") from cause
