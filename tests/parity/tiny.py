"""A tiny random world model, its trace and ports of it, made once for every test of trace and parity."""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from porting.adapters.gwm.config import AutoencoderConfig, DenoiserConfig, GwmConfig, SamplerConfig
from porting.adapters.gwm.world_model import random_world_model
from porting.adapters.world_model import WorldModel
from porting.profile import ParityBudget
from porting.runners.base import BoundCall, Buffer, Runner
from porting.runners.eager import TorchRunner
from porting.trace.data import Trace
from porting.trace.recorder import record_trace

TINY = GwmConfig(
    frame_height=16,
    frame_width=16,
    action_width=2,
    context_frames=2,
    autoencoder=AutoencoderConfig(patch=2, widths=(8, 12), latent_channels=4, temporal_kernel=2),
    denoiser=DenoiserConfig(
        width=32,
        depth=2,
        heads=2,
        mlp_width=48,
        stem_width=12,
        patch=2,
        window=4,
        sink=1,
        temporal_rope_base=30.0,
        spatial_rope_base=10.0,
    ),
    sampler=SamplerConfig(noise_levels=(1.0, 0.5), commit_noise_level=0.03),
)
FRAMES = 8
BUDGET = ParityBudget(
    error_budget_ratio=2.0,
    envelope_margin_db=3.0,
    envelope_margin_ssim=0.005,
    psnr_cap_db=100.0,
    component_samples=6,
    teacher_forced_frames=6,
    free_running_frames=FRAMES,
)


@cache
def world_model() -> WorldModel:
    return random_world_model(TINY, seed=0, frames=FRAMES)


@cache
def trace() -> Trace:
    return record_trace(world_model(), 2, FRAMES, "fp32", seed=0, component_samples=6, envelope_members=2)


def honest_runners() -> dict[str, Runner]:
    """The same modules at the same precision: an honest port."""
    model = world_model()
    return {c.name: TorchRunner(model.modules[c.name], c, compute="fp32") for c in model.program.components}


Change = Callable[[Mapping[str, Buffer]], None]


def unchanged(_: Mapping[str, Buffer]) -> None:
    """Change nothing."""


class MeddlingRunner:
    """Runs another runner on copies of the inputs; `before` may change those, `after` the outputs, in place."""

    backend = "meddling"

    def __init__(self, inner: Runner, before: Change = unchanged, after: Change = unchanged) -> None:
        self.inner, self.before, self.after = inner, before, after

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> BoundCall:
        copies = {name: a.copy() for name, a in inputs.items()}
        run = self.inner.bind(copies, outputs)

        def call() -> None:
            for name, a in inputs.items():
                np.copyto(copies[name], a)
            self.before(copies)
            run()
            self.after({**{f"in:{name}": a for name, a in inputs.items()}, **outputs})

        return call

    def close(self) -> None:
        self.inner.close()
