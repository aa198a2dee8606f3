"""Content folders, found in a checkout and in an installed wheel."""

from pathlib import Path

import pytest

from porting import content
from porting.errors import UsageError


def test_a_checkout_has_its_folders_at_the_root(project_root: Path) -> None:
    assert content.folder("profiles") == project_root / "profiles"


def test_a_wheel_has_them_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "PACKAGE", tmp_path / "porting")
    (tmp_path / "porting/_content/kernels").mkdir(parents=True)
    assert content.folder("kernels") == tmp_path / "porting/_content/kernels"


def test_a_neighbouring_package_is_no_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "PACKAGE", tmp_path / "porting")
    (tmp_path / "kernels").mkdir()
    with pytest.raises(UsageError, match="content 'kernels': is neither"):
        content.folder("kernels")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UsageError, match="no such folder; there are: checkpoints, kernels, profiles, reports"):
        content.folder("../secrets")
