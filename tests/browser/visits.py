"""What visitors do on the page, and what they read off it."""

import contextlib
import json
import re
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, TimeoutError, expect

from gpt2lab.inspections import INSPECTIONS
from gpt2lab.ui.document import Document, to_json

WAIT = 60_000
"""Milliseconds; a machine that is busy with other things is slow."""

# The arrow keys lead from chip to chip, and the panel shows each: what is read is what is shown,
# with the digits that stand behind the rounded numbers.
READ_STRIP = """strip => {
    const panel = document.querySelector("#transcript .details");
    const press = (chip, key) =>
        chip.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const chips = [...strip.querySelectorAll(".chip")];
    const read = chips.map((chip, index) => {
        press(chips[Math.max(0, index - 1)], index ? "ArrowRight" : "Home");
        const facts = Object.fromEntries(
            [...panel.querySelectorAll("dl div")].map(({ children: [name, value] }) =>
                [name.textContent, value.title || value.textContent]));
        const alternatives = [...panel.querySelectorAll("tr[data-id]")].map(({ dataset, cells }) =>
            [dataset.id, cells[2].dataset.value, cells[3].dataset.value]);
        return [facts, alternatives];
    });
    press(chips[0], "Escape");
    return read;
}"""


@dataclass(frozen=True)
class ShownToken:
    """What the panel says about a token; alternatives: by id, raw and processed probability."""

    id: int
    logprob: float
    raw: float
    processed: float
    rank: int
    entropy_bits: float
    alternatives: dict[int, tuple[float, float]]


def link(url: str, **parameters: object) -> str:
    """An address that opens the page with these settings and this text."""
    return f"{url}/?{urlencode(parameters, doseq=True)}"


def open_page(page: Page, address: str) -> None:
    """Open an address and wait until it is all there: what the model sees comes last."""
    page.set_default_timeout(WAIT)
    page.goto(address)
    expect(page.locator("#seen summary")).to_contain_text("tokens", timeout=WAIT)


def begin(page: Page, document: Document) -> None:
    """Begin anew on a page that is open, with the document of a file; five times as quick.

    Text, settings, tab and focus are the document's then. What no document holds stays: the values
    of the inspections' controls, what is unfolded, and the switches of this browser.
    """
    page.locator(".toast-close").evaluate_all("all => all.forEach((one) => one.click())")
    open_tab(page, "Generate")
    page.locator("#clear").click()
    expect(turns(page)).to_have_count(0, timeout=WAIT)
    expect(page.locator("#status")).to_have_text("")
    if not page.locator("#load").is_visible():
        page.get_by_role("button", name="Take it with you").click()
    # Only what the server sends back takes the place of this.
    write(page, "a document is on its way")
    page.locator("input[type=file][accept='.json']").set_input_files(
        {
            "name": "new.gpt2lab.json",
            "mimeType": "application/json",
            "buffer": json.dumps(to_json(document)).encode(),
        }
    )
    expect(page.locator("#prompt textarea")).to_have_value(document.prompt, timeout=WAIT)
    if document.prompt:
        expect(page.locator("#seen .read")).to_have_text(document.prompt, timeout=WAIT)
    expect(page.locator(".toast-body")).to_have_count(0)


def write(page: Page, text: str) -> None:
    page.locator("#prompt textarea").fill(text)


def set_number(page: Page, label: str, value: int) -> None:
    field = page.get_by_label(label, exact=False).and_(page.locator("input")).first
    field.fill(str(value))
    field.press("Tab")


def turns(page: Page) -> Locator:
    return page.locator("#transcript .turn")


def finished(page: Page, count: int) -> None:
    """Wait until there are so many turns and the model has ended the last one."""
    expect(turns(page)).to_have_count(count, timeout=WAIT)
    expect(page.locator("#status")).to_contain_text("ended because", timeout=WAIT)
    expect(turns(page).last.locator(".facts")).to_contain_text("token", timeout=WAIT)


def generate(page: Page) -> None:
    """Send what is in the box, and wait for the answer."""
    before = turns(page).count()
    typed = page.locator("#prompt textarea").input_value()
    page.locator("#generate").click()
    finished(page, before + (2 if typed or not before else 1))


