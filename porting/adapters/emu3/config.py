"""What Emu3's config and worldport.json say, read without its package: sizes, the visual tokens, and a frame's layout.

Source: transformers, Emu3Config; Wang et al., Emu3, arXiv 2409.18869, section 2.2: rows of visual tokens end with a
token of their own, and so do frames.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.published import validate
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

Size = Annotated[int, Field(gt=0)]
FIRST_VISUAL, VISUAL = "<|visual token 000000|>", "<|visual"
END_OF_LINE, END_OF_FRAME = "<|extra_200|>", "<|extra_201|>"
"""Of the tokenizer that every published Emu3 has."""
PUBLISHED_IDS = {FIRST_VISUAL: 151854, END_OF_LINE: 151846, END_OF_FRAME: 151847}
"""What stands for them where a config brings no vocabulary."""


class TextConfig(BaseModel):
    """The text model's values that shape it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    vocab_size: Size = 184622
    hidden_size: Size = 4096
    intermediate_size: Size = 14336
    num_hidden_layers: Size = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size = 8
    max_position_embeddings: Size = 9216
    rms_norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    hidden_act: Literal["silu"] = "silu"
    attention_bias: bool = False
    rope_theta: Annotated[float, Field(gt=0)] | None = None
    rope_parameters: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(f"hidden_size {self.hidden_size} is no even multiple of {self.num_attention_heads} heads")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads"
                f" {self.num_key_value_heads}"
            )
        kind = (self.rope_parameters or {}).get("rope_type", "default")
        if kind != "default":
            raise ValueError(f"rope_type {kind!r} is not ported; Emu3 has the default one")
        return self

    @property
    def head_width(self) -> int:
        """Of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def theta(self) -> float:
        """Base of the rotations' frequencies."""
        return float((self.rope_parameters or {}).get("rope_theta", self.rope_theta or 1e6))


class VqConfig(BaseModel):
    """The vector-quantised autoencoder's values."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    codebook_size: Size = 32768
    embed_dim: Size = 4
    latent_channels: Size = 4
    double_latent: bool = False
    in_channels: Size = 3
    out_channels: Literal[3] = 3
    temporal_downsample_factor: Size = 4
    base_channels: Size = 256
    channel_multiplier: Annotated[tuple[Size, ...], Field(min_length=1)] = (1, 2, 2, 4)
    num_res_blocks: Size = 2
    attn_resolutions: tuple[int, ...] = (3,)
    hidden_size: Size = 1024
    num_attention_heads: Size = 1

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.embed_dim != self.latent_channels:
            # The decoder stacks codes and latents along the batch.
            raise ValueError(f"embed_dim {self.embed_dim} is not latent_channels {self.latent_channels}")
        if self.temporal_downsample_factor & (self.temporal_downsample_factor - 1):
            raise ValueError(f"temporal_downsample_factor {self.temporal_downsample_factor} is no power of 2")
        if self.hidden_size != self.base_channels * self.channel_multiplier[-1]:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not base_channels {self.base_channels} times the last"
                f" channel_multiplier {self.channel_multiplier[-1]}"
            )
        return self

    @property
    def space_scale(self) -> int:
        """Pixels that a visual token stands for, along height and along width."""
        return int(2 ** (len(self.channel_multiplier) - 1))

    @property
    def doublings(self) -> int:
        """Layers that make two moments of one."""
        return int(math.log2(self.temporal_downsample_factor))


class Emu3Config(BaseModel):
    """Both halves."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text_config: TextConfig = TextConfig()
    vq_config: VqConfig = VqConfig()


class Settings(BaseModel):
    """What worldport.json may say: what a generation's caller chooses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Size = 32
    """Of visual tokens in a frame."""
    columns: Size = 32
    window: Size = 7
    """Frames that are looked back at beside the prompt."""
    prompt_tokens: Size = 64
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token; above, tokens are sampled, by noise that is an input."""
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """As the checkpoint's image processor has it; pictures are scaled by them."""
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @model_validator(mode="after")
    def _prompt_fits(self) -> Self:
        if self.prompt_tokens > self.frame_tokens:
            raise ValueError(
                f"prompt_tokens {self.prompt_tokens} do not fit into one slot of the cache, which holds the"
                f" {self.frame_tokens} tokens of a frame"
            )
        return self

    @property
    def frame_tokens(self) -> int:
        """Tokens of a frame: every row ends with a token, and so does the frame."""
        return self.rows * (self.columns + 1) + 1

    @property
    def codes(self) -> int:
        """Visual tokens of a frame."""
        return self.rows * self.columns

    @property
    def slots(self) -> int:
        """Of the cache: the prompt's, which stays, and one a frame."""
        return 1 + self.window

    @property
    def positions(self) -> int:
        """More than any token's position."""
        return self.prompt_tokens + (self.window + 1) * self.frame_tokens


class Vocabulary(BaseModel):
    """Which tokens are what."""

    model_config = ConfigDict(frozen=True)

    first_visual: int
    """Visual tokens follow one another, as many as the codebook has codes."""
    end_of_line: int
    end_of_frame: int


def read_config(checkpoint: Checkpoint) -> Emu3Config:
    """The checkpoint's config.

    Raises:
        ConfigError: a value is impossible; names the file and the key.
    """
    return validate(Emu3Config, checkpoint.config, str(checkpoint.config_path))


def read_vocabulary(checkpoint: Checkpoint, config: Emu3Config) -> Vocabulary:
    """The ids of the visual tokens and of those that end rows and frames.

    Raises:
        ConfigError: one is not told, is outside the vocabulary, or the visual ones do not follow one another.
    """
    path, told = checkpoint.config_path, checkpoint.config.get("vocabulary_map") or PUBLISHED_IDS
    codes, size = config.vq_config.codebook_size, config.text_config.vocab_size
    if not isinstance(told, dict) or any(not isinstance(told.get(name), int) for name in PUBLISHED_IDS):
        raise ConfigError(f"{path}: vocabulary_map does not number each of {', '.join(PUBLISHED_IDS)}; add it")
    first = told[FIRST_VISUAL]
    visual = sorted(number for name, number in told.items() if name.startswith(VISUAL))
    if told is not PUBLISHED_IDS and visual != list(range(first, first + codes)):
        raise ConfigError(
            f"{path}: vocabulary_map: has {len(visual)} visual tokens, not {codes} that follow one another from"
            f" {first}; correct it, or vq_config.codebook_size"
        )
    if max(first + codes, told[END_OF_LINE] + 1, told[END_OF_FRAME] + 1) > size:
        raise ConfigError(f"{path}: text_config.vocab_size {size} leaves out tokens of pictures; correct it")
    return Vocabulary(first_visual=first, end_of_line=told[END_OF_LINE], end_of_frame=told[END_OF_FRAME])


def check_positions(checkpoint: Checkpoint, config: Emu3Config, settings: Settings) -> None:
    """Whether prompt, window and the frame being made have positions.

    Raises:
        ConfigError: they are more than the model was made for.
    """
    most = config.text_config.max_position_embeddings
    if settings.positions > most:
        raise ConfigError(
            f"{checkpoint.settings_path}: {settings.prompt_tokens} prompt_tokens and window {settings.window} of"
            f" {settings.frame_tokens} tokens a frame take {settings.positions} positions; the model has {most}:"
            " ask for a smaller window or fewer rows and columns"
        )
