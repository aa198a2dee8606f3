"""What is kept comes back whole or not at all."""

from pathlib import Path

from porting.emulation.kept import find_kept, keep
from porting.record import EmulatedKernel, EmulatedLaunch
from tests.verdict.test_emulated import GOOD


def test_an_answer_comes_back(tmp_path: Path) -> None:
    assert find_kept(tmp_path, "key", EmulatedKernel) is None
    keep(tmp_path / "made", "key", GOOD)
    assert find_kept(tmp_path / "made", "key", EmulatedKernel) == GOOD
    newer = GOOD.model_copy(update={"error": "no"})
    keep(tmp_path / "made", "key", newer)
    assert find_kept(tmp_path / "made", "key", EmulatedKernel) == newer
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["key.json"]


def test_what_was_damaged_counts_as_none(tmp_path: Path) -> None:
    keep(tmp_path, "key", GOOD)
    path = tmp_path / "key.json"
    text = path.read_text()
    for damaged in (text.replace("1.1", "0.1"), text[:-9], "[]", ""):
        path.write_text(damaged)
        assert find_kept(tmp_path, "key", EmulatedKernel) is None
    path.write_text(text)
    assert find_kept(tmp_path, "key", EmulatedLaunch) is None
