"""Chromium, and the app on loopback around the built-in model."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt2lab.models import Gpt2
from gpt2lab.ui.page import build_page
from gpt2lab.ui.serving import launch_arguments

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402
from visits import open_page  # noqa: E402

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if not chromium:
        pytest.skip("Chromium is not installed (set CHROMIUM to its path)")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture(scope="session")
def url(pocket: Gpt2) -> Iterator[str]:
    """Address of the running app."""
    page = build_page(pocket)
    _, address, _ = page.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_arguments()
    )
    yield address.rstrip("/")
    page.close(verbose=False)


class Watched:
    """A page and what it asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        page.on("request", self._request)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _request(self, request: "playwright.Request") -> None:
        if "://" in request.url:
            self.hosts.add(request.url.split("/")[2].split(":")[0])

    def _console(self, message: "playwright.ConsoleMessage") -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


@pytest.fixture
def watched(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A fresh visitor on the page; whatever it does must stay on this machine and be quiet."""
    width = getattr(request, "param", 1300)
    context = browser.new_context(viewport={"width": width, "height": 1000})
    visitor = Watched(context.new_page())
    open_page(visitor.page, url)
    yield visitor
    assert visitor.hosts == {"127.0.0.1"}
    assert visitor.complaints == []
    folder = os.environ.get("GPT2LAB_SCREENSHOTS")
    if folder:
        name = request.node.name.replace("/", "_")
        visitor.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
    context.close()
