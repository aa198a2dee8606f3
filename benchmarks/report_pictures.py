"""Take the pictures of reports that the docs show.

Run as `python -m benchmarks.report_pictures BUNDLE [--failed BUNDLE] [--out docs]`. The first is a bundle with a target
that ran and one that was compiled only, the second one that failed: `benchmarks.damaged_port` makes one. Needs
playwright and a Chromium on PATH. Large pictures are reduced to a palette.
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from porting import content
from porting.bundle import Bundle
from porting.errors import UsageError
from porting.record import PortRecord
from porting.report import render_html
from porting.report.targets import ran_nowhere

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MOST_BYTES = 250_000
COLOURS = 256
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Picture:
    """What of a page is shown: from the element `start` on, as high as the window."""

    name: str
    page: Path
    width: int
    height: int
    start: str = "body"


def plan_pictures(bundle: Path, failed: Path | None, folder: Path) -> list[Picture]:
    """Render the pages into `folder`, and say what to show of them.

    Raises:
        UsageError: the bundle has no target that was run, or none that was compiled only.
    """
    record = Bundle(bundle).read_record()
    names = list(record.targets)
    ran = next((index for index, name in enumerate(names) if record.targets[name].parity), None)
    unrun = next((index for index, name in enumerate(names) if ran_nowhere(record.targets[name])), None)
    if ran is None or unrun is None:
        raise UsageError(f"{bundle}: lacks a target that ran or one that was compiled only; port to both")
    page = _render(record, bundle, folder / "report.html")
    pictures = [
        Picture("report.png", page, 1280, 1500),
        Picture("report-frames.png", page, 1280, 1450, f"#t{ran}-frames"),
        Picture("report-phone.png", page, 390, 1500),
        Picture("report-compile-only.png", page, 1280, 1300, f"#t{unrun}"),
    ]
    if failed is not None:
        record = Bundle(failed).read_record()
        pictures.append(Picture("report-failed.png", _render(record, failed, folder / "failed.html"), 1280, 1900))
    return pictures


def _render(record: PortRecord, bundle: Path, path: Path) -> Path:
    path.write_text(render_html(record, bundle, content.folder("reports")), encoding="utf-8")
    return path


def take(browser: "Browser", picture: Picture, out: Path) -> Path:
    """One picture, reduced to a palette where it is large; returns where it is.

    Raises:
        UsageError: it is larger than the docs should carry.
    """
    path = out / picture.name
    view = browser.new_context(
        viewport={"width": picture.width, "height": picture.height}, color_scheme="light", offline=True
    )
    page = view.new_page()
    page.goto(picture.page.as_uri())
    # Frames are decoded after the page was loaded.
    page.wait_for_timeout(500)
    page.evaluate(
        "start => document.querySelector(start).scrollIntoView({behavior: 'instant', block: 'start'})", picture.start
    )
    page.screenshot(path=path)
    view.close()
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        # Colours that few pixels have count as much as others: a mark in red must stay red.
        image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=1).save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise UsageError(f"{path}: {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}; show less of the page")
    return path


def main() -> int:
    """Read the command line and take the pictures."""
    from tempfile import TemporaryDirectory

    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--failed", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    chromium = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if chromium is None:
        print(f"none of {', '.join(BROWSERS)} is on PATH; install Debian's package chromium", file=sys.stderr)
        return 2
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        pictures = plan_pictures(arguments.bundle, arguments.failed, Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for picture in pictures:
            path = take(browser, picture, arguments.out)
            print(f"{path}: {path.stat().st_size:,} bytes")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
