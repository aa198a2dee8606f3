"""The work of a GWM frame, held against torch's own counter, which sees modules and not graphs."""

from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from porting.adapters.gwm.config import MINI
from porting.adapters.gwm.world_model import random_world_model
from porting.adapters.world_model import WorldModel
from porting.errors import ExportError
from porting.export.component import find_component
from porting.export.feeds import draw_example
from porting.export.graph import convert_program
from porting.export.traced import trace_module
from porting.record.limit import FrameWork
from porting.roofline.frame import count_frame

SMALL = MINI.model_copy(
    update={
        "autoencoder": MINI.autoencoder.model_copy(update={"widths": (16, 24), "temporal_kernel": 3}),
        "denoiser": MINI.denoiser.model_copy(update={"depth": 2, "window": 5, "mlp_width": 160}),
    }
)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return random_world_model(SMALL)


@pytest.fixture(scope="module")
def graphs(model: WorldModel) -> dict[str, ir.Model]:
    made = {}
    for name in ("denoiser", "decoder"):
        spec, module = find_component(model, name)
        program = trace_module(module, spec, draw_example(model.program, spec, 1))
        made[name] = convert_program(program, spec, 20)[0]
    return made


@pytest.fixture(scope="module")
def work(model: WorldModel, graphs: dict[str, ir.Model]) -> FrameWork:
    return count_frame(model.program, graphs)


@pytest.mark.parametrize("name", ["denoiser", "decoder"])
def test_products_are_those_that_torch_counts(model: WorldModel, work: FrameWork, name: str) -> None:
    spec, module = find_component(model, name)
    example = draw_example(model.program, spec, 1)
    inputs = [torch.as_tensor(example[tensor.name]) for tensor in spec.inputs]
    # The fused attention of the CPU is none that torch's counter knows.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module(*inputs)
    (component,) = [c for c in work.components if c.component == name]
    assert component.matrix_flops == counter.get_total_flops()
    assert component.uncounted == {}
    assert 0 < component.vector_flops < component.matrix_flops


def test_a_frame_calls_as_often_as_its_program(work: FrameWork, model: WorldModel) -> None:
    calls = {component.component: component.calls_per_frame for component in work.components}
    assert calls == {"denoiser": len(SMALL.sampler.noise_levels) + 1, "decoder": 1}
    assert work.flops == sum(c.calls_per_frame * c.flops for c in work.components)
    assert work.state_bytes == model.program.state_bytes


def test_slices_go_into_rings_and_inputs_are_taken(work: FrameWork) -> None:
    denoiser = SMALL.denoiser
    one_slice = 4 * denoiser.width * SMALL.tokens_per_frame
    assert work.ring_bytes == 2 * (2 * denoiser.depth) * one_slice
    noise = 4 * SMALL.latent_shape[0] * SMALL.latent_shape[1] * SMALL.latent_shape[2]
    assert work.input_bytes == 2 * (noise + 4 * SMALL.action_width)


def test_the_whole_ring_is_read_in_every_call(work: FrameWork, model: WorldModel) -> None:
    (denoiser,) = [c for c in work.components if c.component == "denoiser"]
    rings = sum(state.tensor.nbytes for state in model.program.states if state.update == "ring")
    assert rings < denoiser.input_bytes < 1.1 * rings


def test_half_precision_halves_the_bytes_and_no_operation(
    work: FrameWork, model: WorldModel, graphs: dict[str, ir.Model]
) -> None:
    half = count_frame(model.program, graphs, "bf16")
    assert half.flops == work.flops
    assert half.compulsory_bytes == pytest.approx(work.compulsory_bytes / 2, rel=0.01)


def test_a_component_without_a_graph_is_an_error(model: WorldModel, graphs: dict[str, ir.Model]) -> None:
    with pytest.raises(ExportError, match="decoder: the frame program calls it"):
        count_frame(model.program, {"denoiser": graphs["denoiser"]})


def test_a_damaged_file_is_an_error(model: WorldModel, tmp_path: Path) -> None:
    for name in ("denoiser", "decoder"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(ExportError, match="is not an ONNX graph"):
        count_frame(model.program, {name: tmp_path / name for name in ("denoiser", "decoder")})
