"""The GWM family as a world model: its modules, one a component, and its frame program (from `program`)."""

from collections.abc import Mapping

import torch
from torch import nn

from porting.adapters.gwm.autoencoder import Decoder, DecoderFirst, DecoderSteady, Encoder
from porting.adapters.gwm.config import GwmConfig
from porting.adapters.gwm.denoiser import Denoiser
from porting.adapters.gwm.program import build_program
from porting.adapters.gwm.samples import random_samples
from porting.adapters.world_model import WorldModel

__all__ = ["build_modules", "build_program", "random_world_model", "use_kernels"]


def build_modules(config: GwmConfig) -> dict[str, nn.Module]:
    """The four components; the two decoders share one `Decoder`. On the default device, weights as initialised."""
    encoder, denoiser, decoder = Encoder(config.autoencoder), Denoiser(config), Decoder(config.autoencoder)
    modules = {
        "encoder": encoder,
        "denoiser": denoiser,
        "decoder_first": DecoderFirst(decoder),
        "decoder": DecoderSteady(decoder),
    }
    return {name: module.eval().requires_grad_(False) for name, module in modules.items()}


def use_kernels(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The same components computed by the operators of kernels, see `with_kernels`; triton is imported only here."""
    from porting.adapters.gwm import with_kernels

    return with_kernels.use_kernels(modules)


def random_world_model(config: GwmConfig, seed: int = 0, samples: int = 2, frames: int = 64) -> WorldModel:
    """A world model with random weights everywhere, zero-initialised layers included, so that every path matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = build_modules(config)
        for name in ("encoder", "denoiser", "decoder"):
            for parameter in modules[name].parameters():
                if not parameter.any():
                    nn.init.normal_(parameter, std=0.05)
    return WorldModel(
        name=f"random-gwm-{seed}",
        family="gwm",
        digest=f"{seed:064x}",
        config=config.model_dump(mode="json"),
        program=build_program(config),
        modules=modules,
        samples=random_samples(config, seed, samples, frames),
        sample_source="smooth random frames and bursts of random actions",
        use_kernels=use_kernels,
    )
