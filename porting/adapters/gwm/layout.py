"""The layout of a GWM checkpoint: which tensors a config asks for, and whether a checkpoint's headers have them.

docs/checkpoints.md describes it for people. A table rather than the modules themselves, so that it needs no torch; a
test holds it against the modules.
"""

import itertools
from collections.abc import Iterator

from pydantic import ValidationError

from porting.adapters.gwm.config import AutoencoderConfig, GwmConfig
from porting.checkpoint import Checkpoint
from porting.errors import CheckpointError, ConfigError

PARTS = ("encoder", "denoiser", "decoder")
STATISTICS = ("latent_mean", "latent_std")
"""Stored beside the parameters: the latents' mean and standard deviation per channel."""
NOISE_INPUTS = 32
"""Sines and cosines that describe the noise level."""
DTYPES = ("float32", "float16", "bfloat16")
DOCUMENT = "docs/checkpoints.md"

Shape = tuple[int, ...]
Table = Iterator[tuple[str, Shape]]


def read_config(checkpoint: Checkpoint) -> GwmConfig:
    """The checkpoint's config, validated.

    Raises:
        ConfigError: config.json is missing, or has a missing, unknown or impossible value; names the file and the key.
    """
    path = checkpoint.config_path
    if not path.is_file():
        raise ConfigError(f"{path}: is missing; a GWM checkpoint needs it beside its weights, see {DOCUMENT}")
    try:
        return GwmConfig.model_validate(checkpoint.config)
    except ValidationError as cause:
        first, *others = cause.errors()
        key = ".".join(map(str, first["loc"])) or "the whole"
        more = f" (and {len(others)} more)" if others else ""
        raise ConfigError(
            f"{path}: {key}: {first['msg']}, not {_shorten(first['input'])}{more}; correct it, see {DOCUMENT}"
        ) from cause


def check_tensors(checkpoint: Checkpoint, config: GwmConfig) -> None:
    """Hold the headers against the config.

    Raises:
        CheckpointError: a tensor is missing, is not known, or has another shape or dtype; names the file and the key.
    """
    expected = expected_tensors(config)
    where = checkpoint.weight_files[0] if len(checkpoint.weight_files) == 1 else checkpoint.path
    if missing := [name for name in expected if name not in checkpoint.tensors]:
        raise CheckpointError(
            f"{where}: lacks {_list(missing)}, which {checkpoint.config_path} asks for; save every tensor of {DOCUMENT}"
        )
    if extra := sorted(checkpoint.tensors.keys() - expected.keys()):
        raise CheckpointError(
            f"{where}: has {_list(extra)}, which {checkpoint.config_path} does not ask for;"
            f" remove what is not in {DOCUMENT}"
        )
    for name, shape in expected.items():
        header = checkpoint.tensors[name]
        if header.shape != shape:
            raise CheckpointError(
                f"{checkpoint.file_of[name]}: {name}: has shape {header.shape},"
                f" {checkpoint.config_path} asks for {shape}; correct whichever is wrong"
            )
        if header.dtype not in DTYPES:
            raise CheckpointError(
                f"{checkpoint.file_of[name]}: {name}: is {header.dtype}; save it as one of {', '.join(DTYPES)}"
            )


def expected_tensors(config: GwmConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of a checkpoint with this config."""
    tables = {
        "encoder": _encoder(config.autoencoder),
        "denoiser": _denoiser(config),
        "decoder": _decoder(config.autoencoder),
    }
    return {f"{part}.{name}": shape for part in PARTS for name, shape in tables[part]}


def is_parameter(name: str) -> bool:
    """False for what is stored beside the parameters."""
    return name.rpartition(".")[2] not in STATISTICS


def _encoder(config: AutoencoderConfig) -> Table:
    yield from _convolution("conv_in", 3 * config.patch**2, config.widths[0])
    for level, (fine, coarse) in enumerate(itertools.pairwise(config.widths)):
        yield from _convolution(f"down.{level}", fine, coarse)
    yield from _residual_block("middle", config.widths[-1], config.temporal_kernel)
    yield from _convolution("conv_out", config.widths[-1], config.latent_channels, side=1)
    yield from ((name, (config.latent_channels, 1, 1)) for name in STATISTICS)


def _decoder(config: AutoencoderConfig) -> Table:
    widths = config.widths[::-1]
    yield from _convolution("conv_in.conv", config.latent_channels * config.temporal_kernel, widths[0])
    for level, width in enumerate(widths):
        yield from _residual_block(f"blocks.{level}", width, config.temporal_kernel)
    for level, (coarse, fine) in enumerate(itertools.pairwise(widths)):
        yield from _convolution(f"up.{level}", coarse, fine * 4, side=1)
    yield "norm_out.weight", (widths[-1], 1, 1)
    yield from _convolution("conv_out", widths[-1], 3 * config.patch**2)
    yield from ((name, (config.latent_channels, 1, 1)) for name in STATISTICS)


def _residual_block(name: str, channels: int, temporal_kernel: int) -> Table:
    yield f"{name}.norm_in.weight", (channels, 1, 1)
    yield from _convolution(f"{name}.causal.conv", channels * temporal_kernel, channels)
    yield f"{name}.norm_out.weight", (channels, 1, 1)
    yield from _convolution(f"{name}.spatial", channels, channels)


def _denoiser(config: GwmConfig) -> Table:
    denoiser, channels = config.denoiser, config.autoencoder.latent_channels
    width, stem, patch_width = denoiser.width, denoiser.stem_width, denoiser.stem_width * denoiser.patch**2
    yield "position", (config.tokens_per_frame, width)
    yield from _convolution("stem_in", 3 * channels, stem)
    yield from _convolution("stem_out", stem, stem)
    yield from _linear("tokens_in", patch_width, width)
    for name, inputs in (("noise_embedding", NOISE_INPUTS), ("action_embedding", config.action_width)):
        yield from _linear(f"{name}.0", inputs, width)
        yield from _linear(f"{name}.2", width, width)
    yield from _linear("modulation", width, 6 * width)
    yield from _linear("modulation_out", width, 2 * width)
    for layer in range(denoiser.depth):
        block = f"blocks.{layer}"
        yield f"{block}.modulation", (6, width)
        yield f"{block}.attention.qkv.weight", (3 * width, width)
        yield f"{block}.attention.norm_query.weight", (denoiser.head_width,)
        yield f"{block}.attention.norm_key.weight", (denoiser.head_width,)
        yield f"{block}.attention.out.weight", (width, width)
        yield f"{block}.mlp.gate_up.weight", (2 * denoiser.mlp_width, width)
        yield f"{block}.mlp.down.weight", (width, denoiser.mlp_width)
    yield from _linear("tokens_out", width, patch_width)
    yield from _convolution("head_in", stem, stem)
    yield from _convolution("head_out", stem, channels)


def _convolution(name: str, inputs: int, outputs: int, side: int = 3) -> Table:
    yield f"{name}.weight", (outputs, inputs, side, side)
    yield f"{name}.bias", (outputs,)


def _linear(name: str, inputs: int, outputs: int) -> Table:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more tensors"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
