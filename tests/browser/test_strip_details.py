"""The panel about one token: its numbers, its alternatives, and the way there by keyboard."""

import math

import pytest
from strip_page import Visitor

from gpt2lab.transcript import Transcript

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import expect  # noqa: E402

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def test_the_panel_shows_the_numbers_of_its_token(visitor: Visitor, answer: Transcript) -> None:
    visitor.load("one answer")
    for offset in (2, 5):
        choice = answer.passages[1].choices[offset]
        visitor.chips.nth(offset).hover()
        expect(visitor.details.locator(".place")).to_contain_text(f"token {offset + 1} of")
        facts = visitor.details.locator("dl > div").all_text_contents()
        assert f"id{choice.id}" in facts
        assert f"rank{choice.rank:,}" in facts
        assert f"entropy{choice.entropy_bits:.2f} bits" in facts
        exact = visitor.details.locator("dd[title]").evaluate_all(
            "all => all.map((one) => Number(one.title))"
        )
        raw, logprob = math.exp(choice.logprob), choice.logprob
        expected = [raw, choice.probability, logprob, choice.entropy_bits]
        assert exact == pytest.approx(expected, rel=1e-5)


def test_the_alternatives_are_all_there_and_sum_to_one(
    visitor: Visitor, answer: Transcript
) -> None:
    visitor.load("one answer")
    choice = answer.passages[1].choices[1]
    visitor.chips.nth(1).hover()
    expect(visitor.details.locator(".place")).to_contain_text("token 2 of")
    rows = visitor.details.locator("tr[data-id]")
    expect(rows).to_have_count(len(choice.alternatives))
    ids = rows.evaluate_all("rows => rows.map((row) => Number(row.dataset.id))")
    assert ids == [one.id for one in choice.alternatives]
    values = visitor.details.locator("td.share").evaluate_all(
        "cells => cells.map((cell) => Number(cell.dataset.value))"
    )
    raw, processed = values[::2], values[1::2]
    assert raw[:-1] == pytest.approx([one.raw_probability for one in choice.alternatives], abs=1e-6)
    assert processed[:-1] == pytest.approx(
        [one.probability for one in choice.alternatives], abs=1e-6
    )
    assert (sum(raw), sum(processed)) == pytest.approx((1, 1), abs=1e-6)
    expect(visitor.details.locator("tr.chosen")).to_have_attribute("data-id", str(choice.id))
    expect(visitor.details.locator("tr.rest")).to_contain_text("all other tokens")


def test_a_chosen_token_that_is_not_among_the_best_is_listed(visitor: Visitor) -> None:
    visitor.load("hard")
    offset = next(
        index
        for index, label in enumerate(
            visitor.chips.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
        )
        if "rank" in label and int(label.rsplit("rank ")[1]) > 20
    )
    visitor.chips.nth(offset).hover()
    expect(visitor.details.locator("tr[data-id]")).to_have_count(11)
    chosen = visitor.details.locator("tr.chosen")
    id = visitor.chips.nth(offset).get_attribute("data-id")
    expect(chosen).to_have_attribute("data-id", id or "")


def test_the_panel_waits_for_the_pointer_and_an_alternative_branches(
    visitor: Visitor, answer: Transcript
) -> None:
    page = visitor.page
    visitor.load("one answer")
    chip = visitor.chips.nth(3)
    chip.hover()
    expect(visitor.details).to_be_visible()
    box, panel = chip.bounding_box(), visitor.details.bounding_box()
    assert box
    assert panel
    assert panel["y"] >= box["y"] + box["height"] or panel["y"] + panel["height"] <= box["y"]
    alternative = visitor.details.locator(".alternative").nth(2)
    target = alternative.bounding_box()
    assert target
    page.mouse.move(target["x"] + 4, target["y"] + 4, steps=8)
    page.wait_for_timeout(600)
    expect(visitor.details).to_be_visible()
    offset = int((page.locator("#transcript .chip.looked").get_attribute("data-offset")) or "")
    alternative.click()
    expected = answer.passages[1].choices[offset].alternatives[2].id
    data = {"action": "branch", "passage": 1, "offset": offset, "id": expected}
    visitor.triggered("submit", data)
    expect(visitor.details).not_to_be_visible()


