"""The GWM components computed by operators: the same function, the same weights, every hot spot a kernel."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from porting.adapters.gwm.with_kernels import CLASSES, use_kernels
from porting.adapters.world_model import WorldModel
from porting.export.feeds import Feed, calls_of
from porting.export.probe import call_module
from porting.kernel_library.operators import computing_by, registered_kernel
from porting.program import ComponentSpec

COMPONENTS = ("encoder", "denoiser", "decoder_first", "decoder")
FRAMES = 7
"""Past the tiny model's window, so that the ring wraps around and its sink is used."""


@pytest.fixture(scope="module")
def variant(tiny_model: WorldModel) -> dict[str, nn.Module]:
    return use_kernels(tiny_model.modules)


def _relative(found: Tensor, exact: Tensor) -> float:
    difference = np.linalg.norm(found.double().numpy() - exact.double().numpy())
    return float(difference / max(float(exact.double().norm()), 1e-12))


def _compare(model: WorldModel, variant: dict[str, nn.Module], component: str, frames: int) -> float:
    """The worst relative difference over priming and some frames; both are given the plain component's states."""
    feed, worst = Feed(model.program, component, seed=4), 0.0
    prime, frame = calls_of(model.program, component)
    spec = model.program.component(component)
    for calls in [prime, *[frame] * frames]:
        feed.begin_stage()
        for call in calls:
            inputs, outputs = feed.inputs_of(call), feed.output_buffers(call)
            plain = call_module(model.modules[component], spec, inputs)
            made = call_module(variant[component], spec, inputs)
            worst = max([worst, *(_relative(made[name], plain[name]) for name in plain)])
            for name, tensor in plain.items():
                np.copyto(outputs[name], tensor.numpy())
            feed.commit(call, outputs)
    return worst


@pytest.mark.parametrize("component", COMPONENTS)
def test_it_computes_what_the_plain_component_computes(
    tiny_model: WorldModel, variant: dict[str, nn.Module], component: str
) -> None:
    with computing_by("reference"):
        assert _compare(tiny_model, variant, component, FRAMES) < 1e-6


@pytest.mark.parametrize("component", COMPONENTS)
def test_its_kernels_in_the_interpreter_compute_the_same(
    tiny_model: WorldModel, variant: dict[str, nn.Module], component: str
) -> None:
    assert _compare(tiny_model, variant, component, 1) < 2e-6


def test_no_weight_is_there_twice_and_the_plain_modules_stay_plain(
    tiny_model: WorldModel, variant: dict[str, nn.Module]
) -> None:
    for name, module in tiny_model.modules.items():
        plain, other = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (module, variant[name]))
        assert plain.keys() == other.keys()
        assert all(plain[key] is other[key] for key in plain)
        assert not {type(part) for part in module.modules()} & set(CLASSES.values())
    decoders = [variant[name].get_submodule("decoder") for name in ("decoder_first", "decoder")]
    assert decoders[0] is decoders[1]


def test_every_class_that_has_a_variant_is_replaced(tiny_model: WorldModel, variant: dict[str, nn.Module]) -> None:
    plain = {type(part) for module in tiny_model.modules.values() for part in module.modules()}
    assert set(CLASSES) <= plain
    assert not set(CLASSES) & {type(part) for module in variant.values() for part in module.modules()}


@pytest.mark.parametrize(
    ("component", "wanted"),
    [
        (
            "denoiser",
            {
                "adaln": 1,
                "qk_norm_rope": 2,
                "ring_attention": 2,
                "gated_residual_adaln": 4,
                "gated_mlp": 2,
                "sampler_step": 1,
            },
        ),
        ("encoder", {"rms_silu": 2}),
        ("decoder_first", {"rms_silu": 7}),
        ("decoder", {"rms_silu": 7, "causal_conv3d": 4}),
    ],
)
def test_every_hot_spot_is_one_node_of_the_exported_graph(
    tiny_model: WorldModel, variant: dict[str, nn.Module], component: str, wanted: dict[str, int]
) -> None:
    spec = tiny_model.program.component(component)
    with torch.no_grad():
        program = torch.export.export(variant[component], _examples(spec))
    found = [registered_kernel(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert Counter(kernel.name for kernel in found if kernel is not None) == wanted
    library = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not library & {
        "aten.layer_norm.default",
        "aten.rms_norm.default",
        "aten.scaled_dot_product_attention.default",
    }


def _examples(spec: ComponentSpec) -> tuple[Tensor, ...]:
    return tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in spec.inputs)


def test_a_model_says_that_it_has_a_variant(tiny_model: WorldModel) -> None:
    assert tiny_model.use_kernels is not None
    made = tiny_model.use_kernels(tiny_model.modules)
    assert made.keys() == tiny_model.modules.keys()
    assert type(made["denoiser"]) is CLASSES[type(tiny_model.modules["denoiser"])]
