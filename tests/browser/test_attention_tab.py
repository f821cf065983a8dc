"""The attention of one head in Chromium: pointing, clicking, keys, touch, and other heads."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect
from visits import WAIT, link, open_page, table_rows

from gpt2lab.inspections.attention import LAYER, attention
from gpt2lab.models import Gpt2
from gpt2lab.trace import Trace, trace_text

TEXT = "seven green horses walked. seven green <b>horses</b>"
LONG = " ".join([TEXT] * 6)
"""More tokens than have a label each."""
DIGITS = 1e-3
"""Relative: what is read has four significant digits."""
READ = re.compile(r"query (\d+) (\S+) → key (\d+) (\S+), weight (\S+)$")


@pytest.fixture
def text(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", TEXT)


@pytest.fixture
def trace(pocket: Gpt2, text: str) -> Trace:
    return trace_text(pocket, text)


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser, url: str, text: str) -> Iterator[Page]:
    """A visitor at the tab, with a mouse or on a phone, who has all heads of the first layer."""
    phone = getattr(request, "param", None) == "phone"
    viewport = {"width": 390 if phone else 1300, "height": 1000}
    context = browser.new_context(viewport=viewport, has_touch=phone)
    visitor = context.new_page()
    complaints: list[str] = []
    visitor.on("pageerror", lambda error: complaints.append(str(error)))
    open_page(visitor, link(url, text=text, tab="attention"))
    expect(picture(visitor).locator(".loaded")).to_have_count(8, timeout=WAIT)
    yield visitor
    assert complaints == []
    context.close()


def picture(page: Page) -> Locator:
    return page.locator("#picture-attention")


def place(page: Page, query: int, key: int, count: int) -> dict[str, float]:
    """The middle of a cell in the map, which has its labels on the left."""
    over = picture(page).locator(".over")
    box, cell = over.bounding_box(), float(over.get_attribute("data-cell") or "")
    assert box
    left = box["width"] - 2 - count * cell
    return {"x": left + (key + 0.5) * cell, "y": (query + 0.5) * cell}


def read(page: Page) -> tuple[int, str, int, str, float]:
    """Query and key that are pointed at, with their tokens, and the weight."""
    said = READ.match(picture(page).locator(".read").inner_text())
    assert said, picture(page).locator(".read").inner_text()
    query, query_token, key, key_token, weight = said.groups()
    return int(query), query_token, int(key), key_token, float(weight)


def expect_read(page: Page, query: int, key: int, trace: Trace, weights: np.ndarray) -> None:
    shown = attention(trace).shown
    assert read(page)[:4] == (query, shown[query], key, shown[key])
    assert read(page)[4] == pytest.approx(float(weights[query, key]), rel=DIGITS)


def choose_view(page: Page, name: str) -> None:
    picture(page).get_by_role("button", name=name, exact=True).click()


def head_button(page: Page, head: int) -> Locator:
    group = picture(page).get_by_role("group", name="head")
    return group.get_by_role("button", name=str(head), exact=True)


def position(page: Page) -> Locator:
    return page.locator("#tab-attention").get_by_label("position")


@pytest.mark.parametrize("text", [LONG], ids=["long"], indirect=True)
def test_every_view_reads_the_weights(page, trace):
    """Under the pointer and with the keys, in all three views, and with the first key hidden."""
    over = picture(page).locator(".over")
    weights = attention(trace).weights
    last = len(trace) - 1
    for query, key in [(0, 0), (5, 2), (last, 0), (last, last)]:
        over.hover(position=place(page, query, key, len(trace)))
        expect_read(page, query, key, trace, weights)
        said = picture(page).locator(".read").inner_text()
        tip = page.locator(".tip:popover-open")
        assert tip.inner_text().split() == said.replace(",", "").split()
        expect(tip.locator(".lens")).to_be_visible()
    over.hover(position=place(page, 2, 5, len(trace)))
    expect(picture(page).locator(".read")).to_have_text(re.compile("no token sees a later one$"))

    over.focus()
    over.hover(position=place(page, 5, 2, len(trace)))
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    expect_read(page, 6, 3, trace, weights)
    page.keyboard.press("Enter")
    expect(position(page)).to_have_value("6")

    choose_view(page, "row")
    chips = picture(page).locator(".row-view .chip")
    assert chips.all_inner_texts() == list(attention(trace).shown)
    chips.nth(4).hover()
    expect_read(page, 6, 4, trace, weights)
    chips.nth(4).focus()
    page.keyboard.press("ArrowLeft")
    expect_read(page, 6, 3, trace, weights)
    page.keyboard.press("Enter")
    expect(position(page)).to_have_value("3")

    page.get_by_label("hide_first").check()
    expect(picture(page).locator(".heading")).to_contain_text("first key hidden", timeout=WAIT)
    hidden = attention(trace, hide_first=True)
    removed = re.search(r"it had (\S+) of query 3", picture(page).locator(".heading").inner_text())
    assert removed
    assert float(removed[1]) == pytest.approx(float(hidden.removed[3]), rel=DIGITS)
    chips.nth(2).hover()
    expect_read(page, 3, 2, trace, hidden.weights)

    choose_view(page, "lines")
    lines = picture(page).locator(".lines")
    lines.hover(position={"x": 40, "y": 5 * 19 + 5})
    said = picture(page).locator(".read").inner_text()
    assert said.startswith(f"query 5 {hidden.shown[5]} looks at ")
    listed = re.findall(r"(\d+) \S+ ([\d.e-]+)(?:,|$)", said.split(" looks at ")[1])
    best = np.argsort(-hidden.weights[5])[:5]
    assert [int(key) for key, _ in listed] == best.tolist()
    for key, weight in listed:
        assert float(weight) == pytest.approx(float(hidden.weights[5, int(key)]), rel=DIGITS)
    lines.focus()
    page.keyboard.press("End")
    expect(picture(page).locator(".read")).to_contain_text(f"query {last} {hidden.shown[-1]} looks")
    assert lines.evaluate("lines => lines.scrollTop") > 0
    assert page.evaluate("localStorage.getItem('gpt2lab.attention.view')") == "lines"


def test_going_through_heads_asks_nobody(page, trace, capsys):
    """The map is another at once; afterwards the server follows, and nothing is painted again."""
    over, cells = picture(page).locator(".over"), picture(page).locator(".cells")
    over.hover(position=place(page, 5, 2, len(trace)))
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    times = page.evaluate(
        """() => [...Array(8).keys()].map((head) => {
            const picture = document.querySelector("#picture-attention");
            const canvas = picture.querySelector(".cells");
            const before = canvas.toDataURL();
            const start = performance.now();
            picture.querySelectorAll("[aria-label=head] button")[head].click();
            const time = performance.now() - start;
            if (head && canvas.toDataURL() === before) throw Error(`head ${head} looks the same`);
            return time;
        })"""
    )
    assert asked == []
    with capsys.disabled():
        print(f"\n{len(trace)} tokens: another head after {max(times):.1f} ms at most")
    drawn = cells.evaluate("canvas => canvas.toDataURL()")
    over.hover(position=place(page, 5, 2, len(trace)))
    expect_read(page, 5, 2, trace, attention(trace, 0, 7).weights)

    cells.evaluate(
        """canvas => {
            window.painted = 0;
            const pen = canvas.getContext("2d");
            pen.drawImage = new Proxy(pen.drawImage, { apply: (...all) => {
                window.painted += 1;
                return Reflect.apply(...all);
            } });
        }"""
    )
    expect(page.get_by_label("number input for head")).to_have_value("7", timeout=WAIT)
    expect(page.locator("#tab-attention .cm-content")).to_contain_text("[0, 7]", timeout=WAIT)
    row = next(row for row in table_rows(page) if row[0] == "5")
    assert float(row[4]) == pytest.approx(float(attention(trace, 0, 7).weights[5].max()), 1e-5)
    assert page.evaluate("window.painted") == 0
    assert cells.evaluate("canvas => canvas.toDataURL()") == drawn

    page.get_by_label("average").click()
    page.get_by_role("option", name=LAYER).click()
    expect(picture(page).locator(".heading")).to_have_text("layer 0, mean of its 8 heads")
    over.hover(position=place(page, 5, 2, len(trace)))
    expect_read(page, 5, 2, trace, attention(trace, average=LAYER).weights)
    head_button(page, 3).click()
    expect(picture(page).locator(".heading")).to_have_text("layer 0, head 3")


@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_a_finger_reads_and_chooses(page, trace):
    over = picture(page).locator(".over")
    over.tap(position=place(page, 5, 2, len(trace)))
    expect_read(page, 5, 2, trace, attention(trace).weights)
    expect(position(page)).to_have_value("5")
    head_button(page, 2).tap()
    over.tap(position=place(page, 6, 1, len(trace)))
    expect_read(page, 6, 1, trace, attention(trace, 0, 2).weights)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    choose_view(page, "row")
    picture(page).locator(".row-view .chip").nth(1).tap()
    expect(position(page)).to_have_value("1")
