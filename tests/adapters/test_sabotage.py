"""Porting mistakes on three families, made between PyTorch and the exported program: each is noticed, and named.

The checkpoint and PyTorch's modules are right; the traced program, or what runs it, is not. tests/parity/test_sabotage
does the same to one model in more ways; these go through the components, states and chunks of published families.
"""

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.export import ExportedProgram

import zoo
from porting.adapters.cosmos_predict.modules import Denoiser
from porting.adapters.registry import load_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import StateContractError
from porting.export import component as exporting
from porting.export import export_component
from porting.export.feeds import draw_example
from porting.export.traced import trace_module
from porting.parity import measure_parity
from porting.profile import ParityBudget
from porting.program import ComponentSpec
from porting.record import ArtifactRecord, Check, Outcome, TargetRecord
from porting.runners.base import BoundCall, Buffer, Runner, aligned_zeros
from porting.runners.eager import TorchRunner
from porting.runners.exported import ExportedModule
from porting.trace.data import Trace
from porting.trace.recorder import record_trace
from porting.verdict.parity import check_parity
from tests.adapters.zoo_ports import OPSET
from tests.verdict.records import make_profile

FRAMES = 2
BUDGET = ParityBudget(
    error_budget_ratio=2.0,
    envelope_margin_db=3.0,
    envelope_margin_ssim=0.005,
    psnr_cap_db=100.0,
    component_samples=2,
    teacher_forced_frames=FRAMES,
    free_running_frames=FRAMES,
)


class Unwritten:
    """Runs another runner, whose output `name` never arrives where it should: there stands what stood there before."""

    backend = "exported"

    def __init__(self, inner: Runner, name: str) -> None:
        self._inner, self._name = inner, name

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        """See `Runner.bind`."""
        lost = outputs[self._name]
        return self._inner.bind(inputs, {**outputs, self._name: aligned_zeros(lost.shape, lost.dtype)})

    def close(self) -> None:
        """See `Runner.close`."""
        self._inner.close()


@dataclass(frozen=True)
class Mistake:
    """One way of porting wrongly, and what has to be said of it."""

    entry: str
    """The zoo's checkpoint."""
    component: str
    outputs: frozenset[str]
    """Those of the component that are wrong, and no others are."""
    frames: Mapping[str, int]
    """Each of a frame's values and states that is wrong -> the first frame that it is wrong in."""
    spoil: Callable[[WorldModel, ExportedProgram], None] | None = None
    """Changes the traced program in place."""
    replace: Callable[[WorldModel, Runner], Runner] = lambda model, runner: runner
    """What runs in the runner's place."""


def change_rope_base(model: WorldModel, program: ExportedProgram) -> None:
    """Twice the published base, along every axis."""
    denoiser = model.modules["denoiser"]
    assert isinstance(denoiser, Denoiser)
    network, settings = denoiser.transformer.transformer, denoiser.settings
    rope = copy.copy(network.rope)
    for axis in "thw":
        setattr(rope, f"{axis}_ntk_factor", 2 * getattr(rope, f"{axis}_ntk_factor"))
    time, height, width = model.program.component("denoiser").inputs[0].shape[2:]
    for name, table in zip(("cos", "sin"), rope(torch.zeros(1, 1, time, height, width), fps=settings.fps), strict=True):
        found = program.constants[f"transformer.{name}"]
        assert isinstance(found, Tensor)
        assert found.shape == table.shape
        program.constants[f"transformer.{name}"] = table


def take_another_layers_weight(model: WorldModel, program: ExportedProgram) -> None:
    """The second layer computes with one matrix of the first."""
    names = [f"predictor.layer.{layer}.mlp.fc1.weight" for layer in (0, 1)]
    assert not torch.equal(*(program.state_dict[name] for name in names))
    program.state_dict[names[1]] = program.state_dict[names[0]]


