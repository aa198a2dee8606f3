"""Rotations of queries and keys by a token's place, as real tables, relative to the block that is now refined.

Source: diffusers, SanaWMLTX2AudioVideoRotaryPosEmbed and SanaWMLTX2Refiner. A place in time is the middle of the
pictures that a latent frame stands for, and the first one stands for fewer: relative places are the published absolute
ones less the block's own, so that a session may go on without end.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from porting.adapters.sana_wm_refiner.config import Stream

HIDDEN = -1e4
"""Added to what attention must not see: its share is 0 in every floating format."""

Table = tuple[Tensor, Tensor]
"""Cosines and sines (heads, tokens, head width / 2)."""


class Rotations(nn.Module):
    """Tables of the sink while it is taken in, of the block, of the sink before it, and of the history's slots."""

    def __init__(self, stream: Stream, rope: Any, fps: float) -> None:
        """Fill them from the published class' `rope`."""
        super().__init__()
        self.stream, self.rope, self.fps = stream, rope, fps
        self.halves = rope.rope_type == "split"
        block, sink = stream.block, stream.sink
        self._keep("opening", self._turn([self._middle(frame) for frame in range(sink)]))
        start = self._middle(sink)
        self._keep("now", self._turn([self._middle(sink + frame) - start for frame in range(block)]))
        # A row a count of slots in use: the sink stands right before the history, wherever that begins.
        before = [self._place_sink(count) for count in range(stream.slots + 1)]
        self._keep("sink", _by_row([self._turn(places) for places in before]))
        # A row an age, 0 of a slot that was never written.
        pace = rope.scale_factors[0]
        past = [[pace * (frame - age * block) for frame in range(block)] for age in range(stream.slots + 1)]
        self._keep("history", _by_row([self._turn(places) for places in past]))
        seen = [
            [0.0 if age > 0 and age * block - frame <= stream.history else HIDDEN for frame in range(block)]
            for age in range(stream.slots + 1)
        ]
        self.hidden = nn.Buffer(torch.tensor(seen), persistent=False)

    def table(self, name: str) -> Table:
        """One of "opening" and "now"."""
        return self.get_buffer(f"{name}_cos"), self.get_buffer(f"{name}_sin")

    def sink(self, ages: Tensor) -> Table:
        """The sink's, by the ages (slots,) int64 of the history's slots."""
        count = (ages > 0).sum()
        cos, sin = (part.index_select(0, count[None])[0] for part in self.table("sink"))
        return cos, sin

    def history(self, ages: Tensor) -> Table:
        """All slots', (heads, slots * tokens of a block, head width / 2)."""
        cos, sin = (part[ages].transpose(0, 1).flatten(1, 2) for part in self.table("history"))
        return cos, sin

    def hide(self, ages: Tensor) -> Tensor:
        """(1, 1, 1, slots * tokens of a block): added to scores, 0 for what is within the history."""
        hidden = self.hidden[ages][..., None].expand(-1, -1, self.stream.frame_tokens)
        return hidden.reshape(1, 1, 1, -1)

    def turn(self, x: Tensor, table: Table) -> Tensor:
        """Turn pairs of the last axis of x (1, heads, tokens, head width): neighbours, or both halves' values."""
        cos, sin = table
        if self.halves:
            first, second = x.chunk(2, dim=-1)
            return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(-2)

    def _keep(self, name: str, table: Table) -> None:
        for part, values in zip(("cos", "sin"), table, strict=True):
            self.register_buffer(f"{name}_{part}", values.float(), persistent=False)

    def _middle(self, frame: int) -> float:
        """Of the pictures that a latent frame stands for, counted in pictures from a session's first."""
        pace, offset = self.rope.scale_factors[0], self.rope.causal_offset
        ends = (max(0, place * pace + offset - pace) for place in (frame, frame + 1))
        return sum(ends) / 2

    def _place_sink(self, count: int) -> list[float]:
        """The sink's frames relative to the block that `count` others came before."""
        stream = self.stream
        made = count * stream.block
        first = made - min(made, stream.history)
        start = self._middle(stream.sink + made)
        return [self._middle(first + frame) - start for frame in range(stream.sink)]

    def _turn(self, places: Sequence[float]) -> Table:
        """Latent frames at these places in time, in pictures, every token at its row and column."""
        rope, stream = self.rope, self.stream
        width = rope.dim // 6
        powers = rope.theta ** torch.linspace(0, 1, width, dtype=torch.float64)
        frequencies = (powers * torch.pi / 2).float().double()
        time = 2 * torch.tensor(list(places), dtype=torch.float64) / self.fps / rope.base_num_frames
        _, down, across = rope.scale_factors
        sides = ((stream.height, down, rope.base_height), (stream.width, across, rope.base_width))
        rows, columns = (
            2 * (torch.arange(count, dtype=torch.float64) + 0.5) * scale / base - 1 for count, scale, base in sides
        )
        grid = torch.stack(torch.meshgrid(time, rows, columns, indexing="ij"), dim=-1).flatten(0, 2)
        angles = (grid[:, None, :] * frequencies[:, None]).flatten(1)
        angles = torch.nn.functional.pad(angles, (rope.dim // 2 - angles.shape[1], 0))
        angles = angles.unflatten(1, (stream.heads, -1)).transpose(0, 1)
        return angles.cos(), angles.sin()


def _by_row(tables: Sequence[Table]) -> Table:
    return torch.stack([cos for cos, _ in tables]), torch.stack([sin for _, sin in tables])
