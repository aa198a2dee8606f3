import json
from pathlib import Path

import pytest

from porting.adapters.gwm.config import MINI
from porting.errors import CheckpointError, ConfigError
from porting.planning import read_model


def test_a_config_file_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(MINI.model_dump_json())
    found = read_model(str(path))
    assert (found.name, found.family) == ("mine", "gwm")
    assert found.parameters == read_model("config:gwm-mini").parameters


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "other"}, "of no known family: mine.json says 'other'"),
        ({"frame_width": 63}, "not a multiple of"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_an_impossible_config_is_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**MINI.model_dump(), **change}))
    with pytest.raises(ConfigError, match=words):
        read_model(str(path))


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match="is not valid JSON"):
        read_model(str(path))


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="config:gwm-hd-2b"):
        read_model("config:none")
    with pytest.raises(CheckpointError):
        read_model("/nowhere/at/all")


def test_a_resolution_must_hold_whole_tokens() -> None:
    with pytest.raises(ConfigError, match="1281x720 is not a multiple of 16"):
        read_model("config:gwm-hd-2b", (1281, 720))
