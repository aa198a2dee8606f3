"""Formulas against exported graphs, and against the checkpoint's own headers."""

import time

import pytest

from porting.adapters.gwm.config import HD_2B, MINI, GwmConfig
from porting.adapters.gwm.program import build_program
from porting.adapters.gwm.world_model import random_world_model
from porting.adapters.registry import inspect_checkpoint
from porting.export.component import find_component
from porting.export.feeds import draw_example
from porting.export.graph import convert_program
from porting.export.traced import trace_module
from porting.planning import describe_gwm, read_model
from porting.planning.sources import HD_14B
from porting.roofline.frame import count_frame

ODD = GwmConfig.model_validate(
    {
        **MINI.model_dump(),
        "frame_height": 32,
        "frame_width": 96,
        "action_width": 5,
        "autoencoder": {"patch": 2, "widths": (8, 16, 24), "latent_channels": 4, "temporal_kernel": 3},
        "denoiser": {**MINI.denoiser.model_dump(), "width": 64, "heads": 2, "depth": 2, "mlp_width": 96, "window": 5},
        "sampler": {"noise_levels": (1.0, 0.7, 0.2), "commit_noise_level": 0.03},
    }
)
"""No two sizes alike that MINI could confuse."""


@pytest.mark.parametrize("config", [MINI, ODD], ids=["mini", "odd"])
def test_formulas_agree_with_the_graphs(config: GwmConfig) -> None:
    model = random_world_model(config)
    graphs = {}
    for name in ("denoiser", "decoder"):
        spec, module = find_component(model, name)
        graphs[name] = convert_program(trace_module(module, spec, draw_example(model.program, spec, 1)), spec, 20)[0]
    counted, planned = count_frame(model.program, graphs), describe_gwm(config, "it", "config")
    for graph, formula in zip(counted.components, planned.components, strict=True):
        assert (graph.component, graph.calls_per_frame) == (formula.name, formula.calls_per_frame)
        assert graph.matrix_flops == formula.matrix_flops
        assert graph.compulsory_bytes == pytest.approx(formula.nbytes("fp32"), rel=0.01)
    assert planned.flops_per_frame == counted.matrix_flops
    assert planned.bytes_per_frame("fp32") == pytest.approx(counted.compulsory_bytes, rel=0.01)
    assert planned.state_bytes("fp32") == counted.state_bytes
    assert planned.copied_elements * 4 == counted.ring_bytes + counted.input_bytes
    assert planned.parameters == model.parameters


def test_a_checkpoint_is_planned_from_its_headers() -> None:
    found, headers = read_model("bundled:gwm-mini-worlds"), inspect_checkpoint("bundled:gwm-mini-worlds")
    assert found.parameters == headers.parameters
    assert found.state_bytes("fp32") == headers.program.state_bytes
    assert found.source.startswith("checkpoint")


def test_another_resolution_has_its_own_tokens_and_state() -> None:
    whole, half = read_model("config:gwm-hd-2b"), read_model("config:gwm-hd-2b", (640, 720))
    assert half.transformer.tokens * 2 == whole.transformer.tokens == HD_2B.tokens_per_frame
    assert half.state_elements < 0.51 * whole.state_elements


def test_attention_grows_with_the_window_alone() -> None:
    wider = HD_2B.model_copy(update={"denoiser": HD_2B.denoiser.model_copy(update={"window": 33})})
    one, two = (describe_gwm(config, "it", "config").components[0] for config in (HD_2B, wider))
    assert two.attention_flops == 2 * one.attention_flops
    assert two.matrix_flops - two.attention_flops == one.matrix_flops - one.attention_flops


def test_fourteen_billion_parameters_take_no_time() -> None:
    start = time.process_time()
    found = read_model("config:gwm-hd-14b")
    assert time.process_time() - start < 2
    assert 13e9 < found.parameters < 15e9
    assert GwmConfig.model_validate(HD_14B.model_dump()) == HD_14B


def test_formats_size_weights_and_keep_state_in_sixteen_bits() -> None:
    found = read_model("config:gwm-mini")
    assert found.weight_bytes("nvfp4") == found.parameters * 4.5 / 8
    assert found.state_bytes("nvfp4") == found.state_bytes("bf16") == found.state_bytes("fp32") / 2
    program = build_program(MINI)
    spare = sum(state.tensor.nbytes for state in program.states if state.update == "replace")
    assert found.session_bytes("fp32") == program.state_bytes + spare
