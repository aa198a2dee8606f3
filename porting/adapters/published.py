"""What adapters share when they build a package's own class from a published config."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from torch import nn

from porting.adapters.empty import empty_parameters
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

Settings = TypeVar("Settings", bound=BaseModel)
Module = TypeVar("Module", bound=nn.Module)


def read_settings(kind: type[Settings], checkpoint: Checkpoint) -> Settings:
    """worldport.json of a checkpoint, completed with the family's defaults.

    Raises:
        ConfigError: a key is unknown or a value impossible; names the file and the key.
    """
    return validate(kind, checkpoint.settings, str(checkpoint.settings_path))


def validate(kind: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Values as a model of pydantic.

    Raises:
        ConfigError: one is unknown or impossible; `where` stands in front.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as cause:
        first, *others = cause.errors()
        key = ".".join(map(str, first["loc"])) or "the whole"
        more = f" (and {len(others)} more)" if others else ""
        raise ConfigError(f"{where}: {key}: {first['msg']}{more}; correct it") from cause


def build_diffusers(kind: type[Module], checkpoint: Checkpoint) -> Module:
    """A class of diffusers from its config, parameters on the meta device, in eval mode.

    Raises:
        ConfigError: the class refuses a value of the config.
    """
    made: Any = kind
    # What a class does not know it only warns of, as configs of older versions may hold such keys.
    known = inspect.signature(kind.__init__).parameters
    config = {key: value for key, value in checkpoint.config.items() if key in known}
    try:
        with empty_parameters():
            module: Module = made.from_config(config).eval()
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RuntimeError) as cause:
        first = str(cause).strip().split("\n")[0]
        raise ConfigError(
            f"{checkpoint.config_path}: {kind.__name__} refuses it ({type(cause).__name__}: {first}); correct it"
        ) from cause
    return module
