"""SANA-WM's attention: delta rules over frames in both directions, or softmax, each for pictures and for rays.

Source: diffusers, transformer_sana_wm.py, whose scans are the same in chunks. The states of both directions are added
before they are read, since reading is linear. Batch is 1; heads come before tokens; frames hold S tokens each.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from porting.adapters.sana_wm.config import Clip
from porting.adapters.sana_wm.rays import Rays, Table, rotate, turn_by_rays

SMALL = 1e-6
FAST_WIDTHS = (32, 64, 128, 256)
"""Head widths that the published softmax over rays takes as they are; others it fills up to the next of two."""


def attend(attn: Any, x: Tensor, clip: Clip, rays: Rays, whole: Table, half: Table) -> Tensor:
    """x (1, tokens, width) through one attention module of the published class, whichever kind it is."""
    query, key, value = attn.qkv(x).chunk(3, dim=-1)
    seen = (attn.q_proj_cam(x), attn.k_proj_cam(x), attn.v_proj_cam(x))
    if hasattr(attn, "beta_proj"):
        write, keep = _gates(attn, x, clip.frames)
        made = _delta_over_places(attn, (query, key, value), write, keep, whole, clip.frames)
        made = made + attn.out_proj_cam(_delta_over_rays(attn, seen, write, keep, rays, half, clip.frames))
    else:
        made = _softmax_over_places(attn, (query, key, value), whole)
        made = made + attn.out_proj_cam(_softmax_over_rays(attn, seen, rays, half))
    if attn.output_gate is not None:
        made = made * F.silu(attn.output_gate(x))
    joined: Tensor = attn.proj(made)
    return joined


def cross_attend(attn: Any, x: Tensor, words: Tensor, hidden: Tensor) -> Tensor:
    """x (B, tokens, width) over words (B, L, width); `hidden` (B, 1, 1, L) is added to scores."""
    key, value = attn.kv_linear(words).chunk(2, dim=-1)
    parts = (attn.q_norm(attn.q_linear(x)), attn.k_norm(key), value)
    query, key, value = (_split(part, attn.heads) for part in parts)
    made: Tensor = attn.proj(_merge(F.scaled_dot_product_attention(query, key, value, attn_mask=hidden)))
    return made


def convolve_frames(conv: Any, x: Tensor, frames: int) -> Tensor:
    """x (1, tokens, width): the causal kernel run both ways along time, its last weight counted once."""
    if conv is None:
        return x
    moments = x.unflatten(1, (frames, -1))[0].permute(1, 2, 0)
    kernel = torch.cat([conv.weight, conv.weight[..., :-1].flip(-1)], dim=-1)
    made = F.conv1d(moments, kernel, padding=conv.kernel_size - 1, groups=moments.shape[1])
    return made.permute(2, 0, 1).flatten(0, 1)[None]


def _gates(attn: Any, x: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """What each token writes (1, heads, T, S, 1), and what each frame keeps of the state (1, heads, T, 1, 1)."""
    write = attn.beta_proj(x).sigmoid().unflatten(1, (frames, -1)).permute(0, 3, 1, 2)[..., None]
    gate = attn.gate_proj(x.unflatten(1, (frames, -1)).mean(2))
    keep = (-attn.A_log.exp() * F.softplus(gate + attn.dt_bias)).exp().transpose(1, 2)[..., None, None]
    return write, keep


def _delta_over_places(
    attn: Any, parts: tuple[Tensor, Tensor, Tensor], write: Tensor, keep: Tensor, table: Table, frames: int
) -> Tensor:
    """Linear attention normalised by its own weights; rotations touch what is read, not the weights."""
    query, key, value = _kernels(attn, parts, ("conv_q", "conv_k", "conv_v"), ("q_norm", "k_norm"), frames)
    key = key * _key_scale(key, frames)
    turned_query, turned_key = rotate(query, table), rotate(key, table)
    query, key, value, turned_query, turned_key = (
        part.unflatten(2, (frames, -1)) for part in (query, key, value, turned_query, turned_key)
    )
    read = turned_query @ _scan(turned_key, value, write, keep).transpose(-1, -2)
    weights = query @ _scan(key, torch.ones_like(value[..., :1]), write, keep).transpose(-1, -2)
    return _merge((read / (weights + attn.attn.eps)).flatten(2, 3))


def _delta_over_rays(
    attn: Any, parts: tuple[Tensor, Tensor, Tensor], write: Tensor, keep: Tensor, rays: Rays, table: Table, frames: int
) -> Tensor:
    """The same in every ray's frame of reference, not normalised; what rays lengthen writes less."""
    convs, norms = ("conv_q_cam", "conv_k_cam", "conv_v_cam"), ("q_norm_cam", "k_norm_cam")
    query, key, value = _kernels(attn, parts, convs, norms, frames)
    key = key * _key_scale(key, frames)
    turned_query, turned_key, turned_value = _to_rays(query, key, value, rays, table)
    longer = (_length(turned_key) / _length(key)) ** 2
    grown = longer.unflatten(2, (frames, -1)).mean(3, keepdim=True)
    query, key, value = (part.unflatten(2, (frames, -1)) for part in (turned_query, turned_key, turned_value))
    states = _scan(key, value, write / grown.clamp_min(1), keep)
    made = (query @ states.transpose(-1, -2)).flatten(2, 3)
    return _merge(turn_by_rays(made, rays.to_ray, table, back=True))


