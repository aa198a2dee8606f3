"""What was trained is what is ported: the differentiable rollout and the frame program make the same frames."""

import numpy as np
import torch

from porting.adapters.gwm.autoencoder import DecoderSteady
from porting.adapters.gwm.config import MINI
from porting.adapters.gwm.denoiser import Denoiser
from porting.adapters.gwm.world_model import random_world_model
from porting.rollout import Rollout
from porting.runners.eager import TorchRunner
from training.rollout import roll_out

FRAMES = 12  # past the window of 8: the ring has wrapped


def test_training_rollout_equals_the_frame_program() -> None:
    world = random_world_model(MINI, seed=5, samples=1, frames=FRAMES)
    sample, context_frames = world.samples[0], MINI.context_frames
    generator = torch.Generator().manual_seed(7)
    noise = [torch.randn(1, *MINI.latent_shape, generator=generator).numpy() for _ in range(FRAMES)]
    runners = {c.name: TorchRunner(world.modules[c.name], c, compute="fp32") for c in world.program.components}
    session = Rollout(world.program, runners)
    primed = session.open(sample.session_inputs)
    actions = sample.frame_inputs["action"]
    ported = [session.step({"action": actions[t], "noise": noise[t]}).copy() for t in range(FRAMES)]

    denoiser, decoder = world.modules["denoiser"], world.modules["decoder"]
    assert isinstance(denoiser, Denoiser)
    assert isinstance(decoder, DecoderSteady)
    with torch.no_grad():
        context = world.modules["encoder"](torch.from_numpy(sample.session_inputs["context"]))
        all_actions = np.concatenate([sample.session_inputs["context_actions"], actions.swapaxes(0, 1)], axis=1)
        latents = roll_out(denoiser, context, torch.from_numpy(all_actions), seed=7)
        trained = decoder.decoder(torch.cat([context, latents], dim=1)).clamp(0, 1).numpy()[0]
    whole = np.concatenate([*primed, *ported])
    np.testing.assert_allclose(whole[:context_frames], trained[:context_frames], atol=1e-5)
    np.testing.assert_allclose(whole[context_frames:], trained[context_frames:], atol=2e-4)
    assert np.abs(np.diff(whole, axis=0)).max() > 0.05