def texts(page: Page) -> list[str]:
    return [one.text_content() or "" for one in page.locator("#transcript .turn p").all()]


def answers(page: Page) -> list[str]:
    return [one.text_content() or "" for one in page.locator("#transcript .model .text").all()]


def chips(page: Page, turn: int) -> Locator:
    return turns(page).nth(turn).locator(".strip .chip")


def chip_ids(page: Page, turn: int) -> list[int]:
    return [int(one.get_attribute("data-id") or "") for one in chips(page, turn).all()]


def shown_tokens(page: Page, turn: int) -> list[ShownToken]:
    """Everything that the panel says about each token of a turn."""
    shown = []
    for facts, alternatives in turns(page).nth(turn).locator(".strip").evaluate(READ_STRIP):
        shown.append(
            ShownToken(
                id=int(facts["id"]),
                logprob=float(facts["log-probability"]),
                raw=float(facts["raw probability"]),
                processed=float(facts["processed"]),
                rank=int(facts["rank"].replace(",", "")),
                entropy_bits=float(facts["entropy"]),
                alternatives={
                    int(id): (float(raw), float(processed)) for id, raw, processed in alternatives
                },
            )
        )
    return shown


def open_tab(page: Page, title: str) -> None:
    """Open the playground, or an inspection's tab inside the tab of its group."""
    inspection = next((one for one in INSPECTIONS if one.title == title), None)
    if inspection is None:
        _click_tab(page.locator("main"), title, "tab-generate")
    else:
        group = f"group-{inspection.group.lower()}"
        _click_tab(page.locator("main"), inspection.group, group)
        _click_tab(page.locator(f"#{group}"), title, f"tab-{inspection.name}")


def _click_tab(within: Locator, name: str, panel: str) -> None:
    page = within.page
    tab = within.get_by_role("tab", name=name, exact=True).filter(visible=True)
    entry = within.locator(".overflow-dropdown").get_by_text(name, exact=True)
    deadline = time.monotonic() + WAIT / 1000
    while not page.locator(f"#{panel}").is_visible():
        assert time.monotonic() < deadline, f"{name} does not open"
        # On a narrow page tabs without room are in a menu, which closes when the page moves.
        with contextlib.suppress(TimeoutError):
            if tab.count():
                tab.click(timeout=2_000)
            elif entry.is_visible():
                entry.click(timeout=2_000)
            else:
                within.locator(".overflow-menu > button:visible").first.click(timeout=2_000)
            page.locator(f"#{panel}").wait_for(timeout=500)


def picture(page: Page) -> Locator:
    """The picture in view: an image, or what the page has drawn itself."""
    return page.locator(".picture img:visible, .interactive:visible .stage:not(:empty)")


def visible_tab(page: Page) -> str:
    """The title of the tab in view."""
    return page.locator("[role=tab][aria-selected=true]:visible").last.inner_text()


def table_rows(page: Page) -> list[list[str]]:
    """The table in view: its header, then its rows."""
    grid = page.locator("[role=grid]:visible")
    expect(grid).to_be_visible(timeout=WAIT)
    rows: list[list[str]] = grid.evaluate(
        "grid => [...grid.querySelectorAll('tr, [role=row]')]"
        ".map(row => [...row.children].map(cell => cell.textContent.trim()))"
    )
    header = [re.sub(r"\s*⋮$", "", cell) for cell in rows[0]]
    return [header, *rows[1:]]


def copied_link(page: Page) -> str:
    """Press Copy link and return it."""
    field = page.locator("#link textarea")
    if not page.locator("#copy-link").is_visible():
        page.get_by_role("button", name="Take it with you").click()
    before = field.input_value() if field.is_visible() else ""
    page.locator("#copy-link").click()
    expect(field).to_have_value(re.compile(r"^http.*\?"), timeout=WAIT)
    if before:
        expect(field).not_to_have_value(before, timeout=WAIT)
    return field.input_value()


def stored(page: Page, text: str) -> None:
    """Wait until this browser has stored a document that contains this."""
    page.wait_for_function(
        "text => (localStorage.getItem('gpt2lab.document') || '').includes(text)",
        arg=text,
        timeout=WAIT,
    )
