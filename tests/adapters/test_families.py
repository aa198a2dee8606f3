"""Recognising among many families: nearest ones, installed adapters, own classes."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from porting.adapters import registry
from porting.adapters.family import Family
from porting.adapters.names import bare_name, strip_wrappers
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.cli.app import load_commands
from porting.cli.options import name_checkpoint
from porting.errors import CheckpointError, ConfigError, UsageError
from zoo.taehv import make_tensors

OWN = """
import torch
from torch import nn
from porting.adapters.world_model import SampleSession, WorldModel
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec
import numpy as np

class Step(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)
    def forward(self, deter, action):
        following = torch.tanh(deter @ self.weight + action.sum())
        return torch.sigmoid(following).reshape(1, 3, 2, 2), following

class Tiny:
    @classmethod
    def from_checkpoint(cls, checkpoint):
        deter = TensorSpec(name="deter", shape=(1, 12), dtype="float32")
        action = TensorSpec(name="action", shape=(1, 2), dtype="float32")
        frame = TensorSpec(name="frame", shape=(1, 3, 2, 2), dtype="float32")
        program = Program(
            components=(ComponentSpec(name="step", inputs=(deter, action), outputs=(frame, deter.model_copy(
                update={"name": "next_deter"}))),),
            inputs=(InputSpec(tensor=action, scope="frame", kind="action"),),
            states=(StateSpec(tensor=deter, update="replace"),),
            prime=(),
            frame=(Call(component="step", inputs={"deter": Source(kind="state", name="deter"), "action": Source(
                kind="input", name="action")}, outputs={"frame": Sink(kind="value", name="frame"),
                "next_deter": Sink(kind="state", name="deter")}),),
        )
        session = SampleSession({}, {"action": np.ones((9, 1, 2), np.float32)})
        return WorldModel(
            name="own", family="own", digest=checkpoint.digest(), config={}, program=program,
            modules={"step": Step(checkpoint.load(["w"])["w"]).eval().requires_grad_(False)},
            samples=(session,), sample_source="ones")

def make_nothing(checkpoint):
    return None

answer = 42
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A team's module beside its weights, in the working folder."""
    (tmp_path / "team_model.py").write_text(OWN)
    save_file({"w": torch.eye(12) * 0.9}, tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "team_model", raising=False)
    return tmp_path / "weights.safetensors"


def refusal(use: Callable[[], object], kind: type[Exception] = CheckpointError) -> str:
    with pytest.raises(kind) as error:
        use()
    return str(error.value)


def test_every_family_has_a_name_and_says_what_it_looks_like() -> None:
    names = [family.name for family in registry.FAMILIES]
    assert len(set(names)) == len(names) >= 6
    for family in registry.FAMILIES:
        assert family.title
        assert family.signature.words
        assert family.signature.tensors


@pytest.mark.parametrize("name", sorted(key for family in registry.FAMILIES for key in family.configs))
def test_configs_of_published_sizes_are_inspected(name: str) -> None:
    found = inspect_checkpoint(f"config:{name}")
    assert found.format == "config"
    assert found.tensors == 0
    assert found.parameters > 1e6


def test_an_unknown_config_lists_those_that_ship() -> None:
    message = refusal(lambda: inspect_checkpoint("config:genie"), ConfigError)
    assert message.startswith("config:genie: no such config; there are: ")
    assert "config:vjepa2-vitl-256" in message


def test_the_nearest_families_are_named_with_what_is_missing(tmp_path: Path) -> None:
    tensors = make_tensors()
    del tensors["decoder.13.conv.weight"]
    save_file(tensors, tmp_path / "t.safetensors")
    message = refusal(lambda: inspect_checkpoint(tmp_path / "t.safetensors"))
    assert "there is no config.json" in message
    assert "nearest are: taehv (TAEHV: " in message
    assert "lacks decoder.13.conv.weight)" in message


def test_a_config_speaks_louder_than_tensors(tmp_path: Path) -> None:
    save_file(make_tensors(), tmp_path / "model.safetensors")
    assert inspect_checkpoint(tmp_path).family == "taehv"
    (tmp_path / "config.json").write_text('{"model_type": "vjepa2", "crop_size": 32, "patch_size": 8}')
    message = refusal(lambda: inspect_checkpoint(tmp_path))
    assert "lacks encoder.embeddings.patch_embeddings.proj.weight" in message


