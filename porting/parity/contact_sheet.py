"""The frames themselves, for the reader's eyes: one row a session, one column a frame; reference, port, difference."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from porting.trace.metrics import Array

CELL_HEIGHT = 180
"""Pixels; larger frames are shrunk by a whole factor, so that a sheet of 720p frames stays a file one can open."""

Float32Array = npt.NDArray[np.float32]


class ContactSheet:
    """Collects frames (1, 3, H, W) in [0, 1] and writes three PNG files."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self._reference: dict[tuple[int, int], Float32Array] = {}
        self._port: dict[tuple[int, int], Float32Array] = {}
        self._difference: dict[tuple[int, int], Float32Array] = {}

    def add(self, row: int, column: int, reference: Array, port: Array) -> None:
        """Put one frame into its cell."""
        exact, found = reference.astype(np.float64)[0], port.astype(np.float64)[0]
        place = (row, column)
        self._reference[place] = shrink(exact, np.mean)
        self._port[place] = shrink(np.nan_to_num(found, nan=0.0, posinf=1.0, neginf=0.0), np.mean)
        # What is not finite is white in the difference, whatever the gain.
        self._difference[place] = shrink(np.nan_to_num(np.abs(found - exact), nan=np.inf), np.max)

    def write(self, folder: Path) -> float:
        """Write `rollout_{reference,port,difference}.png`; returns what the difference is amplified by."""
        folder.mkdir(parents=True, exist_ok=True)
        worst = max((float(d.max(initial=0.0, where=np.isfinite(d))) for d in self._difference.values()), default=0.0)
        gain = 1.0 / worst if worst > 0 else 1.0
        self._save(folder / "rollout_reference.png", self._reference, 1.0)
        self._save(folder / "rollout_port.png", self._port, 1.0)
        self._save(folder / "rollout_difference.png", self._difference, gain)
        return gain

    def _save(self, path: Path, cells: dict[tuple[int, int], Float32Array], gain: float) -> None:
        grid = [[cells[row, column] for column in range(self.columns)] for row in range(self.rows)]
        sheet = np.concatenate([np.concatenate(row, axis=2) for row in grid], axis=1)
        pixels = np.rint(np.clip(sheet * np.float32(gain), 0, 1) * 255).astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(path, format="PNG")


def shrink(frame: npt.NDArray[np.float64], pool: Callable[..., npt.NDArray[np.float64]]) -> Float32Array:
    """frame (3, H, W) -> at most CELL_HEIGHT high, each pixel the `pool` of a square block."""
    height, width = frame.shape[1:]
    block = -(-height // CELL_HEIGHT)
    cut = frame[:, : height // block * block, : max(1, width // block) * block]
    blocks = cut.reshape(3, cut.shape[1] // block, block, cut.shape[2] // block, block)
    return pool(blocks, axis=(2, 4)).astype(np.float32)
