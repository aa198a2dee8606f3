"""DIAMOND as eloialonso/diamond publishes it: an agent's state in one torch.save file, without a config."""

from pathlib import Path

import torch
from torch import Tensor, nn

from porting.adapters.diamond.config import DenoiserConfig, DiamondConfig, InnerModel, RewEndConfig
from porting.adapters.diamond.modules import Denoiser
from porting.adapters.diamond.unet import RewEndModel
from zoo import Entry
from zoo.weights import randomise, write_json

TINY = DiamondConfig(
    denoiser=DenoiserConfig(
        inner_model=InnerModel(cond_channels=16, depths=(1, 1), channels=(8, 16), attn_depths=(False, True))
    ),
    rew_end_model=RewEndConfig(
        lstm_dim=16, img_size=16, cond_channels=8, depths=(1, 1), channels=(8, 8), attn_depths=(False, False)
    ),
    num_actions=4,
)


def make_tensors() -> dict[str, Tensor]:
    """An agent's tensors: denoiser, reward and end model, and the policy that a port leaves out."""
    denoiser = Denoiser(TINY.denoiser, TINY.num_actions, quantise=True)
    judge = RewEndModel(TINY.rew_end_model, TINY.num_actions)
    policy = nn.ModuleDict({"actor_linear": nn.Linear(16, TINY.num_actions), "critic_linear": nn.Linear(16, 1)})
    for seed, module in enumerate((denoiser, judge, policy), start=11):
        randomise(module, seed)
    generator = torch.Generator().manual_seed(14)
    inner = denoiser.inner_model
    inner.noise_emb.weight.copy_(torch.randn(inner.noise_emb.weight.shape, generator=generator))
    with torch.no_grad():  # pictures around grey: what is clamped proves nothing
        inner.conv_out.weight.mul_(0.4)
        inner.act_emb.get_parameter("0.weight").mul_(3.0)
    agent = {"denoiser": denoiser, "rew_end_model": judge, "actor_critic": policy}
    return dict(nn.ModuleDict(agent).state_dict())


def build_agent(out: Path) -> None:
    """A game's file. Pictures are not cut to 8 bits on the way, so that a rollout's errors are those of rounding."""
    torch.save(make_tensors(), out / "Breakout.pt")
    write_json(out / "worldport.json", {"quantise": False})


ENTRIES = (Entry("diamond", "diamond", "eloialonso/diamond, torch.save of an agent's state, no config", build_agent),)
