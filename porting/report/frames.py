"""The frames themselves: sprite sheets of the bundle, cut into sessions and packed so that one page can carry them.

A sheet holds one row a session and one column a frame. Frames are kept pixel for pixel; where not all sessions fit
into the page, those that differ most are shown, and only where one does not fit either are frames scaled down. The
page says so.
"""

import base64
import io
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from porting.record import FreeRunning, PortRecord
from porting.report.files import Missing, read_named

Pixels = npt.NDArray[np.uint8]
KINDS = ("reference", "port", "difference")
WIDEST_SHEET = 4096
"""Pixels; wider pictures are more than some browsers draw."""
TALLEST_SHEET = 16_000
"""Pixels; WebP ends at 16,383."""
MOST_STRIP_FRAMES = 8
STRIP_FRAME_PIXELS = 128


@dataclass(frozen=True)
class Session:
    """One session's three packed sheets as data URIs; frame f lies in column f % columns, row f // columns."""

    number: int
    reference: str
    port: str
    difference: str


@dataclass(frozen=True)
class Film:
    """What the player shows."""

    width: int
    height: int
    columns: int
    frames: int
    sessions: tuple[Session, ...]
    strip: str
    """One picture of a few frames of the session that differs most: reference over port over difference."""
    strip_frames: tuple[int, ...]
    strip_session: int
    note: str

    @property
    def pixelated(self) -> bool:
        """Small frames are shown as squares: smoothing would hide what differs."""
        return max(self.width, self.height) <= 256


