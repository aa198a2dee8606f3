"""Finds what is to be planned: a checkpoint's headers, a config file, or a config that ships under a name."""

from pathlib import Path

from pydantic import ValidationError

from porting.adapters.family import list_words
from porting.adapters.gwm.config import HD_2B, MINI, GwmConfig
from porting.adapters.registry import BUNDLED, FAMILIES, inspect_checkpoint, open_model
from porting.checkpoint import open_config
from porting.checkpoint.json_file import InvalidJsonError, read_object
from porting.errors import ConfigError
from porting.planning.families import describe_family
from porting.planning.gwm import describe_gwm
from porting.planning.work import PlannedModel

NAMED = "config:"
CONFIG_LIMIT_BYTES = 2**20
HD_14B = HD_2B.model_copy(
    update={"denoiser": HD_2B.denoiser.model_copy(update={"width": 5120, "depth": 40, "heads": 40, "mlp_width": 14336})}
)
"""HD_2B's frames by a denoiser of the size that published 14-billion-parameter video models have."""
CONFIGS = {"gwm-mini": MINI, "gwm-hd-2b": HD_2B, "gwm-hd-14b": HD_14B}


def read_model(path_or_name: str, resolution: tuple[int, int] | None = None) -> PlannedModel:
    """The work of a model, from headers or a config; no weight is read.

    Args:
        path_or_name: a checkpoint (or `bundled:NAME`), a config's JSON file, or `config:NAME`.
        resolution: (width, height) of the frames, in place of the config's own.

    Raises:
        CheckpointError: it is no checkpoint, or a damaged one.
        ConfigError: the config is missing, impossible, of another family, or does not fit the resolution.
    """
    if path_or_name.startswith(NAMED):
        name = path_or_name.removeprefix(NAMED)
        shipped = sorted(key for family in FAMILIES for key in family.configs)
        if name in shipped:
            return describe_family(path_or_name, resolution)
        if name not in CONFIGS:
            there = ", ".join(NAMED + known for known in (*CONFIGS, *shipped))
            raise ConfigError(f"{path_or_name}: no such config; there are: {there}")
        return describe_gwm(_resize(CONFIGS[name], resolution, path_or_name), name, f"config {path_or_name}")
    path = Path(path_or_name)
    if not path_or_name.startswith(BUNDLED) and path.suffix == ".json" and path.is_file() and _is_gwm(path):
        return describe_gwm(_resize(_read_config(path), resolution, path_or_name), path.stem, f"config {path}")
    if open_model(path_or_name)[1].name != "gwm":
        return describe_family(path_or_name, resolution)
    found = inspect_checkpoint(path_or_name)
    config = _validate(found.config, path_or_name)
    source = f"checkpoint {found.name}: headers only"
    return describe_gwm(_resize(config, resolution, path_or_name), found.name, source)


def _is_gwm(path: Path) -> bool:
    """Whether a config is of the project's own family, or broken, which its reader will say."""
    try:
        return set(list_words(open_config(path))) <= {"gwm"}
    except ConfigError:
        return True


def _read_config(path: Path) -> GwmConfig:
    try:
        return _validate(read_object(path, CONFIG_LIMIT_BYTES), str(path))
    except InvalidJsonError as cause:
        raise ConfigError(f"{path}: {cause}; see docs/checkpoints.md") from cause


def _validate(values: dict[str, object], where: str) -> GwmConfig:
    if values.get("family", "gwm") != "gwm":
        raise ConfigError(f"{where}: family {values['family']!r}: its work has no formula here; plan a gwm model")
    try:
        return GwmConfig.model_validate(values)
    except ValidationError as cause:
        first = cause.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigError(f"{where}: {key}: {first['msg']}; correct it, see docs/checkpoints.md") from cause


def _resize(config: GwmConfig, resolution: tuple[int, int] | None, where: str) -> GwmConfig:
    if resolution is None:
        return config
    width, height = resolution
    return _validate({**config.model_dump(), "frame_width": width, "frame_height": height}, where)