def keep_a_cache(model: WorldModel, runner: Runner) -> Runner:
    """The first call of a clip leaves the cache of the temporal upsampling as the clip before left it."""
    spec = model.program.component("decoder_first")
    latent = torch.randn(spec.inputs[0].shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = model.modules["decoder_first"](latent)
    # The one convolution that does not run on a clip's first latent frame: all that is to be done is the reset.
    (name,) = (tensor.name for tensor, value in zip(spec.outputs, made, strict=True) if not value.any())
    return Unwritten(runner, name)


WRONG_BASE = Mistake(
    entry="cosmos-predict",
    component="denoiser",
    outputs=frozenset({"next_latents"}),
    frames={"latents_1": 0, "latents_2": 0, "frame": 0, "tail": 0, "context": 0},
    spoil=change_rope_base,
)
WRONG_LAYER = Mistake(
    entry="vjepa2",
    component="predictor",
    outputs=frozenset({"predicted", "next_latents"}),
    frames={"predicted": 0, "latents": 0, "frame": 0},
    spoil=take_another_layers_weight,
)
KEPT_CACHE = Mistake(
    entry="wan-2.1",
    component="decoder_first",
    outputs=frozenset({"next_cache_9"}),
    # What comes after it in the decoder, from the second clip on.
    frames=dict.fromkeys(["pictures_1", "pictures_2", "frame", *(f"cache_{index}" for index in range(10, 19))], 1),
    replace=keep_a_cache,
)


def trace_component(model: WorldModel, component: str) -> ExportedProgram:
    """The component as the export traces it."""
    spec = model.program.component(component)
    return trace_module(model.modules[component], spec, draw_example(model.program, spec, 1))


def run_program(program: ExportedProgram, spec: ComponentSpec) -> Runner:
    """The traced program as it stands."""
    return TorchRunner(ExportedModule(program.module()), spec, compute="fp32")


def judge(model: WorldModel, trace: Trace, component: str, runner: Runner, out: Path) -> tuple[Check, ...]:
    """What the verdict says of a port whose other components are PyTorch's own."""
    specs = model.program.components
    runners = {
        spec.name: runner
        if spec.name == component
        else TorchRunner(model.modules[spec.name], spec, compute="fp32")
        for spec in specs
    }  # fmt: skip
    backends = {name: one.backend for name, one in runners.items()}
    evidence = measure_parity(model.program, runners, trace, BUDGET, "fp32", out, backends)
    chosen = [
        ArtifactRecord(component=n, backend=b, precision="fp32", path=None, chosen=True) for n, b in backends.items()
    ]
    profile = make_profile().model_copy(update={"parity": BUDGET})
    target = TargetRecord.model_construct(parity=evidence, profile=profile, precision="fp32", artifacts=tuple(chosen))
    return check_parity(model.program, target)


def refused(checks: tuple[Check, ...]) -> dict[str, str]:
    """Subject -> reason of every check that does not pass; of a rollout, whose checks are several, the last."""
    return {check.subject: check.reason for check in checks if check.outcome is not Outcome.PASSED}


@pytest.mark.parametrize("mistake", [WRONG_BASE, WRONG_LAYER, KEPT_CACHE], ids=lambda mistake: mistake.entry)
def test_the_verdict_names_component_output_and_frame(mistake: Mistake, tmp_path: Path) -> None:
    model = load_world_model(zoo.build(mistake.entry, tmp_path / "m"))
    trace = record_trace(model, 1, FRAMES, "fp32", seed=0, component_samples=2, envelope_members=1)
    program, spec = trace_component(model, mistake.component), model.program.component(mistake.component)
    honest = judge(model, trace, mistake.component, run_program(program, spec), tmp_path / "honest")
    assert refused(honest) == {}
    if mistake.spoil is not None:
        mistake.spoil(model, program)
    runner = mistake.replace(model, run_program(program, spec))
    reasons = refused(judge(model, trace, mistake.component, runner, tmp_path / "spoilt"))
    components = {subject for subject in reasons if "." in subject}
    assert components == {f"{mistake.component}.{output}" for output in mistake.outputs}
    assert reasons.keys() - components == {*mistake.frames, "rollout"}
    for made, frame in mistake.frames.items():
        assert f"the first over it is frame {frame}" in reasons[made]
    first = min(mistake.frames.values())
    assert f"The first frame outside the envelope is {first};" in reasons["rollout"]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [WRONG_BASE, WRONG_LAYER], ids=lambda mistake: mistake.entry)
def test_the_exports_proof_names_component_and_output(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_world_model(zoo.build(mistake.entry, tmp_path / "m"))

    def trace_wrongly(*given: object) -> ExportedProgram:
        program = trace_module(*given)  # type: ignore[arg-type]
        assert mistake.spoil is not None
        mistake.spoil(model, program)
        return program

    monkeypatch.setattr(exporting, "trace_module", trace_wrongly)
    with pytest.raises(StateContractError) as raised:
        export_component(model, mistake.component, tmp_path / "out", OPSET)
    message = str(raised.value)
    assert any(message.startswith(f"{mistake.component}: output `{output}` of the") for output in mistake.outputs)
    assert re.search(r"at step \d+ of the closed loop", message)
    assert not list((tmp_path / "out").glob("*.onnx"))
