"""Checkpoints that cannot be ported, each kind on several families: refused before anything is written, in one line.

The line says where, what was seen there, and what to do. What only one family can get wrong is in its own tests.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import zoo
from porting.adapters import registry
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.checkpoint.opening import SAMPLE
from porting.cli.app import load_commands
from porting.errors import CheckpointError, PortingError
from tests.adapters import zoo_ports
from zoo.weights import write_shards

Spoil = Callable[[Path], None]
CROWD = 100_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint of the zoo, built when it is first asked for; never to be changed."""
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = zoo.build(name, tmp_path_factory.mktemp("zoo") / name)
        return made[name]

    return find


def refuse(folder: Path, out: Path, *options: str) -> str:
    """The one line that `worldport port` ends with; exit code 2, and no bundle."""
    result = CliRunner().invoke(load_commands(), ["port", str(folder), *options, "--out", str(out)])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert not out.exists()
    line = result.stderr.splitlines()[-1]
    assert line.startswith("worldport: ")
    _, separator, advice = line.rpartition("; ")
    assert separator
    assert len(advice.split()) > 1
    return line.removeprefix("worldport: ")


def check_named(folder: Path, out: Path, kind: type[PortingError], words: tuple[str, ...]) -> None:
    """Refused with the typed error by the library, and with its words by the command."""
    with pytest.raises(kind) as raised:
        load_world_model(folder)
    line = refuse(folder, out)
    assert line == " ".join(str(raised.value).split())
    assert line.startswith(str(folder))
    for word in words:
        assert word in line


@dataclass(frozen=True)
class Bad:
    """One way of spoiling a checkpoint."""

    entry: str
    spoil: Spoil
    words: tuple[str, ...]
    """What is to be named: the file, what was seen in it, what to do."""
    kind: type[PortingError] = CheckpointError


def change(name: str, **values: Any) -> Spoil:
    """Other values in a JSON file of the folder."""
    path = Path(name)
    return lambda folder: zoo_ports.change_config(folder / path.parent, values, path.name)


DISAGREEING = [
    Bad("vjepa2", change("config.json", hidden_size=64), (
        "proj.weight: has shape (48, 3, 2, 8, 8)", "config.json asks for (64, 3, 2, 8, 8)", "correct whichever is",
    )),
    Bad("vjepa2-ac", change("config.json", pred_hidden_size=64), (
        "vjepa2-ac-vitt.pt", "predictor_embed.weight: has shape (48, 48)", "asks for (64, 48)",
    )),
    Bad("wan-2.1", change("transformer/config.json", num_layers=3), (
        "transformer/diffusion_pytorch_model.safetensors", "lacks blocks.2.", "transformer/config.json asks for",
        "save every tensor",
    )),
    Bad("cosmos-predict", change("transformer/config.json", num_layers=1), (
        "has transformer_blocks.1.", "transformer/config.json does not ask for", "correct the config",
    )),
    Bad("oasis", change("config.json", dit={"input_h": 4, "input_w": 6, "mlp_width": 96}), (
        "oasis500m.safetensors", "has shape (64, 32)", "asks for (96, 32)", "correct whichever is wrong",
    )),
    Bad("diamond", change("config.json", model_type="diamond", num_actions=5), (
        "Breakout.pt", "act_emb.0.weight: has shape (4, 4)", "config.json asks for (5, 4)",
    )),
]  # fmt: skip


def lose_a_shard(folder: Path) -> None:
    next(folder.glob("*-00002-of-*.safetensors")).unlink()


def lose_a_shard_of(part: str, folder: Path) -> None:
    """Spread a pipeline's part over two files, as diffusers does with a large one, and take one away."""
    own, stem = folder / part, "diffusion_pytorch_model"
    tensors = load_file(own / f"{stem}.safetensors")
    (own / f"{stem}.safetensors").unlink()
    config = (own / "config.json").read_bytes()
    write_shards(own, {}, tensors, stem, 2)
    (own / "config.json").write_bytes(config)
    inspect_checkpoint(folder)
    lose_a_shard(own)


