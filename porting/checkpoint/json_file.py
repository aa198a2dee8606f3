"""Strict JSON objects: no key twice, no NaN, a size limit; anything else is one clear error."""

import json
from pathlib import Path
from typing import Any, NoReturn


class InvalidJsonError(ValueError):
    """Text that is not one strict JSON object; the message says why, the caller says where."""


def parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object that `text` holds.

    Raises:
        InvalidJsonError: it is no UTF-8, no JSON, no object, has a key twice, or a number that JSON does not know.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_refuse_twins, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as cause:
        raise InvalidJsonError(f"is not valid JSON ({cause})") from cause
    if not isinstance(value, dict):
        raise InvalidJsonError(f"holds a JSON {type(value).__name__}, not an object")
    return value


def read_object(path: Path, limit_bytes: int) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        InvalidJsonError: as `parse_object`, or the file is larger than `limit_bytes`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(limit_bytes + 1)
    if len(text) > limit_bytes:
        raise InvalidJsonError(f"is larger than {limit_bytes} bytes")
    return parse_object(text)


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twin = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidJsonError(f"key {twin!r} stands there twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJsonError(f"{name} is no JSON number")
