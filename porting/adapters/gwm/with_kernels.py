"""The GWM components with their hot spots as the operators of kernels, over the very weights of the plain components.

Same forward, same parameters, same function: what differs is how it is computed. It does not know what runs an
operator: on a CPU that is the kernel's reference, on a device the kernel.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from porting.adapters.gwm.autoencoder import EPS as CELL_EPS
from porting.adapters.gwm.autoencoder import CausalConv, DecoderSteady, Remember, RmsSilu
from porting.adapters.gwm.denoiser import EPS, Denoiser, GatedMlp, RingAttention, RotaryAngles
from porting.kernel_library.operators import register_operators

kernels: Any = torch.ops.worldport
"""The operators; there once `use_kernels` has registered them."""


class KernelMlp(GatedMlp):
    """The gate and its product in one pass."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, tokens, width) -> the same shape."""
        hidden = kernels.gated_mlp(self.gate_up(x).flatten(0, 1))
        return self.down(hidden.unflatten(0, x.shape[:2]))


class KernelAttention(RingAttention):
    """Norms and angles of a frame in one pass, then attention over the ring as it lies in memory.

    There is no concatenation, no mask, and no turned copy of the past keys.
    """

    def attend(
        self, x: Tensor, angles: RotaryAngles, age: Tensor, past_keys: Tensor, past_values: Tensor, sink: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` computes, from one layer's ring and raw ages."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = kernels.qk_norm_rope(
            qkv,
            self.norm_query.weight,
            self.norm_key.weight,
            angles.place_cos,
            angles.place_sin,
            EPS,
            angles.temporal_width,
        )
        attended = kernels.ring_attention(
            query, key, value, past_keys, past_values, age, angles.age_cos, angles.age_sin, sink
        )
        return self.out(attended.transpose(1, 2).reshape(batch, tokens, width)), key, value


class KernelDenoiser(Denoiser):
    """The residual stream is read and written once a branch: each gated residual is one pass with the norm after it."""

    def forward(
        self,
        latent: Tensor,
        history: Tensor,
        noise_level: Tensor,
        next_noise_level: Tensor,
        action: Tensor,
        age: Tensor,
        *rings: Tensor,
    ) -> tuple[Tensor, ...]:
        """As `Denoiser.forward`."""
        stream, conditioning, stem = self.embed(latent, history, noise_level, action)
        shared = self.modulation(conditioning).unflatten(-1, (6, -1))
        blocks: list[Any] = list(self.blocks)
        parts = [(shared + block.modulation).unbind(1) for block in blocks]
        last = self.modulation_out(conditioning).chunk(2, dim=-1)
        normed = kernels.adaln(stream, *parts[0][:2], EPS)
        keys_values: list[Tensor] = []
        for layer, block in enumerate(blocks):
            _, _, gate_1, scale_2, shift_2, gate_2 = parts[layer]
            attended, key, value = block.attention.attend(
                normed, self.angles, age, rings[2 * layer], rings[2 * layer + 1], self.config.denoiser.sink
            )
            keys_values += [key, value]
            stream, normed = kernels.gated_residual_adaln(stream, attended, gate_1, scale_2, shift_2, EPS)
            following = parts[layer + 1][:2] if layer + 1 < len(blocks) else last
            stream, normed = kernels.gated_residual_adaln(stream, block.mlp(normed), gate_2, *following, EPS)
        clean = history[:, 0] + self.draw(normed, stem)
        stepped = kernels.sampler_step(latent, clean, None, noise_level, next_noise_level, 1.0, "clean")
        return (stepped, torch.stack([latent, history[:, 0]], dim=1), *keys_values)


class KernelRmsSilu(RmsSilu):
    """Norm and activation of a decoder's features in one pass."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> the same shape."""
        normed: Tensor = kernels.rms_silu(x, self.weight.flatten(), CELL_EPS)
        return normed


class CachedPast:
    """The features before the current frame, layer by layer, and those that the next frame will find."""

    def __init__(self, caches: tuple[Tensor, ...]) -> None:
        self._left = iter(caches)
        self.following: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        """What `Remember` does, for a layer that does not take the cache itself."""
        stacked = torch.cat([next(self._left), x], dim=1)
        self.following.append(stacked[:, x.shape[1] :])
        return stacked

    def convolve(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        """A layer's convolution over its cache and x (N, C, H, W), neither of them copied."""
        made, following = kernels.causal_conv3d(x, next(self._left), conv.weight, conv.bias)
        self.following.append(following)
        return made


class KernelCausalConv(CausalConv):
    """Reads the cache and the frame where they lie, and writes the next cache in the same pass."""

    def forward(self, x: Tensor, remember: Remember) -> Tensor:
        """x (N, C, H, W) -> (N, O, H, W)."""
        return remember.convolve(x, self.conv) if isinstance(remember, CachedPast) else super().forward(x, remember)


class KernelDecoderSteady(DecoderSteady):
    """Every later frame of a session."""

    def forward(self, latent: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """As `DecoderSteady.forward`."""
        past = CachedPast(caches)
        frame = self.decoder.frames(latent, past)
        return (frame.clamp(0, 1), *past.following)


CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    Denoiser: KernelDenoiser,
    RingAttention: KernelAttention,
    GatedMlp: KernelMlp,
    RmsSilu: KernelRmsSilu,
    CausalConv: KernelCausalConv,
    DecoderSteady: KernelDecoderSteady,
}
"""What takes the place of what."""


def use_kernels(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The same components computed by operators; parameters and buffers are the given modules' own, not copies.

    Raises:
        KernelError: a kernel file is missing a part, or an operator of another kernel has its name.
    """
    register_operators()
    twins: dict[nn.Module, nn.Module] = {}
    return {name: _make_twin(module, twins) for name, module in modules.items()}


def _make_twin(module: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    """A module of the class that takes this one's place, with all that this one has; one twin a module."""
    if module not in twins:
        twin = object.__new__(CLASSES.get(type(module), type(module)))
        vars(twin).update(vars(module))
        children = {name: child and _make_twin(child, twins) for name, child in module._modules.items()}
        vars(twin).update(_parameters=dict(module._parameters), _buffers=dict(module._buffers), _modules=children)
        twins[module] = twin
    return twins[module]
