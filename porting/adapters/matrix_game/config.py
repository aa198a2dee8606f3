"""Matrix-Game 2's sizes: the action modules of its config.json, and how a chunk is sampled, from worldport.json.

Source: SkyworkAI/Matrix-Game, Matrix-Game-2/configs/distilled_model/universal/config.json,
configs/inference_yaml/inference_universal.yaml, wan/modules/action_module.py.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from porting.adapters.published import validate
from porting.adapters.wan_causal.config import Settings as CausalSettings
from porting.adapters.wan_causal.config import Size, Step
from porting.checkpoint import Checkpoint
from porting.errors import ConfigError

ACTIONS = "action_config"
"""The key of a config that tells Matrix-Game from other causal Wans."""


class ActionConfig(BaseModel):
    """The modules between attention and feed-forward, under the names of their constructor's arguments."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    blocks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """Those that have one."""
    enable_keyboard: bool = True
    enable_mouse: bool = True
    heads_num: Size = 16
    hidden_size: Size = 128
    """Of an embedded key press."""
    keyboard_dim_in: Size = 6
    keyboard_hidden_dim: Size = 1024
    mouse_dim_in: Size = 2
    mouse_hidden_dim: Size = 1024
    mouse_qk_dim_list: tuple[Size, Size, Size] = (8, 28, 28)
    """Widths of a head that turn with time, row and column; only the first does, rows and columns are all 0."""
    qk_norm: bool = True
    qkv_bias: bool = False
    rope_theta: Annotated[float, Field(gt=1)] = 256.0
    vae_time_compression_ratio: Annotated[int, Field(ge=2)] = 4
    windows_size: Size = 3
    """Latent frames whose actions a latent frame is told."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.enable_keyboard:
            raise ValueError("enable_keyboard is false: every published model has a keyboard")
        for name in ("keyboard_hidden_dim", "mouse_hidden_dim"):
            width = getattr(self, name)
            if width % self.heads_num or width // self.heads_num != sum(self.mouse_qk_dim_list):
                raise ValueError(
                    f"{name} {width} over {self.heads_num} heads is not {sum(self.mouse_qk_dim_list)}, the sum of"
                    f" mouse_qk_dim_list {list(self.mouse_qk_dim_list)}"
                )
        if self.mouse_qk_dim_list[0] % 2:
            raise ValueError(f"mouse_qk_dim_list {list(self.mouse_qk_dim_list)}: the first is odd")
        return self

    @property
    def widths(self) -> dict[str, int]:
        """What is asked for at every picture -> its width."""
        return {"keyboard": self.keyboard_dim_in, **({"mouse": self.mouse_dim_in} if self.enable_mouse else {})}

    @property
    def told(self) -> int:
        """Pictures whose actions a latent frame is told."""
        return self.vae_time_compression_ratio * self.windows_size

    @property
    def past(self) -> int:
        """Pictures before a chunk's own whose actions it is told."""
        return self.told - self.vae_time_compression_ratio + 1

    def head_width(self, kind: str) -> int:
        """Of the keyboard's or the mouse's attention."""
        width: int = getattr(self, f"{kind}_hidden_dim")
        return width // self.heads_num


class Settings(CausalSettings):
    """What worldport.json may say; the defaults are those of the published universal model.

    Window and sink are config.json's where it tells them.
    """

    height: Size = 352
    width: Size = 640
    window: Size = 6
    denoising_steps: Annotated[tuple[Step, ...], Field(min_length=1)] = (1000.0, 666.0, 333.0)
    prompt_tokens: Size = 257
    """Of the picture's CLIP features: a class token, and one a patch."""


def read_actions(checkpoint: Checkpoint) -> ActionConfig:
    """The action modules of a config.

    Raises:
        ConfigError: it tells of none, or a value is impossible.
    """
    told = checkpoint.config.get(ACTIONS)
    if not isinstance(told, dict):
        raise ConfigError(f"{checkpoint.config_path}: lacks {ACTIONS}; copy the config of the published repository")
    found = validate(ActionConfig, told, f"{checkpoint.config_path}: {ACTIONS}")
    layers = checkpoint.config.get("num_layers")
    if isinstance(layers, int) and max(found.blocks) >= layers:
        raise ConfigError(
            f"{checkpoint.config_path}: {ACTIONS}.blocks name block {max(found.blocks)} of {layers}; correct it"
        )
    return found
