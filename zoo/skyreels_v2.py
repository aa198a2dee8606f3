"""SkyReels-V2 with diffusion forcing as its diffusers pipeline is laid out: components, scheduler and an index."""

from pathlib import Path

from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Transformer3DModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from zoo import Entry
from zoo.wan import PROMPT_WIDTH, make_autoencoder
from zoo.weights import randomise, write_pipeline

SETTINGS = {
    "height": 16, "width": 16, "frames": 11, "context_frames": 5, "steps": 3, "shift": 3.0, "guidance_scale": 2.0,
    "prompt_tokens": 6,
}  # fmt: skip


def make_transformer() -> SkyReelsV2Transformer3DModel:
    """A transformer whose answers have the size of its input; it is told the frame rate."""
    model = SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=4,
        out_channels=4,
        text_dim=PROMPT_WIDTH,
        freq_dim=32,
        ffn_dim=96,
        num_layers=2,
        rope_max_seq_len=64,
        inject_sample_info=True,
    )
    randomise(model, seed=21)
    return model


def make_scheduler(shift: float) -> UniPCMultistepScheduler:
    """The published sampler, pushed towards noise so far."""
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def build_pipeline(out: Path) -> None:
    """Transformer and autoencoder; the text encoder, which a session runs once, is not part of a port."""
    parts = {"transformer": make_transformer(), "vae": make_autoencoder(), "scheduler": make_scheduler(3.0)}
    write_pipeline(out, "SkyReelsV2DiffusionForcingPipeline", parts, SETTINGS)


ENTRIES = (Entry("skyreels-v2", "skyreels_v2", "diffusers pipeline, a folder a component", build_pipeline),)
