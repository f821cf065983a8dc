"""Chromium, and the app on loopback around the built-in model."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served import served

from gpt2lab.examples import prompts
from gpt2lab.models import Gpt2
from gpt2lab.ui.checked_settings import DEFAULTS
from gpt2lab.ui.document import Document
from gpt2lab.ui.page import build_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402
from strip_page import answer, strip_url, strip_visitor, visitor  # noqa: E402
from visits import begin, open_page  # noqa: E402

__all__ = ["answer", "strip_url", "strip_visitor", "visitor"]

# Only a test that fails waits so long; a machine that is busy with other things is slow.
expect.set_options(timeout=15_000)

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
    with served(build_page(pocket)) as address:
        yield address


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

    def assert_quiet(self) -> None:
        """Nothing has left this machine, and there is nothing to complain about."""
        assert self.hosts <= {"127.0.0.1"}
        assert self.complaints == []

    def photograph(self, name: str) -> None:
        folder = os.environ.get("GPT2LAB_SCREENSHOTS")
        if folder:
            path = Path(folder) / f"{name.replace('/', '_')}.png"
            self.page.screenshot(path=path, full_page=True)


@pytest.fixture
def newcomer(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """Somebody who opens the page now; whatever they do must stay on this machine and be quiet.

    Once, since a page that is left complains about what it was still waiting for.
    """
    width = getattr(request, "param", 1300)
    context = browser.new_context(viewport={"width": width, "height": 1000})
    visitor = Watched(context.new_page())
    yield visitor
    visitor.assert_quiet()
    assert visitor.hosts
    visitor.photograph(request.node.name)
    context.close()


@pytest.fixture
def watched(newcomer: Watched, url: str) -> Watched:
    """A fresh visitor who has opened the page."""
    open_page(newcomer.page, url)
    return newcomer


@pytest.fixture(scope="module")
def regular_visitor(browser: Browser, url: str) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    visitor = Watched(context.new_page())
    open_page(visitor.page, url)
    yield visitor
    context.close()


@pytest.fixture
def regular(
    regular_visitor: Watched, pocket: Gpt2, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Begins anew on the page that the test before has used, since opening one takes seconds.

    Called with a text and settings, or with nothing for what the page says when it is opened. For
    tests that leave nothing behind but a document; see `visits.begin`.
    """

    def begins(text: str | None = None, **settings: object) -> Page:
        prompt = prompts(pocket)[0].text if text is None and not settings else text or ""
        document = Document(pocket.name, settings={**DEFAULTS, **settings}, prompt=prompt)
        begin(regular_visitor.page, document)
        return regular_visitor.page

    regular_visitor.complaints.clear()
    yield begins
    regular_visitor.assert_quiet()
    regular_visitor.photograph(request.node.name)
