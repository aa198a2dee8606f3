"""Matrix-Game 2's actions: the window of them that each latent frame is told, and the modules that attend to them.

The published architecture, parameters under the published names. Source: SkyworkAI/Matrix-Game,
Matrix-Game-2/wan/modules/action_module.py and posemb_layers.py.
"""

import torch
from torch import Tensor, nn

from porting.adapters.matrix_game.config import ActionConfig
from porting.adapters.wan_causal.modules import Pair, Rotation, attend_back

EPS = 1e-6


class HeadNorm(nn.Module):
    """A root mean square norm over a head. The published one stores a weight and does not use it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> the same shape."""
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPS)


class Opener(nn.Module):
    """A session's first actions, whose first latent frame is one picture, in the shape of a later chunk's."""

    def __init__(self, config: ActionConfig) -> None:
        super().__init__()
        self.past, self.missing = config.past, config.vae_time_compression_ratio - 1

    def forward(self, *actions: Tensor) -> tuple[Tensor, ...]:
        """Each kind's (1, pictures, width) -> its past and its chunk: what is before the first is the first."""
        made: list[Tensor] = []
        for action in actions:
            first = action[:, :1]
            made += [
                first.expand(-1, self.past, -1).clone(),
                torch.cat([first.expand(-1, self.missing, -1), action], 1),
            ]
        return tuple(made)


class Windows(nn.Module):
    """What each latent frame of a chunk is told: the actions of the latent frames before it."""

    def __init__(self, config: ActionConfig, frames: int) -> None:
        """For chunks of so many latent frames."""
        super().__init__()
        self.frames, self.ratio, self.told, self.past = (
            frames, config.vae_time_compression_ratio, config.told, config.past
        )  # fmt: skip

    def forward(self, *actions: Tensor) -> tuple[Tensor, ...]:
        """Of each kind, past (1, past, width) and the chunk's (1, pictures, width).

        Returns:
            Of each kind, what every latent frame is told (1, T, pictures, width), and the next chunk's past.
        """
        made: list[Tensor] = []
        for past, action in zip(actions[::2], actions[1::2], strict=True):
            whole = torch.cat([past, action], dim=1)
            starts = [self.ratio * frame for frame in range(self.frames)]
            made += [
                torch.stack([whole[:, start : start + self.told] for start in starts], dim=1),
                whole[:, whole.shape[1] - self.past :].clone(),
            ]
        return tuple(made)


class ActionModule(nn.Module):
    """Of one block: every place attends to the mouse's movements over time, then to the keys pressed over time."""

    def __init__(self, config: ActionConfig, width: int) -> None:
        """For tokens of that width."""
        super().__init__()
        self.heads, bias = config.heads_num, config.qkv_bias

        def norm(kind: str) -> nn.Module:
            return HeadNorm(config.head_width(kind)) if config.qk_norm else nn.Identity()

        if config.enable_mouse:
            inner = config.mouse_hidden_dim
            self.mouse_mlp = nn.Sequential(
                nn.Linear(config.mouse_dim_in * config.told + width, inner),
                nn.GELU(approximate="tanh"),
                nn.Linear(inner, inner),
                nn.LayerNorm(inner),
            )
            self.t_qkv = nn.Linear(inner, 3 * inner, bias=bias)
            self.img_attn_q_norm, self.img_attn_k_norm = norm("mouse"), norm("mouse")
            self.proj_mouse = nn.Linear(inner, width, bias=bias)
        inner = config.keyboard_hidden_dim
        self.keyboard_embed = nn.Sequential(
            nn.Linear(config.keyboard_dim_in, config.hidden_size),
            nn.SiLU(),
            nn.Linear(config.hidden_size, config.hidden_size),
        )
        self.key_attn_q_norm, self.key_attn_k_norm = norm("keyboard"), norm("keyboard")
        self.mouse_attn_q = nn.Linear(width, inner, bias=bias)
        self.keyboard_attn_kv = nn.Linear(config.hidden_size * config.told, 2 * inner, bias=bias)
        self.proj_keyboard = nn.Linear(inner, width, bias=bias)

    def follow_mouse(
        self, x: Tensor, told: Tensor, rotation: Rotation, ring: Pair, age: Tensor, mask: Tensor
    ) -> tuple[Tensor, Pair]:
        """x (1, T * places, width), told (1, T, pictures, 2) -> x, and the chunk's keys and values.

        Keys and values, of ring and chunk, have a row a place.
        """
        rows = x.unflatten(1, (told.shape[1], -1))[0].transpose(0, 1)
        seen = torch.cat([rows, told.flatten(2).expand(rows.shape[0], -1, -1)], dim=-1)
        qkv = self.t_qkv(self.mouse_mlp(seen)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        own = rotation.turn(self.img_attn_k_norm(key)), value
        made = attend_back(rotation.turn(self.img_attn_q_norm(query)), own, rotation, ring, age, mask)
        return x + self.proj_mouse(_join(made)), own

    def follow_keyboard(
        self, x: Tensor, told: Tensor, rotation: Rotation, ring: Pair, age: Tensor, mask: Tensor
    ) -> tuple[Tensor, Pair]:
        """x (1, T * places, width), told (1, T, pictures, keys) -> x, and the chunk's keys and values.

        Keys and values have one row, which every place looks at.
        """
        query = self.mouse_attn_q(x).unflatten(1, (told.shape[1], -1)).unflatten(-1, (self.heads, -1))[0]
        query = self.key_attn_q_norm(query.permute(1, 2, 0, 3))
        pair = self.keyboard_attn_kv(self.keyboard_embed(told).flatten(2)).unflatten(-1, (2, self.heads, -1))
        key, value = pair.permute(2, 0, 3, 1, 4).unbind(0)
        own = rotation.turn(self.key_attn_k_norm(key)), value
        made = attend_back(rotation.turn(query), own, rotation, ring, age, mask)
        return x + self.proj_keyboard(_join(made)), own


def action_rotation(config: ActionConfig, frames: int, slots: int) -> Rotation:
    """The turns of a chunk of so many latent frames, and of chunks up to that age."""
    turned = config.mouse_qk_dim_list[0]
    frequencies = config.rope_theta ** (-torch.arange(0, turned, 2, dtype=torch.float64) / turned)
    places, ages = (torch.arange(count)[:, None] * frequencies for count in (frames, slots + 1))
    ages = ages * frames
    return Rotation((places.cos().float(), places.sin().float()), (ages.cos().float(), ages.sin().float()))


def _join(made: Tensor) -> Tensor:
    """(places, heads, T, head width) -> (1, T * places, width)."""
    return made.permute(2, 0, 1, 3).flatten(2).flatten(0, 1)[None]
