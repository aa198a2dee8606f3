import sys

import pytest

from tests.pipeline.fakes import Fakes, replacements


@pytest.fixture
def fakes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Every stage replaced; `fakes.log` names those that ran."""
    made = Fakes(tmp_path_factory.mktemp("log") / "log")
    made.log.touch()
    for place, name, fake in replacements(made):
        if place is sys.modules:
            monkeypatch.setitem(sys.modules, name, fake)
        else:
            monkeypatch.setattr(place, name, fake)
    return made
