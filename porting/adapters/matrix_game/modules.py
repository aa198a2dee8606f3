"""Matrix-Game 2's components: the opening picture's keys and values, and a step of a chunk that follows actions.

The blocks are those of causal Wan with an action module in some of them. Source: SkyworkAI/Matrix-Game,
Matrix-Game-2/wan/modules/causal_model.py and model.py.
"""

import re
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from torch import Tensor, nn

from porting.adapters.matrix_game.actions import ActionModule, action_rotation
from porting.adapters.matrix_game.config import ActionConfig
from porting.adapters.names import strip_wrappers
from porting.adapters.wan.transformer import Conditioning, finish, modulate, normalise
from porting.adapters.wan_causal.modules import feed, look_at, look_back, mix, pairs, rotation_of, see_past

OF_ACTIONS = re.compile(r"blocks\.(\d+)\.action_model\.(.+)")


class Network(nn.Module):
    """What the weights go into: diffusers' Wan without a text encoder's end, and the action modules by their blocks."""

    def __init__(self, transformer: Any, config: ActionConfig) -> None:
        super().__init__()
        del transformer.condition_embedder.text_embedder
        width = transformer.config.num_attention_heads * transformer.config.attention_head_dim
        self.transformer = transformer
        self.actions = nn.ModuleDict({str(block): ActionModule(config, width) for block in sorted(set(config.blocks))})


def convert_network(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Original names to those of `Network`, Wan's own through diffusers' converter."""
    actions: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for name, tensor in strip_wrappers(tensors).items():
        if found := OF_ACTIONS.fullmatch(name):
            actions[f"actions.{found[1]}.{found[2]}"] = tensor
        else:
            rest[name] = tensor
    converted: dict[str, Tensor] = convert_wan_transformer_to_diffusers(rest)
    return {**{f"transformer.{name}": tensor for name, tensor in converted.items()}, **actions}


class ImageEmbedder(nn.Module):
    """CLIP features to what the blocks attend to, from diffusers' `WanImageEmbedding` without its float32 casts."""

    def __init__(self, embedder: Any) -> None:
        super().__init__()
        self.norm1, self.ff, self.norm2 = embedder.norm1, embedder.ff, embedder.norm2

    def forward(self, features: Tensor) -> Tensor:
        """features (1, tokens, CLIP's width) -> (1, tokens, width)."""
        return normalise(self.norm2, self.ff(normalise(self.norm1, features)))


class Denoiser(nn.Module):
    """One step of a chunk, as `wan_causal.modules.Denoiser`, that is also told the opening picture and actions."""

    def __init__(self, network: Network, config: ActionConfig, latents_shape: tuple[int, ...], slots: int) -> None:
        """For chunks of latents (1, T, C, h, w), and rings of so many of them."""
        super().__init__()
        self.transformer, self.actions = network.transformer, network.actions
        self.conditioning = Conditioning(network.transformer)
        self.rotation = rotation_of(network.transformer, latents_shape)
        self.action_rotation = action_rotation(config, latents_shape[1], slots)
        self.layers, self.mouse = len(network.transformer.blocks), config.enable_mouse

    def forward(
        self,
        latents: Tensor,
        noise: Tensor,
        timestep: Tensor,
        next_timestep: Tensor,
        condition: Tensor,
        age: Tensor,
        action_age: Tensor,
        keyboard: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        """One step.

        Args:
            latents: (1, T, C, h, w) at `timestep`.
            noise: the same shape, standard normal: what is mixed in for the next step.
            timestep: (1,), in thousandths.
            next_timestep: (1,); 0 where the clean latents are asked for.
            condition: (1, T, mask and C, h, w), which latents are known, and the opening picture's.
            age: (slots,) int64: chunks since a slot was written, 0 for never.
            action_age: the same of the actions' ring.
            keyboard: (1, T, pictures, keys), what every latent frame is told.
            rest: the mouse's likewise, where there is one; of every block, the picture's key and value (1, heads,
                tokens, head width); of every block, cached keys and values (1, heads, slots, tokens, head width); of
                every action module, cached keys and values of the keyboard (1, heads, slots, T, head width), and of the
                mouse (places, heads, slots, T, head width).

        Returns:
            The latents at `next_timestep`; then this chunk's keys and values, of blocks, then of action modules.
        """
        network, told, caches = self.transformer, [keyboard], list(rest)
        if self.mouse:
            told.append(caches.pop(0))
        both = pairs(caches)
        seen, rings, kept = both[: self.layers], both[self.layers : 2 * self.layers], both[2 * self.layers :]
        patches = network.patch_embedding(torch.cat([latents, condition], dim=2).transpose(1, 2))
        x = patches.flatten(2).transpose(1, 2)
        embedded, modulation = self.conditioning(timestep)
        mask, action_mask = see_past(age, x.shape[1]), see_past(action_age, keyboard.shape[1])
        new: list[Tensor] = []
        new_actions: list[Tensor] = []
        for index, block in enumerate(network.blocks):
            changes = modulate(block, modulation)
            x, own = look_back(block, x, changes, self.rotation, rings[index], age, mask)
            new += own
            x = look_at(block, x, seen[index])
            if str(index) in self.actions:
                own_rings, kept = kept[: len(told)], kept[len(told) :]
                x, made = self._act(str(index), x, told, own_rings, action_age, action_mask)
                new_actions += made
            x = feed(block, x, changes)
        velocity = finish(network, x, embedded, tuple(patches.shape[2:]))
        return (mix(latents, velocity, noise, timestep, next_timestep), *new, *new_actions)

    def _act(
        self, block: str, x: Tensor, told: list[Tensor], rings: list[tuple[Tensor, Tensor]], age: Tensor, mask: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The mouse first, as published; keys and values in the order of the rings, the keyboard's first."""
        module: Any = self.actions[block]
        made: list[Tensor] = []
        if self.mouse:
            x, own = module.follow_mouse(x, told[1], self.action_rotation, rings[1], age, mask)
            made += own
        x, own = module.follow_keyboard(x, told[0], self.action_rotation, rings[0], age, mask)
        return x, [*own, *made]
