"""The lens grid in Chromium: what a cell says, and where a click, a key and a tap lead."""

import re
from urllib.parse import urlencode

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Page, expect
from visits import WAIT, visible_tab

import gpt2lab

TEXT = " ".join(["The old king said to his daughter, the queen said to his wife."] * 3)
"""Longer than the window."""


def open_grid(page: Page, url: str) -> None:
    page.goto(f"{url}/?{urlencode({'text': TEXT, 'tab': 'lens_grid'})}")
    expect(page.locator("#picture-lens-grid td").first).to_be_visible(timeout=WAIT)


def cell(page: Page, layer: int, position: int):
    at = f"[data-layer='{layer}'][data-position='{position}']"
    return page.locator(f"#picture-lens-grid .cell{at}")


def number(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("newcomer", [390], indirect=True)
def test_cells_say_their_numbers_and_lead_on(newcomer, url, pocket):
    page = newcomer.page
    trace = gpt2lab.trace_text(pocket, TEXT)
    result = gpt2lab.lens_grid(trace)
    layers, columns = result.entropy_bits.shape
    last, end = layers - 1, len(trace) - 1
    open_grid(page, url)
    assert page.locator("#picture-lens-grid .cell").count() == layers * columns
    expect(page.locator("#picture-lens-grid .facts")).to_contain_text(
        f"positions {result.start} to {end} of {len(trace)}"
    )
    # The page has a table that scrolls, it does not scroll sideways itself.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#picture-lens-grid .scroll").scroll_into_view_if_needed()
    expect(cell(page, 0, end)).to_be_in_viewport()

    # Hovering: the token, its probability, the followed one, and the five most probable.
    tip = page.locator("#picture-lens-grid .tip")
    column = end - 1 - result.start
    cell(page, 2, end - 1).hover()
    expect(tip).to_contain_text(f"layer 2; behind position {end - 1}")
    said = re.sub("[⁨⁩]", "", tip.inner_text()).splitlines()
    id = int(result.top_ids[2, column, 0])
    shown = gpt2lab.tokens.readable(pocket.tokenizer.convert_ids_to_tokens(id))
    assert said[0] == f"{shown} · id {id}"
    z, total = (number(one) for one in re.findall(r"exp\((.\d*\.\d+)\)", said[2]))
    assert z == pytest.approx(result.logits[2, column, 0], abs=1e-3)
    assert total == pytest.approx(result.log_totals[2, column], abs=1e-3)
    share = 100 * result.probabilities[2, column, 0]
    assert number(said[2].split(" = ")[-1].rstrip(" %")) == pytest.approx(share, rel=0.05)
    assert f"rank {result.followed_ranks[2, column]:,} · " in said[3]
    assert f"entropy {result.entropy_bits[2, column]:.2f} bits" in said[4]
    assert f"{result.kl_to_final_bits[2, column]:.2f} bits from the output" in said[4]
    assert len(said) == 10

    # A click looks at its position, in the window that has it in the middle.
    clicked = result.start + 1
    cell(page, 3, clicked).click()
    expect(page.locator("#picture-lens-grid td.here").first).to_have_attribute(
        "data-position", str(clicked), timeout=WAIT
    )
    expect(page.locator("#tab-lens_grid input[type=number]").first).to_have_value(str(clicked))
    moved = gpt2lab.lens_grid(trace, clicked)
    expect(page.locator("#picture-lens-grid .formula")).to_have_text(moved.formula)
    expect(cell(page, 3, clicked)).to_be_focused()

    # One cell can be reached with Tab; the arrows lead on, and their cell says the same.
    assert page.locator("#picture-lens-grid .cell[tabindex='0']").count() == 1
    for key in ("ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    expect(cell(page, 4, clicked - 1)).to_be_focused()
    expect(tip).to_contain_text(f"layer 4; behind position {clicked - 1}")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.keyboard.press("End")
    expect(cell(page, 4, moved.start + columns - 1)).to_be_in_viewport()
    for _ in range(layers):  # the last row holds the keyboard
        page.keyboard.press("ArrowDown")
    expect(cell(page, last, moved.start + columns - 1)).to_be_focused()

    # The names of the layers stay in view.
    name = page.locator("#picture-lens-grid tbody th.layer").first
    page.wait_for_function(
        "node => node.isConnected && node.getBoundingClientRect().x >= 0", arg=name.element_handle()
    )

    page.set_viewport_size({"width": 1300, "height": 1000})
    # The resized grid may be drawn anew, so that what was focused is gone.
    cell(page, last, moved.start + columns - 1).press("Shift+Enter")
    expect(page.locator("#tab-logit_lens")).to_be_visible(timeout=WAIT)
    assert visible_tab(page) == "Logit lens"
    position = str(moved.start + columns - 1)
    expect(page.locator("#tab-logit_lens input[type=number]").first).to_have_value(position)
