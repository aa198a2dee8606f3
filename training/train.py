"""Trains the bundled checkpoint from a seed: `python -m training.train --out checkpoints/gwm-mini-worlds`.

What happens if you reach in and push? A ball among walls, 64x64; every file of the checkpoint comes from here.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from porting.adapters.gwm.autoencoder import Decoder, Encoder
from porting.adapters.gwm.config import MINI, GwmConfig
from porting.adapters.gwm.denoiser import Denoiser
from training.autoencoder import AutoencoderRecipe, train_autoencoder
from training.denoiser import DenoiserRecipe, encode_clips, train_denoiser
from training.quality import ModelUnderTest
from training.scenes import make_clips

SAMPLE_SEED = 4242
SAMPLE_SCENES = 4
SAMPLE_FRAMES = 512


def main() -> None:
    """Train, judge and write the checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--autoencoder", type=Path, help="a checkpoint folder whose autoencoder is kept")
    out, reused = vars(parser.parse_args()).values()
    torch.set_num_threads(1)  # at these sizes a second thread costs more than it brings
    out.mkdir(parents=True, exist_ok=True)
    autoencoder_recipe, denoiser_recipe = AutoencoderRecipe(), DenoiserRecipe()
    if reused is None:
        encoder, decoder = train_autoencoder(MINI.autoencoder, autoencoder_recipe, log)
        save_checkpoint(out, MINI, encoder, Denoiser(MINI), decoder)
    else:
        encoder, decoder = load_autoencoder(reused, MINI)
    clips = encode_clips(encoder, denoiser_recipe, log)

    def judge(denoiser: Denoiser) -> str:
        save_checkpoint(out, MINI, encoder, denoiser, decoder)
        quality = ModelUnderTest(encoder, denoiser, decoder, scenes=32).measure_rollout()
        return json.dumps({k: round(v, 3) for k, v in quality.summary().items()})

    denoiser = train_denoiser(MINI, clips, denoiser_recipe, log, judge)
    save_checkpoint(out, MINI, encoder, denoiser, decoder)
    quality = ModelUnderTest(encoder, denoiser, decoder, scenes=128).measure()
    record = {
        "autoencoder": asdict(autoencoder_recipe),
        "denoiser": asdict(denoiser_recipe),
        "torch": torch.__version__,
        "held_out": quality.summary(),
    }
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    log(json.dumps(record["held_out"], indent=2))


def load_autoencoder(folder: Path, config: GwmConfig) -> tuple[Encoder, Decoder]:
    """The encoder and decoder of an earlier checkpoint."""
    weights = load_file(folder / "model.safetensors")
    encoder, decoder = Encoder(config.autoencoder), Decoder(config.autoencoder)
    for name, half in (("encoder", encoder), ("decoder", decoder)):
        prefix = f"{name}."
        half.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    return encoder.eval(), decoder.eval()


def save_checkpoint(out: Path, config: GwmConfig, encoder: Encoder, denoiser: Denoiser, decoder: Decoder) -> None:
    """Write config.json, model.safetensors and sample.safetensors in the layout that the GWM adapter reads."""
    modules = {"encoder": encoder, "denoiser": denoiser, "decoder": decoder}
    weights = {
        f"{name}.{key}": value.contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    save_file(weights, out / "model.safetensors", metadata={"family": config.family})
    (out / "config.json").write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    save_file(make_sample(config), out / "sample.safetensors")


def make_sample(config: GwmConfig) -> dict[str, torch.Tensor]:
    """Held-out sessions to record a trace from: context frames uint8 (S, T, 3, H, W), actions (S, T + frames, A)."""
    clips = make_clips(SAMPLE_SCENES, config.context_frames + SAMPLE_FRAMES, seed=SAMPLE_SEED)
    frames = np.stack([clips.frame(t) for t in range(config.context_frames)], axis=1)
    return {
        "frames": torch.from_numpy((frames * 255).round().astype(np.uint8)),
        "actions": torch.from_numpy(clips.actions),
    }


def log(message: str) -> None:
    """Show progress at once, also through a pipe."""
    print(message, flush=True)


if __name__ == "__main__":
    main()
