"""A real headless browser, and the reports that it is shown. Skipped, with the reason, where there is no browser."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from porting.record import FileRecord, PortRecord
from porting.report import render_against, render_html
from tests.report.records import TEMPLATES, failing, make_record, not_measured, passing, write_bundle
from tests.report.test_html import evil_record
from tests.report.test_targets import ABSENT, BROKEN, CHAIN, UNREAD
from tests.verdict.test_kernels import GOOD

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SMALL, LARGE = 8, 32
"""Sides of frames, pixels."""


def find_browser() -> str | None:
    """Where this machine's own Chromium is; none is ever downloaded."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@dataclass
class Visit:
    """A page in the browser, and whatever it did that it should not have."""

    page: "Page"
    trouble: list[str] = field(default_factory=list)

    def run(self, script: str, argument: Any = None) -> Any:
        """What the script, an expression or a function, comes to in the page."""
        return self.page.evaluate(script, argument)


Open = Callable[..., Visit]


# Not of the session's scope: while it lives, an event loop runs in this thread, and later tests could not start theirs.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    path = find_browser()
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on PATH: install Debian's package chromium")
    with playwright.sync_playwright() as running:
        # No sandbox: as root, and in most containers, Chromium cannot make one. It is shown our own pages only.
        started = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Open]:
    """Open a report. At the end of the test, a console message, a request or a dialog of any of them is a failure."""
    contexts, visits = [], []

    def start(report: Path, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": DESKTOP, "offline": True, **options})
        contexts.append(context)
        found = Visit(context.new_page())
        visits.append(found)
        watch(found, report.as_uri())
        found.page.goto(report.as_uri(), timeout=60_000)
        return found

    yield start
    trouble = [line for found in visits for line in found.trouble]
    for context in contexts:
        context.close()
    assert not trouble


def watch(found: Visit, address: str) -> None:
    page, note = found.page, found.trouble.append

    def hear(message: "ConsoleMessage") -> None:
        # Reading pixels back, as only these tests do, makes Chromium recommend another kind of canvas.
        if "willReadFrequently" not in message.text:
            note(f"console {message.type}: {message.text}")

    def dismiss(dialog: "Dialog") -> None:
        note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def ask(request: "Request") -> None:
        if request.url.split("#")[0] != address and not request.url.startswith("data:"):
            note(f"request: {request.url}")

    page.on("console", hear)
    page.on("pageerror", lambda error: note(f"error: {error}"))
    page.on("dialog", dismiss)
    page.on("request", ask)


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Reports by name, each rendered when it is first asked for."""
    folder = tmp_path_factory.mktemp("reports")

    def bundle(name: str, record: PortRecord, side: int = SMALL) -> Path:
        return write_bundle(folder / f"{name}-bundle", record, side)

    def render(name: str) -> str:
        if name == "side by side":
            before, now = with_trace(passing(24)), with_trace(failing(24))
            return render_against(before, bundle("before", before), now, bundle("now", now), TEMPLATES)
        if name == "hostile side by side":
            before, now = passing(24), evil_record()
            return render_against(before, bundle("before", before), now, bundle("evil", now), TEMPLATES)
        record = RECORDS[name]()
        # Of this size 300 frames do not fit into one row of a sheet.
        return render_html(record, bundle(name, record, LARGE if name == "300 frames" else SMALL), TEMPLATES)

    def get(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(render(name), encoding="utf-8")
        return path

    return get


def with_trace(record: PortRecord) -> PortRecord:
    """It names a file of its trace, the same whatever the record."""
    return record.model_copy(update={"files": (FileRecord(path="trace/calls", sha256="cd" * 32, nbytes=1),)})


def compile_only() -> PortRecord:
    """Nothing was run; kernels of every fate were compiled."""
    empty = not_measured()
    kernels = (GOOD, ABSENT, BROKEN, UNREAD)
    targets = {n: t.model_copy(update={"chain": CHAIN, "kernels": kernels}) for n, t in empty.targets.items()}
    return empty.model_copy(update={"targets": targets})


RECORDS: dict[str, Callable[[], PortRecord]] = {
    "passing": passing,
    "failing": failing,
    "one frame": lambda: passing(1),
    "300 frames": lambda: failing(300, 211),
    "compile-only": compile_only,
    "no target": lambda: make_record({}),
    "hostile": evil_record,
}
EVERY = (*RECORDS, "side by side", "hostile side by side")
