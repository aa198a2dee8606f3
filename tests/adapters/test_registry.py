"""Families are recognised by config and tensor names; `inspect` answers from headers, however large the weights."""

import json
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from porting.adapters import family, registry
from porting.adapters.gwm.config import HD_2B, GwmConfig
from porting.adapters.gwm.layout import expected_tensors
from porting.adapters.registry import inspect_checkpoint, load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import BackendMissingError, CheckpointError, ConfigError

Weights = dict[str, Tensor]
Save = Callable[[Weights], Path]

# Peak memory as VmHWM: getrusage would count the parent's memory before exec as well.
INSPECT = """
import re, sys
from pathlib import Path
from porting.adapters.registry import inspect_checkpoint
inspection = inspect_checkpoint(sys.argv[1])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(inspection.weight_bytes, int(peak[1]) * 1024, "torch" in sys.modules)
"""


def write_sparse(folder: Path, config: GwmConfig) -> int:
    """A checkpoint with a true header and nothing but a hole behind it; returns the bytes of its weights."""
    header, end = {}, 0
    for name, shape in expected_tensors(config).items():
        first, end = end, end + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (first, end)}
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "config.json").write_text(config.model_dump_json())
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return end


def test_inspect_says_what_the_loaded_model_is(save: Save, weights: Weights, tiny_model: WorldModel) -> None:
    inspection = inspect_checkpoint(save(weights))
    assert inspection.family == "gwm"
    assert inspection.name == "tiny"
    assert inspection.parameters == tiny_model.parameters
    assert inspection.weight_bytes == sum(value.nbytes for value in weights.values())
    assert inspection.tensors_by_dtype == {"float32": len(weights)}
    assert [c.name for c in inspection.components] == list(tiny_model.modules)
    for component in inspection.components:
        assert component.parameters == sum(p.numel() for p in tiny_model.modules[component.name].parameters())
    assert inspection.program.states == tiny_model.program.states
    assert inspection.program.state_bytes == tiny_model.program.state_bytes
    assert inspection.program.frame_calls == len(tiny_model.program.frame)
    assert type(inspection).model_validate_json(inspection.model_dump_json()) == inspection


def test_twenty_gigabytes_answer_in_two_seconds_and_300_mb(tmp_path: Path, project_root: Path) -> None:
    table = HD_2B.model_dump()
    table["denoiser"]["depth"] = 80
    folder = tmp_path / "large"
    stored = write_sparse(folder, GwmConfig.model_validate(table))
    assert stored > 20e9
    assert (folder / "model.safetensors").stat().st_blocks * 512 < 10e6
    # The processor's seconds: nothing waits here, so an idle machine answers in as much, and a busy one fails no test.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", INSPECT, str(folder)]
    ran = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0
    weight_bytes, peak_bytes, torch_imported = ran.stdout.split()
    assert int(weight_bytes) == stored
    assert int(peak_bytes) < 300e6
    assert torch_imported == "False"


def test_tensor_names_tell_the_family_where_the_config_does_not(
    save: Save, weights: Weights, tiny_config: GwmConfig
) -> None:
    folder = save(weights)
    (folder / "config.json").write_text(tiny_config.model_dump_json(exclude={"family"}))
    assert inspect_checkpoint(folder).family == "gwm"


def test_a_missing_config_is_asked_for(save: Save, weights: Weights) -> None:
    folder = save(weights)
    (folder / "config.json").unlink()
    for use in (inspect_checkpoint, load_world_model):
        with pytest.raises(ConfigError) as error:
            use(folder)
        assert str(error.value).startswith(f"{folder / 'config.json'}: is missing; a GWM checkpoint needs it")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"model_type": "llama"}', "config.json says 'llama', 2 tensors lm_head.*, model.*"),
        ('{"family": "gwm2"}', "config.json says 'gwm2', 2 tensors"),
        ("{}", "config.json names no family"),
        (None, "there is no config.json"),
    ],
)
def test_an_unknown_family_is_told_what_was_seen_and_what_is_known(save: Save, config: str | None, words: str) -> None:
    folder = save({"model.embed": torch.ones(1), "lm_head.weight": torch.ones(1)})
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    with pytest.raises(CheckpointError) as error:
        inspect_checkpoint(folder)
    message = str(error.value)
    assert message.startswith(f"{folder}: of no known family: ")
    assert words in message
    assert "known are: " in message
    assert "gwm (GWM: frame-causal" in message


def test_a_family_is_not_taken_from_a_name(save: Save, weights: Weights, tmp_path: Path) -> None:
    folder = save({"model.embed": torch.ones(1)})
    (folder / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="of no known family"):
        inspect_checkpoint((folder / "model.safetensors").rename(folder / "gwm.safetensors"))
    assert inspect_checkpoint(save(weights).rename(tmp_path / "llama")).family == "gwm"


def test_two_families_that_recognise_it_are_named(
    save: Save, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    gwm = registry.name_family("gwm")
    monkeypatch.setattr(registry, "FAMILIES", (gwm, replace(gwm, name="twin")))
    with pytest.raises(CheckpointError, match="several families recognise it: gwm, twin"):
        inspect_checkpoint(save(weights))


def test_bundled_names_are_found_and_listed(
    save: Save, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(weights)
    monkeypatch.setattr(registry, "folder", lambda name: tmp_path)
    assert inspect_checkpoint("bundled:tiny").name == "tiny"
    for name in ("huge", "", "../tiny", "."):
        with pytest.raises(CheckpointError) as error:
            inspect_checkpoint(f"bundled:{name}")
        assert str(error.value) == f"bundled:{name}: no such bundled checkpoint; there are: bundled:tiny"


def test_without_torch_loading_says_what_to_install(
    save: Save, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"torch: is not installed.*install worldport\[torch\]"):
        load_world_model(save(weights))