def test_the_panel_goes_when_the_pointer_has_gone(visitor: Visitor) -> None:
    visitor.load("one answer")
    visitor.chips.nth(3).hover()
    expect(visitor.details).to_be_visible()
    visitor.page.mouse.move(5, 5)
    expect(visitor.details).not_to_be_visible()
    visitor.chips.nth(3).click()
    visitor.page.mouse.move(5, 5)
    visitor.page.wait_for_timeout(600)
    expect(visitor.details).to_be_visible()
    visitor.page.mouse.click(5, 5)
    expect(visitor.details).not_to_be_visible()


def test_a_click_makes_a_token_the_focus(visitor: Visitor) -> None:
    visitor.load("one answer")
    visitor.chips.nth(4).click()
    visitor.triggered("select", {"passage": 1, "offset": 4})
    marked = visitor.page.locator("#transcript [aria-current=true]")
    expect(marked).to_have_attribute("data-offset", "4")
    visitor.page.locator("#point").click()
    expect(marked).to_have_attribute("data-offset", "3")


def test_the_tokens_are_walked_by_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    page.set_viewport_size({"width": 700, "height": 1000})
    visitor.load("hard")
    last = visitor.chips.count() - 1
    assert page.locator("#transcript .model .strip [tabindex='0']").count() == 1
    page.locator("#transcript .model .tool").first.focus()
    page.keyboard.press("Tab")
    assert visitor.focused() == "0"
    for key, offset in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        assert visitor.focused() == str(offset)
    expect(visitor.details.locator(".place")).to_contain_text("token 2 of")
    boxes = visitor.chips.evaluate_all(
        "all => all.map((one) => { const box = one.getBoundingClientRect();"
        " return [box.top, (box.left + box.right) / 2]; })"
    )
    page.keyboard.press("ArrowDown")
    down = int(visitor.focused() or "")
    assert boxes[down][0] > boxes[1][0] + 8
    row = [one for one in boxes if abs(one[0] - boxes[down][0]) < 8]
    assert abs(boxes[down][1] - boxes[1][1]) == min(abs(one[1] - boxes[1][1]) for one in row)
    page.keyboard.press("ArrowUp")
    assert boxes[int(visitor.focused() or "")][0] == pytest.approx(boxes[1][0], abs=8)
    page.keyboard.press("End")
    assert visitor.focused() == str(last)
    page.keyboard.press("ArrowRight")
    assert visitor.focused() == str(last)
    page.keyboard.press("Home")
    assert visitor.focused() == "0"
    assert page.locator("#transcript .model .strip [tabindex='0']").count() == 1


def test_enter_pins_tab_goes_into_the_panel_and_escape_comes_back(
    visitor: Visitor, answer: Transcript
) -> None:
    page = visitor.page
    visitor.load("one answer")
    page.locator("#transcript .model .tool").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    visitor.triggered("select", {"passage": 1, "offset": 1})
    page.keyboard.press("Tab")
    expect(visitor.details.locator(".alternative").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(visitor.details.locator(".alternative").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(visitor.details).not_to_be_visible()
    assert visitor.focused() == "1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    # Two events on their way at once could be protocolled in any order.
    visitor.triggered("select", {"passage": 1, "offset": 2})
    page.keyboard.press("Tab")
    expect(visitor.details.locator(".alternative").first).to_be_focused()
    page.keyboard.press("Enter")
    id = answer.passages[1].choices[2].alternatives[0].id
    visitor.triggered("submit", {"action": "branch", "passage": 1, "offset": 2, "id": id})


def test_a_forced_token_is_marked(visitor: Visitor) -> None:
    visitor.load("branched")
    forced = visitor.page.locator("#transcript .chip.forced")
    expect(forced).to_have_count(1)
    forced.hover()
    expect(visitor.details.locator(".place")).to_contain_text("chosen by you")
    expect(visitor.page.locator("#transcript .turn").nth(1).locator(".facts")).to_contain_text(
        "more on another branch"
    )


@pytest.mark.parametrize("visitor", [PHONE], indirect=True)
def test_on_a_phone_the_panel_is_docked_and_covers_no_chip(visitor: Visitor) -> None:
    page = visitor.page
    visitor.load("three samples")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    chip = page.locator("#transcript .sample").nth(2).locator(".chip").last
    chip.scroll_into_view_if_needed()
    chip.tap()
    expect(visitor.details).to_be_visible()
    page.wait_for_timeout(200)
    panel, box = visitor.details.bounding_box(), chip.bounding_box()
    assert panel
    assert box
    assert panel["y"] + panel["height"] == pytest.approx(844, abs=1)
    assert panel["width"] == pytest.approx(390, abs=1)
    assert box["y"] + box["height"] <= panel["y"]
    expect(page.locator("#transcript .tool").first).to_have_css("opacity", "1")