@dataclass(frozen=True)
class _Sheets:
    """Decoded frames of each kind, (sessions, frames, height, width, 3) uint8."""

    pixels: dict[str, Pixels]

    def shrink(self, kind: str, session: int, scale: int) -> Pixels:
        """Frames (F, H, W, 3) of one session, at 1/scale of their size.

        Differences keep the greatest of each square, as a mean would hide a lone wrong pixel.
        """
        frames = self.pixels[kind][session]
        height, width = (max(1, side // scale) for side in frames.shape[1:3])
        across, down = frames.shape[2] // width, frames.shape[1] // height
        cropped = frames[:, : height * down, : width * across].reshape(len(frames), height, down, width, across, 3)
        if kind == "difference":
            return np.ascontiguousarray(cropped.max(axis=(2, 4)))
        means: Pixels = np.rint(cropped.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
        return means

    @property
    def order(self) -> list[int]:
        """Sessions, the one with the greatest mean difference first."""
        means = self.pixels["difference"].mean(axis=(1, 2, 3, 4))
        return [int(index) for index in np.argsort(-means, kind="stable")]


def read_film(record: PortRecord, bundle: Path, free: FreeRunning, budget_bytes: int) -> Film | Missing:
    """The frames of a free rollout in at most `budget_bytes` of page; why not, where they cannot be shown."""
    sheets: dict[str, Pixels] = {}
    for kind in KINDS:
        pixels = read_sheet(record, bundle, free, kind)
        if isinstance(pixels, Missing):
            return pixels
        sheets[kind] = pixels
    shapes = {pixels.shape for pixels in sheets.values()}
    if len(shapes) != 1:
        return Missing(f"{free.reference_frames}: the three sheets differ in size")
    return _pack(_Sheets(sheets), free.first_failing_frame, budget_bytes)


def read_sheet(record: PortRecord, bundle: Path, free: FreeRunning, kind: str) -> Pixels | Missing:
    """Frames (sessions, frames, height, width, 3) uint8 of one of KINDS; why not, where they cannot be shown."""
    name = str(PurePosixPath(free.reference_frames) / f"rollout_{kind}.png")
    content = read_named(record, bundle, name)
    if isinstance(content, Missing):
        return content
    return _cut(name, content, free.sessions, len(free.psnr_db))


def pair_film(first: Pixels, second: Pixels, failing: int | None, budget_bytes: int) -> tuple[Film | Missing, float]:
    """Two rollouts of the same inputs as a film: `first` as its reference, `second` as its port.

    Args:
        first: (sessions, frames, height, width, 3) uint8.
        second: the same of the other; it is cut to as many sessions and frames as both have.
        failing: frame to mark.
        budget_bytes: of page.

    Returns:
        The film, and what its differences are amplified by: the worst value becomes 255. 0 when nothing differs.
    """
    if first.shape[2:] != second.shape[2:]:
        sizes = " and ".join(f"{frames.shape[3]} x {frames.shape[2]}" for frames in (first, second))
        return Missing(f"the frames differ in size: {sizes} pixels"), 0.0
    sessions, count = (min(pair) for pair in zip(first.shape[:2], second.shape[:2], strict=True))
    first, second = first[:sessions, :count], second[:sessions, :count]
    difference = np.abs(first.astype(np.int16) - second)
    worst = int(difference.max(initial=0))
    gain = 255 / worst if worst else 0.0
    amplified: Pixels = np.rint(difference * gain).astype(np.uint8)
    sheets = _Sheets({"reference": first, "port": second, "difference": amplified})
    return _pack(sheets, failing if failing is not None and failing < count else None, budget_bytes), gain


def _cut(name: str, content: bytes, sessions: int, frames: int) -> Pixels | Missing:
    try:
        with warnings.catch_warnings():
            # Pillow's guard against pictures that unpack to more than memory holds.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombWarning, Image.DecompressionBombError) as cause:
        return Missing(f"{name}: cannot be shown ({type(cause).__name__}: {cause})")
    height, width = pixels.shape[:2]
    if not sessions or not frames or height % sessions or width % frames:
        return Missing(f"{name}: {width} x {height} pixels are not {sessions} sessions of {frames} frames")
    cut = pixels.reshape(sessions, height // sessions, frames, width // frames, 3)
    return cut.transpose(0, 2, 1, 3, 4)


def _pack(sheets: _Sheets, failing: int | None, budget_bytes: int) -> Film | Missing:
    """As many sessions as fit, at the largest scale at which one does."""
    total, frames, height, width = sheets.pixels["reference"].shape[:4]
    # Pictures with noise in them never shrink fortyfold: do not try.
    scale = 1
    while 3 * frames * height * width * 3 / scale**2 > 40 * budget_bytes:
        scale *= 2
    while True:
        columns = max(1, min(frames, WIDEST_SHEET // max(1, width // scale)))
        tallest = math.ceil(frames / columns) * (height // scale)
        packed = list(_pack_sessions(sheets, scale, columns, budget_bytes)) if tallest <= TALLEST_SHEET else []
        if packed:
            break
        scale *= 2
        if scale > min(height, width):
            return Missing(f"{frames} frames do not fit into {budget_bytes:,} bytes of page at any size")
    notes = []
    if len(packed) < total:
        notes.append(f"{len(packed)} of {total} sessions are shown, those that differ most.")
    if scale > 1:
        notes.append(f"Frames are shown at 1/{scale} of their size.")
    kept = _strip_frames(frames, failing)
    strip = _encode(_strip(sheets, packed[0].number, kept))
    return Film(
        max(1, width // scale), max(1, height // scale), columns, frames,
        tuple(sorted(packed, key=lambda session: session.number)), strip, kept, packed[0].number, " ".join(notes),
    )  # fmt: skip


def _pack_sessions(sheets: _Sheets, scale: int, columns: int, budget_bytes: int) -> Iterable[Session]:
    """Sessions, those that differ most first, while they fit."""
    left = budget_bytes
    for number in sheets.order:
        uris = [_encode(_grid(sheets.shrink(kind, number, scale), columns)) for kind in KINDS]
        left -= sum(map(len, uris))
        if left < 0:
            return
        yield Session(number, *uris)


def _grid(frames: Pixels, columns: int) -> Pixels:
    """Frames (F, H, W, 3) in rows of `columns`."""
    count, height, width = frames.shape[:3]
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, 3), np.uint8)
    padded[:count] = frames
    return padded.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4).reshape(rows * height, -1, 3)


def _strip_frames(frames: int, failing: int | None) -> tuple[int, ...]:
    """A few frames spread over the rollout, the first failing one among them."""
    chosen = {round(index) for index in np.linspace(0, frames - 1, min(MOST_STRIP_FRAMES, frames)).tolist()}
    if failing is not None and 0 <= failing < frames and failing not in chosen:
        nearest = min(chosen, key=lambda frame: abs(frame - failing))
        chosen = (chosen - {nearest}) | {failing}
    return tuple(sorted(chosen))


def _strip(sheets: _Sheets, session: int, kept: tuple[int, ...]) -> Pixels:
    height, width = sheets.pixels["reference"].shape[2:4]
    scale = max(1, math.ceil(max(height, width) / STRIP_FRAME_PIXELS))
    rows = np.stack([sheets.shrink(kind, session, scale)[list(kept)] for kind in KINDS])
    # Opaque frames with a transparent gap to the right and below, so that the page shines through.
    gap = max(1, rows.shape[3] // 24)
    opaque = np.concatenate([rows, np.full((*rows.shape[:-1], 1), 255, np.uint8)], axis=-1)
    padded = np.pad(opaque, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)))
    joined = padded.transpose(0, 2, 1, 3, 4).reshape(len(KINDS) * padded.shape[2], -1, 4)
    return np.ascontiguousarray(joined[:-gap, :-gap])


def _encode(pixels: Pixels) -> str:
    """A picture, not a pixel changed, as a data URI; lossless WebP is smaller than PNG and made faster."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="WEBP", lossless=True, quality=20, method=1, exact=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
