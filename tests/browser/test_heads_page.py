"""The mosaic of all heads, in Chromium: hover, keys, a finger; and a click opens the head."""

from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from visits import open_page

import gpt2lab
from gpt2lab.examples import REPEATED
from gpt2lab.inspections import heads
from gpt2lab.models import Gpt2

pytestmark = pytest.mark.browser

WAIT = 30_000


def mosaic(page: Page) -> Locator:
    return page.locator("#picture-heads .mosaic button.head")


def opened(page: Page, url: str) -> Locator:
    open_page(page, f"{url}/?text={quote(REPEATED)}&tab=heads")
    expect(mosaic(page).first).to_be_visible(timeout=WAIT)
    return page.locator("#picture-heads")


def painted(cell: Locator) -> np.ndarray:
    """The pixels of a head's picture: (row, column, 4)."""
    read = """canvas => {
        const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.height, canvas.width, [...all.data]];
    }"""
    height, width, values = cell.locator("canvas").evaluate(read)
    return np.array(values).reshape(height, width, 4)


def test_point_sort_and_open_a_head(newcomer, url: str, pocket: Gpt2) -> None:
    page = newcomer.page
    picture = opened(page, url)
    expect(mosaic(page)).to_have_count(pocket.n_layer * pocket.n_head)
    expect(picture.locator(".rank")).to_have_count(0)

    result = gpt2lab.heads(gpt2lab.trace_text(pocket, REPEATED), "induction")
    cell = mosaic(page).nth(5 * pocket.n_head + 1)
    cell.hover()
    expect(picture.locator("strong")).to_have_text("layer 5, head 1")
    induction = f"{100 * result.induction[5, 1]:.1f} %"
    expect(picture.locator("dl")).to_contain_text(f"on the induction positions{induction}")
    expect(picture.locator("dl")).to_contain_text(f"entropy{result.entropy_bits[5, 1]:.2f} bits")

    side = result.thumbnails.shape[-1]
    scale = 48 // side
    pixels = painted(cell)[scale // 2 :: scale, scale // 2 :: scale]
    palette = heads.figure(result).axes[0].images[0]
    expected = palette.to_rgba(result.thumbnails[5, 1], bytes=True).astype(int)
    seen = np.tri(side, dtype=bool)
    # A byte for a pixel is one of 256 shades, which is a step or two of the palette.
    assert np.abs(pixels - expected)[seen].max() <= 5
    assert not pixels[~seen].any()

    page.get_by_role("combobox", name="sort").click()
    page.get_by_role("option", name="induction").click()
    expect(picture.locator(".rank")).to_have_count(5, timeout=WAIT)
    best = picture.locator(".best button")
    expect(best).to_have_count(5)
    layer, head, _ = result.leading[0]
    best.first.click()
    expect(mosaic(page).nth(layer * pocket.n_head + head)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    chosen = mosaic(page).nth((layer - 1) * pocket.n_head + 1)
    expect(chosen).to_be_focused()
    expect(picture.locator("strong")).to_have_text(f"layer {layer - 1}, head 1")
    page.keyboard.press("Enter")
    shown = page.locator("#picture-attention")
    expect(shown).to_contain_text(f"layer {layer - 1}, head 1", timeout=WAIT)


def test_a_finger_looks_before_it_opens(browser: Browser, url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 900}, has_touch=True)
    page = context.new_page()
    picture = opened(page, url)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    cell = mosaic(page).nth(10)
    assert cell.bounding_box()["width"] >= 20
    cell.tap()
    expect(picture.locator("strong")).to_have_text("layer 1, head 2")
    expect(picture.locator(".tip")).to_contain_text("layer 1, head 2")
    page.wait_for_timeout(300)
    expect(picture).to_be_visible()
    cell.tap()
    expect(page.locator("#picture-attention")).to_contain_text("layer 1, head 2", timeout=WAIT)
    context.close()
