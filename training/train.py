"""Trains a bundled checkpoint from a seed: `python training/train.py --world robotics`.

Every file of `checkpoints/gwm-mini-<world>` comes from here. Which worlds there are, and what each is trained with,
is data: `recipes`.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from porting.adapters.gwm.autoencoder import Decoder, Encoder
from porting.adapters.gwm.denoiser import Denoiser
from training.autoencoder import train_autoencoder
from training.denoiser import encode_clips, train_denoiser
from training.quality import GwmParts
from training.recipes import HELD_OUT_SCENES, RECIPES, SAMPLE_SEED, Recipe
from training.scenes.clips import draw_frames

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
SAMPLE_SCENES = 4
SAMPLE_FRAMES = 512
SCENES_ON_THE_WAY = 32
"""Held-out scenes of the figures shown while it trains."""


def main() -> None:
    """Train, judge and write the checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", choices=sorted(RECIPES), required=True)
    parser.add_argument("--out", type=Path, help="the checkpoint's folder; checkpoints/gwm-mini-<world> by default")
    parser.add_argument("--autoencoder", type=Path, help="a checkpoint folder whose autoencoder is kept")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # at these sizes a second thread costs more than it brings
    recipe = RECIPES[asked.world]
    train(recipe, asked.out or CHECKPOINTS / f"gwm-mini-{recipe.name}", asked.autoencoder)


def train(recipe: Recipe, out: Path, reused: Path | None = None) -> None:
    """Write every file of a checkpoint into the folder `out`.

    Args:
        recipe: what to train, on what, for how long.
        out: made where it is missing; its files are replaced.
        reused: a checkpoint folder whose autoencoder is kept; None trains one.
    """
    out.mkdir(parents=True, exist_ok=True)
    config, make_clips = recipe.config, recipe.make_clips
    if reused is None:
        encoder, decoder = train_autoencoder(config.autoencoder, recipe.autoencoder, make_clips, log)
        save_checkpoint(out, recipe, GwmParts(encoder, Denoiser(config), decoder))
    else:
        encoder, decoder = load_autoencoder(reused, recipe)
    clips = encode_clips(encoder, recipe.denoiser, make_clips, log)

    def judge(denoiser: Denoiser) -> str:
        parts = GwmParts(encoder, denoiser, decoder)
        save_checkpoint(out, recipe, parts)
        quality = recipe.judge(parts.open, SCENES_ON_THE_WAY)
        return json.dumps({k: round(v, 3) for k, v in quality.summary().items()})

    denoiser = train_denoiser(config, clips, recipe.denoiser, log, judge)
    parts = GwmParts(encoder, denoiser, decoder)
    save_checkpoint(out, recipe, parts)
    round_weights(recipe, parts)
    record = {
        "autoencoder": asdict(recipe.autoencoder),
        "denoiser": asdict(recipe.denoiser),
        "torch": torch.__version__,
        "held_out": recipe.judge(parts.open, HELD_OUT_SCENES).summary(),
    }
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    log(json.dumps(record["held_out"], indent=2))


def load_autoencoder(folder: Path, recipe: Recipe) -> tuple[Encoder, Decoder]:
    """The encoder and decoder of an earlier checkpoint."""
    weights = load_file(folder / "model.safetensors")
    encoder, decoder = Encoder(recipe.config.autoencoder), Decoder(recipe.config.autoencoder)
    for name, half in (("encoder", encoder), ("decoder", decoder)):
        prefix = f"{name}."
        half.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    return encoder.eval(), decoder.eval()


@torch.no_grad()
def round_weights(recipe: Recipe, parts: GwmParts) -> None:
    """Give the parts the very weights that their checkpoint holds."""
    for module in (parts.encoder, parts.denoiser, parts.decoder):
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.copy_(tensor.to(recipe.stored_dtype))


def save_checkpoint(out: Path, recipe: Recipe, parts: GwmParts) -> None:
    """Write config.json, model.safetensors and sample.safetensors in the layout that the GWM adapter reads."""
    modules = {"encoder": parts.encoder, "denoiser": parts.denoiser, "decoder": parts.decoder}
    weights = {
        f"{name}.{key}": value.to(recipe.stored_dtype).contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    config = recipe.config
    save_file(weights, out / "model.safetensors", metadata={"family": config.family})
    unsaid = None if config.action_unit else {"action_unit"}
    (out / "config.json").write_text(config.model_dump_json(indent=2, exclude=unsaid) + "\n", encoding="utf-8")
    save_file(make_sample(recipe), out / "sample.safetensors")


def make_sample(recipe: Recipe) -> dict[str, torch.Tensor]:
    """Held-out sessions to record a trace from: context frames uint8 (S, T, 3, H, W), actions (S, T + frames, A)."""
    context = recipe.config.context_frames
    clips = recipe.make_clips(SAMPLE_SCENES, context + SAMPLE_FRAMES, seed=SAMPLE_SEED)
    frames = draw_frames(clips, range(context))
    return {
        "frames": torch.from_numpy((frames * 255).round().astype(np.uint8)),
        "actions": torch.from_numpy(np.ascontiguousarray(clips.actions)),
    }


def log(message: str) -> None:
    """Show progress at once, also through a pipe."""
    print(message, flush=True)


if __name__ == "__main__":
    main()
