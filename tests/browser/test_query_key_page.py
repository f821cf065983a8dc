"""One pair in Chromium: a click or a key of the keyboard chooses another key of the query."""

from urllib.parse import quote

import pytest
from playwright.sync_api import expect
from visits import open_page

import gpt2lab
from gpt2lab.models import Gpt2

pytestmark = pytest.mark.browser

WAIT = 30_000
TEXT = "a <b>bold</b> $x_1$ \u202eplan\u202c 🎉 and a <b>"


@pytest.mark.parametrize("newcomer", [1300, 390], indirect=True)
def test_choose_a_key(newcomer, url: str, pocket: Gpt2) -> None:
    page = newcomer.page
    open_page(page, f"{url}/?text={quote(TEXT)}&tab=query_key")
    picture = page.locator("#picture-query-key")
    keys = picture.get_by_role("option")
    trace = gpt2lab.trace_text(pocket, TEXT)
    result = gpt2lab.query_key(trace)
    expect(keys).to_have_count(len(trace), timeout=WAIT)
    expect(picture.get_by_role("option", selected=True)).to_contain_text(f"{result.key} ")
    lines = picture.locator(".formula li")
    expect(lines).to_have_text([" ".join(line.split()) for line in result.formula])
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]

    keys.nth(1).click()
    chosen = gpt2lab.query_key(trace, key=1)
    expect(lines.nth(4)).to_have_text(" ".join(chosen.formula[4].split()), timeout=WAIT)
    page.keyboard.press("ArrowUp")
    expect(keys.nth(0)).to_be_focused()
    page.keyboard.press("Enter")
    chosen = gpt2lab.query_key(trace, key=0)
    expect(lines.nth(1)).to_have_text(chosen.formula[1], timeout=WAIT)

    picture.locator(".order").click()
    best = int(result.weights.argmax())
    expect(keys.first).to_have_attribute("data-key", f"{best}")
    expect(keys.first).to_contain_text(f"{100 * result.weights[best]:.1f} %")