MISSING_SHARD = "this shard is missing"
SHARDLESS = [
    Bad("vjepa2", lose_a_shard, (
        "model-00002-of-00002.safetensors: ", MISSING_SHARD, "copy it beside model.safetensors.index.json",
    )),
    Bad("wan-2.1", partial(lose_a_shard_of, "vae"), (
        "vae/diffusion_pytorch_model-00002-of-00002.safetensors: ", MISSING_SHARD, "copy it beside diffusion_pytorch_",
    )),
    Bad("cosmos-predict", partial(lose_a_shard_of, "transformer"), (
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors: ", MISSING_SHARD, "copy it beside",
    )),
]  # fmt: skip


def spoil_value(file: str, name: str, value: float, folder: Path) -> None:
    """One value of one tensor."""
    path = folder / file
    archived = not file.endswith(".safetensors")
    held: dict[str, Any] = torch.load(path, weights_only=True) if archived else load_file(path)
    tensors = held
    if name not in tensors:  # a dict of dicts
        start, _, name = name.partition(".")
        tensors = held[start]
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[3] = value
    if archived:
        torch.save(held, path)
    else:
        save_file(held, path)


NAN, INF = float("nan"), float("inf")
INFINITE = [
    Bad("wan-2.1", partial(spoil_value, "vae/diffusion_pytorch_model.safetensors", "post_quant_conv.bias", NAN), (
        "vae/diffusion_pytorch_model.safetensors: post_quant_conv.bias: holds nan at flat index 3", "is damaged",
    )),
    Bad("cosmos-predict", partial(
        spoil_value, "transformer/diffusion_pytorch_model.safetensors", "proj_out.weight", INF
    ), ("proj_out.weight: holds inf at flat index 3",)),
    Bad("oasis", partial(spoil_value, "vit-l-20.safetensors", "decoder.1.attn.proj.bias", NAN), (
        "vit-l-20.safetensors: decoder.1.attn.proj.bias: holds nan at flat index 3",
    )),
    Bad("vjepa2-ac", partial(
        spoil_value, "vjepa2-ac-vitt.pt", "predictor.module.backbone.action_encoder.bias", -INF
    ), ("vjepa2-ac-vitt.pt: predictor.module.backbone.action_encoder.bias: holds -inf at flat index 3",)),
]  # fmt: skip


def widen_action(folder: Path) -> None:
    """Sessions that fit but for the action, which has one value too many."""
    model, sample = load_world_model(folder), folder / SAMPLE
    tensors = {
        name: np.stack([{**one.session_inputs, **one.frame_inputs}[name] for one in model.samples])
        for name in (*model.samples[0].session_inputs, *model.samples[0].frame_inputs)
    }
    tensors = {n: a[:, :9] if n in model.samples[0].frame_inputs else a for n, a in tensors.items()}
    save_file({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in tensors.items()}, sample)
    fitting = load_world_model(folder)
    assert len(fitting.samples) == len(model.samples)
    assert "sessions stored with the checkpoint" in fitting.sample_source
    tensors["action"] = np.concatenate([tensors["action"], tensors["action"][..., :1]], axis=-1)
    save_file({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in tensors.items()}, sample)


def tell_widths(width: int) -> tuple[str, ...]:
    return (
        f"{SAMPLE}: action: is (2, 9, 1, {width + 1}) float32",
        f"the model takes (sessions, frames, 1, {width}) float32",
        "make it anew, see docs/checkpoints.md",
    )


WIDE = [
    Bad("oasis", widen_action, tell_widths(25)),
    Bad("vjepa2-ac", widen_action, tell_widths(7)),
    Bad("diamond", widen_action, tell_widths(4)),
]


