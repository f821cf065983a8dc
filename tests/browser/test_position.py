"""One position for all tabs: chosen in the strip above them, typed, or asked for by a picture."""

import json
import re

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Page, expect  # noqa: E402
from visits import WAIT, link, open_page, open_tab  # noqa: E402

from gpt2lab.models import Gpt2  # noqa: E402
from gpt2lab.tokens import describe, encode  # noqa: E402

pytestmark = pytest.mark.browser

TEXT = "The king <b>said</b> 👋🏽 to\n his daughter"


def looked_at(page: Page) -> str | None:
    """The token that is marked in the strip in view."""
    return page.locator(".strip-above:visible [aria-current]").text_content()


def test_a_position_chosen_anywhere_is_that_of_all_tabs(newcomer, url: str, pocket: Gpt2) -> None:
    page = newcomer.page
    ids = encode(pocket, TEXT)
    shown = describe(pocket, ids).shown
    open_page(page, link(url, text=TEXT, tab="next_token"))
    chips = page.locator(".strip-above:visible .chip")
    expect(chips).to_have_count(len(ids), timeout=WAIT)
    assert chips.all_text_contents() == list(shown)
    number = page.get_by_label("position").and_(page.locator("input:visible"))
    code = page.locator(".cm-content:visible")

    # A click.
    chips.nth(3).click()
    expect(number).to_have_value("3")
    expect(code).to_contain_text("tokenizer('The king <b',", timeout=WAIT)
    assert looked_at(page) == shown[3]
    expect(page.locator(".strip-above:visible .where")).to_contain_text(f"position 3 of {len(ids)}")

    # The keyboard.
    chips.nth(3).press("ArrowRight")
    page.keyboard.press("Enter")
    expect(number).to_have_value("4")
    assert page.evaluate("document.activeElement.dataset.offset") == "4"

    # Another tab of another group has it too; what is typed there is known here.
    open_tab(page, "Logit lens")
    expect(number).to_have_value("4")
    expect(chips).to_have_count(len(ids), timeout=WAIT)
    assert looked_at(page) == shown[4]
    number.fill("2")
    number.press("Tab")
    open_tab(page, "Next token")
    expect(number).to_have_value("2")
    expect(code).to_contain_text("tokenizer('The king <',", timeout=WAIT)
    expect(page.locator(".strip-above:visible [aria-current]")).to_have_text(shown[2])
    assert newcomer.complaints == []


def test_a_picture_can_ask_for_another_tab_and_its_controls(
    newcomer, url: str, pocket: Gpt2
) -> None:
    page = newcomer.page
    count = len(encode(pocket, TEXT))
    open_page(page, link(url, text=TEXT, tab="next_token"))
    expect(page.locator(".strip-above:visible .chip")).not_to_have_count(0, timeout=WAIT)
    asked = {"tab": "attention", "layer": 2, "head": 5, "position": 1}
    page.evaluate(f"window.gpt2lab.choose({json.dumps(asked)})")
    expect(page.get_by_role("tab", name="Attention", exact=True).last).to_have_attribute(
        "aria-selected", "true", timeout=WAIT
    )
    code = page.locator(".cm-content:visible")
    expect(code).to_contain_text("attentions[2][0, 5]", timeout=WAIT)
    expect(page.locator(".strip-above:visible .where")).to_contain_text("position 1 of")
    # What a picture of another model asks for, which may still be on screen, is left alone.
    page.evaluate("window.gpt2lab.choose({tab: 'attention', head: 3, model: 'another'})")
    page.evaluate("window.gpt2lab.choose({tab: 'attention', layer: 1, model: 'pocket'})")
    expect(code).to_contain_text("attentions[1][0, 5]", timeout=WAIT)
    # What a tab does not have is left alone; what cannot be is refused as if it had been typed.
    page.evaluate("window.gpt2lab.choose({tab: 'next_token', nothing: 1, position: 99})")
    expect(page.locator(".refusal:visible textarea")).to_have_value(
        f"position is 99, but must be a whole number from {-count} to {count - 1}.", timeout=WAIT
    )
    assert newcomer.complaints == []


COVERED_LABELS = """() => {
    const box = document.querySelector("#writer").getBoundingClientRect();
    const covered = [...document.querySelectorAll("[role=tabpanel] [data-testid=block-info]")]
        .map((label) => label.getBoundingClientRect())
        .map(({ left, top, width, height }) => [left + width / 2, top + height / 2, width])
        .filter(([x, y, width]) => width && y > box.top && y < box.bottom);
    const on_top = covered.filter(([x, y]) => !document.elementFromPoint(x, y).closest("#writer"));
    return [covered.length, on_top.length];
}"""


def test_what_scrolls_below_the_box_does_not_shine_through(newcomer, url: str) -> None:
    page = newcomer.page
    page.set_viewport_size({"width": 390, "height": 800})
    open_page(page, link(url, text=TEXT, tab="next_token"))
    expect(page.locator(".strip-above:visible .chip")).not_to_have_count(0, timeout=WAIT)
    seen = 0
    for place in range(0, 400, 25):
        page.evaluate(f"window.scrollTo(0, {place})")
        covered, on_top = page.evaluate(COVERED_LABELS)
        assert on_top == 0
        seen += covered
    assert seen > 0
    # A tab without room, which only gradio's menu has, can be asked for as well.
    page.evaluate("window.gpt2lab.choose({tab: 'gradients'})")
    expect(page.locator("#tab-gradients")).to_be_visible(timeout=WAIT)


def test_another_text_is_looked_at_from_its_end(newcomer, url: str, pocket: Gpt2) -> None:
    page = newcomer.page
    open_page(page, link(url, text=TEXT, tab="attention"))
    chips = page.locator(".strip-above:visible .chip")
    where = page.locator(".strip-above:visible .where")
    expect(chips).to_have_count(len(encode(pocket, TEXT)), timeout=WAIT)
    chips.nth(9).click()
    expect(where).to_contain_text("position 9 of", timeout=WAIT)
    page.get_by_label("hide_first").check()

    # Typed: it is drawn when typing pauses, and no position is left over from the longer one.
    page.locator("#prompt textarea").fill("A cat sat")
    expect(where).to_contain_text("position 2 of 3", timeout=WAIT)
    expect(page.locator(".cm-content:visible")).to_contain_text("'A cat sat'", timeout=WAIT)
    expect(page.locator(".refusal:visible")).to_have_count(0)

    # An example shows what it says, whatever was set before.
    chips.nth(1).click()
    expect(where).to_contain_text("position 1 of", timeout=WAIT)
    page.locator(".examples:visible input").click()
    page.get_by_role("option", name=re.compile("induction head")).first.click()
    expect(where).to_contain_text(", the last", timeout=WAIT)
    expect(page.get_by_label("hide_first")).not_to_be_checked()
    expect(page.locator(".refusal:visible")).to_have_count(0)
