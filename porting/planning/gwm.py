"""The GWM family's work by formula, from its config: no graph, no weights, no torch.

Tests hold it against what is counted from exported graphs.
"""

import itertools
import math
from collections import Counter

from porting.adapters.gwm.config import GwmConfig
from porting.adapters.gwm.layout import NOISE_INPUTS, expected_tensors, is_parameter
from porting.adapters.gwm.program import build_program
from porting.adapters.gwm.summary import WEIGHTS_OF
from porting.planning.work import PlannedComponent, PlannedModel, Transformer
from porting.program import ComponentSpec, Program

WINDOW_CELLS = 9
"""Cells that a 3x3 convolution sees."""


def describe_gwm(config: GwmConfig, name: str, source: str) -> PlannedModel:
    """What a model of this config computes, reads and keeps."""
    program = build_program(config)
    calls = Counter(call.component for call in program.frame)
    parameters = _parameters(config)
    flops = {"denoiser": _denoiser_flops(config), "decoder": (_decoder_flops(config), 0)}
    components = tuple(
        PlannedComponent(
            name=part,
            calls_per_frame=amount,
            parameters=parameters[WEIGHTS_OF.get(part, part)],
            matrix_flops=flops[part][0],
            attention_flops=flops[part][1],
            input_elements=count_elements(program.component(part), "inputs"),
            output_elements=count_elements(program.component(part), "outputs"),
        )
        for part, amount in calls.items()
    )
    denoiser = config.denoiser
    return PlannedModel(
        name=name,
        family=config.family,
        source=source,
        frame_width=config.frame_width,
        frame_height=config.frame_height,
        parameters=sum(parameters.values()),
        components=components,
        state_elements=sum(state.tensor.elements for state in program.states),
        spare_elements=sum(state.tensor.elements for state in program.states if state.update == "replace"),
        copied_elements=count_copied(program),
        transformer=Transformer(
            component="denoiser",
            layers=denoiser.depth,
            width=denoiser.width,
            heads=denoiser.heads,
            mlp_width=denoiser.mlp_width,
            tokens=config.tokens_per_frame,
        ),
    )


def _parameters(config: GwmConfig) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, shape in expected_tensors(config).items():
        if is_parameter(name):
            found[name.partition(".")[0]] += math.prod(shape)
    return found


def count_elements(spec: ComponentSpec, side: str) -> int:
    """Values of a component's "inputs" or "outputs"."""
    return sum(tensor.elements for tensor in getattr(spec, side))


def count_copied(program: Program) -> int:
    """Values read and written between a frame's calls: twice what is written, as a copy reads it too."""
    kept = [sink.name for call in program.frame for sink in call.outputs.values() if sink.kind == "state"]
    slices = [math.prod(program.state(name).slice_shape) for name in kept if program.state(name).update == "ring"]
    taken = [given.tensor.elements for given in program.inputs if given.scope == "frame"]
    return 2 * (sum(slices) + sum(taken))


def _denoiser_flops(config: GwmConfig) -> tuple[int, int]:
    """Of one step: all products, and of them those of attention."""
    denoiser, (channels, height, width) = config.denoiser, config.latent_shape
    inner, tokens, stem = denoiser.width, config.tokens_per_frame, denoiser.stem_width
    cells = WINDOW_CELLS * height * width
    convolutions = cells * (3 * channels * stem + 2 * stem * stem + stem * channels)
    patches = 2 * tokens * stem * denoiser.patch**2 * inner
    conditioning = (NOISE_INPUTS + config.action_width) * inner + 2 * inner**2 + (6 + 2) * inner**2
    layer = tokens * (4 * inner**2 + 3 * inner * denoiser.mlp_width)
    # A frame's tokens look at the window and at one another; scores, and their product with the values.
    attention = 2 * tokens * (denoiser.window + 1) * tokens * inner
    products = convolutions + patches + conditioning + denoiser.depth * (layer + attention)
    return 2 * products, 2 * denoiser.depth * attention


def _decoder_flops(config: GwmConfig) -> int:
    autoencoder, (channels, height, width) = config.autoencoder, config.latent_shape
    widths, taps = autoencoder.widths[::-1], autoencoder.temporal_kernel
    cells = height * width  # each level has four times those of the one before
    products = WINDOW_CELLS * cells * taps * channels * widths[0]
    for level, wide in enumerate(widths):
        products += WINDOW_CELLS * (cells << 2 * level) * (taps + 1) * wide**2
    for level, (coarse, fine) in enumerate(itertools.pairwise(widths)):
        products += (cells << 2 * level) * coarse * 4 * fine
    finest = cells << 2 * (len(widths) - 1)
    products += WINDOW_CELLS * finest * widths[-1] * 3 * autoencoder.patch**2
    return 2 * products
