"""Says what a stored bundled checkpoint reaches on held-out scenes: `python training/judge.py --world robotics`."""

import argparse
import json

import torch

from porting.adapters.gwm.autoencoder import DecoderSteady, Encoder
from porting.adapters.gwm.denoiser import Denoiser
from porting.adapters.registry import load_world_model
from training.measures.model import Quality
from training.quality import GwmParts
from training.recipes import HELD_OUT_SCENES, RECIPES


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", choices=sorted(RECIPES), required=True)
    parser.add_argument("--checkpoint", help="a folder; bundled:gwm-mini-<world> by default")
    parser.add_argument("--scenes", type=int, default=HELD_OUT_SCENES)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    quality = judge(asked.world, asked.scenes, asked.checkpoint)
    print(json.dumps(quality.summary(), indent=2))


def judge(world: str, scenes: int, checkpoint: str | None = None) -> Quality:
    """What a checkpoint, the bundled one by default, reaches on so many held-out scenes of its world.

    Raises:
        CheckpointError: the checkpoint is not what the adapter takes.
        TypeError: it is no GWM model.
    """
    modules = load_world_model(checkpoint or f"bundled:gwm-mini-{world}").modules
    encoder, denoiser, decoder = (modules.get(name) for name in ("encoder", "denoiser", "decoder"))
    if not (isinstance(encoder, Encoder) and isinstance(denoiser, Denoiser) and isinstance(decoder, DecoderSteady)):
        raise TypeError(f"{checkpoint}: has components {sorted(modules)}; only a GWM model can be judged here")
    return RECIPES[world].judge(GwmParts(encoder, denoiser, decoder.decoder).open, scenes)


if __name__ == "__main__":
    main()