def _softmax_over_places(attn: Any, parts: tuple[Tensor, Tensor, Tensor], table: Table) -> Tensor:
    query, key, value = _heads(attn, parts, ("q_norm", "k_norm"))
    return _merge(F.scaled_dot_product_attention(rotate(query, table), rotate(key, table), value))


def _softmax_over_rays(attn: Any, parts: tuple[Tensor, Tensor, Tensor], rays: Rays, table: Table) -> Tensor:
    query, key, value = _to_rays(*_heads(attn, parts, ("q_norm_cam", "k_norm_cam")), rays, table)
    width = query.shape[-1]
    if width not in FAST_WIDTHS and width < FAST_WIDTHS[-1]:
        width = 128 if width <= 128 else 256  # the published scores are scaled by the width that they are filled to
    made = F.scaled_dot_product_attention(query, key, value, scale=width**-0.5)
    return _merge(turn_by_rays(made, rays.to_ray, table, back=True))


def _to_rays(query: Tensor, key: Tensor, value: Tensor, rays: Rays, table: Table) -> tuple[Tensor, Tensor, Tensor]:
    """Into every ray's frame of reference, and no longer than before."""
    turned = (
        turn_by_rays(query, rays.to_ray.transpose(-1, -2), table),
        turn_by_rays(key, rays.to_world, table),
        turn_by_rays(value, rays.to_world, table),
    )
    query, key, value = (_shorten(a, b) for a, b in zip((query, key, value), turned, strict=True))
    return query, key, value


def _shorten(reference: Tensor, x: Tensor) -> Tensor:
    """x with a root mean square of at most the reference's, token by token."""
    wanted, found = ((part.square().mean(-1, keepdim=True) + SMALL).sqrt() for part in (reference, x))
    return x * (wanted / found.clamp_min(SMALL)).clamp(max=1)


def _scan(key: Tensor, value: Tensor, write: Tensor, keep: Tensor) -> Tensor:
    """States (1, heads, T, value width, key width) that every frame reads: of all frames, from both sides.

    Args:
        key: (1, heads, T, S, key width).
        value: (1, heads, T, S, value width).
        write: (1, heads, T, S, 1).
        keep: (1, heads, T, 1, 1).
    """
    written = (value * write).transpose(-1, -2) @ key
    passed = keep * (torch.eye(key.shape[-1], dtype=key.dtype) - (key * write).transpose(-1, -2) @ key)
    frames = range(key.shape[2])
    state, before = torch.zeros_like(written[:, :, 0]), []
    for frame in frames:
        state = state @ passed[:, :, frame] + written[:, :, frame]
        before.append(state)
    state, after = torch.zeros_like(state), []
    for frame in reversed(frames):
        after.append(state)
        state = state @ passed[:, :, frame] + written[:, :, frame]
    return torch.stack([early + late for early, late in zip(before, reversed(after), strict=True)], dim=2)


def _kernels(
    attn: Any,
    parts: tuple[Tensor, Tensor, Tensor],
    convs: tuple[str, str, str],
    norms: tuple[str, str],
    frames: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value along time, split into heads; queries and keys are never negative."""
    convolved = tuple(
        convolve_frames(getattr(attn, name), part, frames) for name, part in zip(convs, parts, strict=True)
    )  # fmt: skip
    query, key, value = _heads(attn, (convolved[0], convolved[1], convolved[2]), norms)
    return query.relu(), key.relu(), value


def _heads(attn: Any, parts: tuple[Tensor, Tensor, Tensor], norms: tuple[str, str]) -> tuple[Tensor, Tensor, Tensor]:
    """Query and key normalised over all heads; all three (1, heads, tokens, head width)."""
    query, key = (getattr(attn, name)(part) for name, part in zip(norms, parts[:2], strict=True))
    return _split(query, attn.heads), _split(key, attn.heads), _split(parts[2], attn.heads)


def _key_scale(key: Tensor, frames: int) -> float:
    return float((key.shape[-1] * (key.shape[2] // frames)) ** -0.5)


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(SMALL)


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, tokens, width) -> (B, heads, tokens, head width)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    """(B, heads, tokens, head width) -> (B, tokens, width)."""
    return x.transpose(1, 2).flatten(2, 3)