class Trap:
    """What a pickle may hold: opening it runs a command of its author's."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def set_trap(file: str, folder: Path) -> None:
    """In place of a weights file, one that also holds an object."""
    path = folder / file
    weights = load_file(path) if file.endswith(".safetensors") else torch.load(path, weights_only=True)
    path.unlink()
    torch.save({**weights, "hook": Trap(folder / "was-here")}, path.with_suffix(".pt"))


def hold_a_module(file: str, folder: Path) -> None:
    """A whole module, as `torch.save(model, path)` writes it."""
    (folder / file).unlink()
    torch.save(torch.nn.Linear(2, 2), (folder / file).with_suffix(".pt"))


CONVERT = "load it there and save its tensors with safetensors.torch.save_file (docs/checkpoints.md)"
PICKLED = [
    Bad("diamond", partial(set_trap, "Breakout.pt"), ("Breakout.pt: needs pickle code", "'posix.system'", CONVERT)),
    Bad("vjepa2-ac", partial(set_trap, "vjepa2-ac-vitt.pt"), ("vjepa2-ac-vitt.pt: needs pickle code", CONVERT)),
    Bad("oasis", partial(set_trap, "vit-l-20.safetensors"), ("vit-l-20.pt: needs pickle code", CONVERT)),
    Bad("taehv", partial(hold_a_module, "taew2_1.safetensors"), (
        "taew2_1.pt: needs pickle code: asks for 'torch.nn.modules.linear.Linear'", CONVERT,
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [
        *(pytest.param(case, id=f"config-{case.entry}") for case in DISAGREEING),
        *(pytest.param(case, id=f"shard-{case.entry}") for case in SHARDLESS),
        *(pytest.param(case, id=f"value-{case.entry}") for case in INFINITE),
        *(pytest.param(case, id=f"action-{case.entry}") for case in WIDE),
        *(pytest.param(case, id=f"pickle-{case.entry}") for case in PICKLED),
    ],
)
def test_it_is_refused_in_one_line(case: Bad, built: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(built(case.entry), tmp_path / "m")
    case.spoil(folder)
    check_named(folder, tmp_path / "out", case.kind, case.words)
    assert not (folder / "was-here").exists()


@pytest.mark.parametrize("entry", ["taehv", "wan-2.1", "oasis", "vjepa2"])
def test_a_wrong_family_that_is_forced_is_told_whose_checkpoint_it_is(entry: str, built: Callable[[str], Path]) -> None:
    folder = built(entry)
    own = inspect_checkpoint(folder).family
    assert inspect_checkpoint(f"{own}@{folder}").family == own
    for family in registry.FAMILIES:
        if family.name == own:
            continue
        with pytest.raises(CheckpointError) as raised:
            inspect_checkpoint(f"{family.name}@{folder}")
        message = str(raised.value)
        assert message.startswith(f"{folder}: is of family {own} ("), message
        assert f"), not {family.name}, which finds: {folder}" in message
        assert message.endswith("; leave --family out")


@pytest.mark.parametrize(("entry", "family"), [("taehv", "wan"), ("wan-2.1", "cosmos_predict"), ("oasis", "vjepa2")])
def test_the_command_says_whose_checkpoint_it_is(
    entry: str, family: str, built: Callable[[str], Path], tmp_path: Path
) -> None:
    line = refuse(built(entry), tmp_path / "out", "--family", family)
    own = inspect_checkpoint(built(entry)).family
    assert line.startswith(f"{built(entry)}: is of family {own} (")
    assert f"), not {family}, which finds: " in line
    unknown = refuse(built(entry), tmp_path / "out", "--family", "genie")
    assert unknown.startswith("family 'genie': is not known; known are: ")


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Path]:
    """A folder of very many files, removed at once."""
    folder = tmp_path / "crowd"
    folder.mkdir()
    for number in range(CROWD):
        os.close(os.open(folder / f"{number:06d}.png", os.O_CREAT | os.O_WRONLY))
    yield folder
    shutil.rmtree(folder)


def test_very_many_files_do_not_hide_the_weights(crowd: Path, built: Callable[[str], Path], tmp_path: Path) -> None:
    line = refuse(crowd, tmp_path / "out")
    assert line.startswith(f"{crowd}: has no weights, ")
    assert "000000.png" in line
    assert "and 99,992 more" in line
    assert len(line) < 600
    for entry in ("taehv", "oasis", "vjepa2", "diamond"):
        own = [Path(shutil.copy(path, crowd)) for path in built(entry).iterdir()]
        assert inspect_checkpoint(crowd).family == inspect_checkpoint(built(entry)).family
        for path in own:
            path.unlink()