def test_a_path_may_hold_an_at_sign(tmp_path: Path) -> None:
    folder = tmp_path / "me@home"
    folder.mkdir()
    save_file(make_tensors(), folder / "t.safetensors")
    assert inspect_checkpoint(folder).family == "taehv"


def test_wrappers_are_stripped_and_averages_preferred() -> None:
    assert strip_wrappers({"net.a.b": 1, "net.c": 2}) == {"a.b": 1, "c": 2}
    assert strip_wrappers({"generator.model.a": 1, "generator_ema.model.a": 2}) == {"a": 2}
    assert strip_wrappers({"model.a": 1, "encoder.b": 2}) == {"model.a": 1, "encoder.b": 2}
    assert strip_wrappers({"module.backbone.a": 1}) == {"a": 1}
    assert strip_wrappers({"model.x": 1, "net.x": 2}) == {"model.x": 1, "net.x": 2}
    assert bare_name("encoder.module.backbone.blocks.0.net.0.w") == "encoder.blocks.0.net.0.w"


def install(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "worldport.adapters" else ())


def test_an_installed_adapter_is_a_family_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taehv = registry.name_family("taehv")
    theirs = replace(taehv, name="theirs", signature=replace(taehv.signature, words=("theirs",), tensors=("own.w",)))
    monkeypatch.setattr(registry, "installed_for_test", theirs, raising=False)
    entry = EntryPoint("theirs", "porting.adapters.registry:installed_for_test", "worldport.adapters")
    install(monkeypatch, entry)
    save_file({"own.w": torch.ones(1)}, tmp_path / "m.safetensors")
    assert "is missing; a TAEHV decoder" in refusal(lambda: inspect_checkpoint(tmp_path / "m.safetensors"))
    assert registry.name_family("theirs") is theirs


def test_a_broken_installed_adapter_hurts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch,
        EntryPoint("gone", "no_such_package:FAMILY", "worldport.adapters"),
        EntryPoint("odd", "json:dumps", "worldport.adapters"),
    )
    save_file(make_tensors(), tmp_path / "t.safetensors")
    assert inspect_checkpoint(tmp_path / "t.safetensors").family == "taehv"
    save_file({"x": torch.ones(1)}, tmp_path / "t.safetensors")
    message = refusal(lambda: inspect_checkpoint(tmp_path / "t.safetensors"))
    assert "gone (no_such_package:FAMILY: No module named 'no_such_package')" in message
    assert "odd (json:dumps is a function, not a Family)" in message


def test_a_class_of_ones_own_is_loaded_and_inspected(own: Path) -> None:
    name = name_checkpoint("team_model:Tiny", None, own)
    assert name == f"team_model:Tiny@{own}"
    assert load_world_model(name).family == "own"
    result = CliRunner().invoke(load_commands(), ["inspect", "team_model:Tiny", "--checkpoint", str(own), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["parameters"] == 144
    assert found["components"][0]["weights"] == "team_model:Tiny"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("no_such_module:Tiny", UsageError, "cannot be imported"),
        ("team_model:Huge", UsageError, "has no Huge"),
        ("team_model:answer", UsageError, "is a int; name a class with from_checkpoint"),
        ("team_model:make_nothing", UsageError, "made a NoneType of the checkpoint; return a WorldModel"),
    ],
)
def test_a_class_that_is_none_is_named(own: Path, name: str, kind: type[Exception], words: str) -> None:
    assert words in refusal(lambda: load_world_model(f"{name}@{own}"), kind)


def test_a_class_that_is_given_other_weights(own: Path) -> None:
    save_file({"v": torch.ones(1)}, own)
    assert "w: no such tensor" in refusal(lambda: load_world_model(f"team_model:Tiny@{own}"))
    save_file({"w": torch.ones(12, 12, 1)}, own)
    with pytest.raises(UsageError, match="say which weights it is to load with --checkpoint FILE"):
        name_checkpoint("team_model:Tiny", None, None)
    with pytest.raises(UsageError, match="goes with a class"):
        name_checkpoint("folder", None, own)


def test_a_family_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    family: Family = registry.name_family("cosmos_predict")
    monkeypatch.setattr("porting.adapters.family.find_spec", lambda name: None if name == "diffusers" else object())
    with pytest.raises(Exception, match=r"diffusers: is not installed.*install worldport\[families\]"):
        family.check_packages()
