"""gpt2 arrives from the Hub while the visitor works with pocket, and is offered."""

from pathlib import Path

import pytest
from app_process import free_port, running, wait_for
from hub_server import StandIn, closed_port, serving
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser

WAIT = 60_000


def test_the_header_shows_the_download_and_offers_the_switch(
    browser: Browser, published: Path, tmp_path: Path
) -> None:
    port = free_port()
    with (
        serving(StandIn(published, seconds_per_mb=1.0, cut_at=4_000_000)) as hub,
        running(
            "--model", "auto", "--port", str(port),
            HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0",
        ) as process,
    ):  # fmt: skip
        wait_for(port, process)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}")
        expect(page.locator("#who")).to_contain_text("pocket")
        expect(page.locator("#download")).to_contain_text("gpt2 is downloading", timeout=WAIT)
        page.locator("#generate").click()
        expect(page.locator("#status")).to_contain_text("pocket: 40 tokens", timeout=WAIT)
        expect(page.locator("#download")).to_contain_text("gpt2 is ready", timeout=WAIT)
        page.get_by_role("combobox", name="model").click()
        page.get_by_role("option", name="gpt2").click()
        expect(page.locator("#who")).to_contain_text("gpt2 · 3 M parameters", timeout=WAIT)
        page.locator("#generate").click()
        expect(page.locator("#status")).to_contain_text("gpt2: 40 tokens", timeout=WAIT)
        page.close()


def test_without_network_the_page_is_there_and_says_why(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    environment = {"HF_ENDPOINT": closed_port(), "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    with running("--port", str(port), **environment) as process:
        wait_for(port, process)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}")
        expect(page.locator("#download")).to_contain_text(
            "Only pocket is available, because the Hugging Face Hub cannot be reached",
            timeout=WAIT,
        )
        page.locator("#generate").click()
        expect(page.locator("#status")).to_contain_text("ended because", timeout=WAIT)
        page.close()
