"""Rotations of queries and keys by a token's place, as real tables; keys are kept unrotated, so places are relative.

Place 0 is the first latent frame of the chunk now being made. Queries and keys that are as far apart turn as far apart,
wherever a chunk stands in its session, so that a session may go on without end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from porting.adapters.anyflow_far.config import World

BASE = 10000.0
"""Of the frequencies, in time and space alike."""

Table = tuple[Tensor, Tensor]
"""Cosines and sines (places, head width / 2)."""


class Rotations(nn.Module):
    """Tables of everything that a chunk attends to."""

    def __init__(self, world: World, base: float = BASE) -> None:
        """Fill them; `base` for a test's sake."""
        super().__init__()
        self.world = world
        self.side = world.head_width // 6
        near, far = self._space(world.grid, 1, 1, base), self._space(world.far_grid, *self._pooled(), base)
        past = world.recent * world.frames
        self._keep("recent", self._join(self._time(range(-past, 0), base), near))
        self._keep("now", self._join(self._time(range(world.frames), base), near))
        leaving = range(-past, world.frames - past)
        self._keep("leaving", self._join(self._time(leaving, base), far))
        # A row an age, 0 of a slot that was never written.
        starts = [-(world.recent + age) * world.frames for age in range(world.context + 1)]
        cos, sin = self._time([start + frame for start in starts for frame in range(world.frames)], base)
        self._keep("context_time", (cos.unflatten(0, (-1, world.frames)), sin.unflatten(0, (-1, world.frames))))
        self._keep("context_space", far)

    def table(self, name: str) -> Table:
        """One of "recent", "now" and "leaving"."""
        return self.get_buffer(f"{name}_cos"), self.get_buffer(f"{name}_sin")

    def context(self, ages: Tensor) -> Table:
        """Compressed chunks by their slots' ages (window,) int64: (window * tokens of one, head width / 2)."""
        cos, sin = (
            self._join_parts(self.get_buffer(f"context_time_{part}")[ages].flatten(0, 1), space)
            for part, space in zip(("cos", "sin"), self.table("context_space"), strict=True)
        )
        return cos, sin

    def _keep(self, name: str, table: Table) -> None:
        for part, values in zip(("cos", "sin"), table, strict=True):
            self.register_buffer(f"{name}_{part}", values.float(), persistent=False)

    def _pooled(self) -> tuple[int, int]:
        """Patches that a compressed patch stands for along height and width."""
        (height, width), (far_height, far_width) = self.world.patch, self.world.far_patch
        return far_height // height, far_width // width

    def _time(self, places: Sequence[int], base: float) -> Table:
        angles = _angles(places, self.world.head_width - 4 * self.side, base)
        return angles.cos(), angles.sin()

    def _space(self, grid: tuple[int, int], pooled_rows: int, pooled_columns: int, base: float) -> Table:
        """(tokens of a frame, 2 * side): each token's row, then its column.

        A compressed token turns by the mean of the rotations that it stands for, brought back to length 1.
        """
        down, across = (
            _pool(_angles(range(count * pooled), 2 * self.side, base), pooled)
            for count, pooled in zip(grid, (pooled_rows, pooled_columns), strict=True)
        )
        return (
            torch.cat([_spread(down[0], grid[1]), across[0].repeat(grid[0], 1)], dim=-1),
            torch.cat([_spread(down[1], grid[1]), across[1].repeat(grid[0], 1)], dim=-1),
        )

    def _join(self, time: Table, space: Table) -> Table:
        return self._join_parts(time[0], space[0]), self._join_parts(time[1], space[1])

    @staticmethod
    def _join_parts(time: Tensor, space: Tensor) -> Tensor:
        """(frames, a) and (tokens, b) -> (frames * tokens, a + b)."""
        frames, tokens = time.shape[0], space.shape[0]
        spread = [time[:, None].expand(-1, tokens, -1), space[None].expand(frames, -1, -1)]
        return torch.cat(spread, dim=-1).flatten(0, 1)


def _angles(places: Sequence[int], width: int, base: float) -> Tensor:
    """(places, width / 2) in radians."""
    frequencies = base ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.tensor(list(places), dtype=torch.float64)[:, None] * frequencies


def _pool(angles: Tensor, count: int) -> Table:
    """The mean direction of `count` neighbours."""
    cos, sin = (part.unflatten(0, (-1, count)).mean(1) for part in (angles.cos(), angles.sin()))
    length = torch.hypot(cos, sin)
    return cos / length, sin / length


def _spread(values: Tensor, times: int) -> Tensor:
    """Each row so many times in a row."""
    return values.repeat_interleave(times, dim=0)
