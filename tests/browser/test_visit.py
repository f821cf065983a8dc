"""The page as a visitor meets it: type, generate, stop, look inside."""

import re
from itertools import islice

import pytest
from playwright.sync_api import Locator, Page, expect
from visits import (
    WAIT,
    answers,
    chips,
    finished,
    generate,
    open_page,
    open_tab,
    picture,
    set_number,
    texts,
    turns,
    write,
)

from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text
from gpt2lab.generation import generate as run
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.tokens import decode, encode

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
    " ${document.title='hacked'} {{7*7}} **bold** $x_1$ 😀 مرحبا"
)


def test_it_says_who_speaks_and_generates_what_the_library_generates_and_goes_on(
    watched, pocket: Gpt2
) -> None:
    page = watched.page
    who = page.locator("#who")
    expect(who).to_contain_text("pocket")
    expect(who).to_contain_text("trained for this project; not OpenAI's GPT-2")
    expect(who).to_contain_text("float32 · cpu")
    write(page, "The king said to the queen")
    generate(page)
    first = continue_text(pocket, "The king said to the queen", Decoding())[0]
    assert texts(page) == ["The king said to the queen", first.text]
    assert page.locator("#prompt textarea").input_value() == ""
    write(page, " Then the queen said")
    generate(page)
    ids = [*encode(pocket, "The king said to the queen"), *first.ids]
    ids += encode(pocket, " Then the queen said")
    second = continue_text(pocket, ids, Decoding())[0]
    assert answers(page) == [first.text, second.text]
    # Nothing typed: it just goes on.
    generate(page)
    third = continue_text(pocket, [*ids, *second.ids], Decoding())[0]
    assert answers(page) == [first.text, second.text, third.text]


def test_it_streams_and_stops_and_keeps_what_is_there(regular, pocket: Gpt2) -> None:
    page = regular("Once upon a time", max_new_tokens=480, min_new_tokens=480)
    page.locator("#generate").click()
    text = page.locator("#transcript .model .text")
    expect(text).to_contain_text(re.compile(r"\w+ \w+"), timeout=WAIT)
    first = text.text_content() or ""
    page.wait_for_function(
        "before => document.querySelector('#transcript .model .text').textContent.length > before",
        arg=len(first),
    )
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("stopped, what is there stays")
    stopped = text.text_content() or ""
    # Another token would come every few hundredths of a second, and before the next look ahead.
    write(page, " and then")
    expect(page.locator("#seen .read")).to_have_text(re.compile(r"and then\s*$"))
    page.wait_for_timeout(200)
    assert (text.text_content() or "") == stopped
    assert stopped.startswith(first)
    steps = islice(
        run(pocket, "Once upon a time", Decoding(max_new_tokens=480, min_new_tokens=480)),
        chips(page, 1).count(),
    )
    ids = [step.id for step in steps]
    assert len(ids) < 480
    assert decode(pocket, ids) == stopped


@pytest.mark.parametrize("newcomer", [390], indirect=True)
def test_every_tab_draws_its_picture_when_it_is_opened_and_hostile_text_stays_text(
    watched,
) -> None:
    """On a phone, in which tabs are in menus, and then each on a wide screen."""
    page = watched.page
    write(page, HOSTILE)
    generate(page)
    assert page.locator("#transcript .you .text").text_content() == HOSTILE
    page.locator("#clear").click()
    expect(turns(page)).to_have_count(0)
    write(page, HOSTILE)
    failures = []
    for inspection in INSPECTIONS:
        try:
            open_tab(page, inspection.title)
            assert_drawn(page, HOSTILE)
            assert page.title() == "gpt2lab"
            for width in (390, 1300):
                page.set_viewport_size({"width": width, "height": 1000})
                expect(picture(page)).to_be_visible()
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert picture(page).bounding_box()["x"] >= 0
            page.set_viewport_size({"width": 390, "height": 1000})
        except AssertionError as error:
            failures.append(f"{inspection.name}: {error}")
    assert not failures, "\n".join(failures)
    assert page.locator("#transcript img, #transcript script").count() == 0
    assert page.locator(".strip-above img, .strip-above script").count() == 0


def assert_drawn(page: Page, text: str) -> None:
    """The tab in view has a picture, its code, and formulas in the idea behind it."""
    expect(picture(page)).to_be_visible(timeout=WAIT)
    width = "one => one.naturalWidth || one.clientWidth"
    assert picture(page).evaluate(width) > 300
    code = page.locator(".cm-content:visible")
    expect(code).to_contain_text("from_pretrained('gpt2lab/pocket'")
    if "ids = tokenizer(" in (code.text_content() or ""):
        expect(code).to_contain_text(text[-14:])
    page.get_by_role("button", name="The idea").locator("visible=true").click()
    expect(page.locator(".idea:visible .katex").first).to_be_visible()


def corner(image: Locator) -> int:
    """How much red a picture has near its upper left corner, of 255."""
    return image.evaluate(
        """image => {
            const pen = document.createElement("canvas").getContext("2d");
            pen.drawImage(image, 0, 0);
            return pen.getImageData(2, 2, 1, 1).data[0];
        }"""
    )


def test_a_tab_follows_its_controls_and_the_prompt(watched) -> None:
    page = watched.page
    # One with a picture of matplotlib's, which turns dark with the page.
    open_tab(page, "Weight tying")
    image = page.locator(".picture img:visible")
    expect(image).to_be_visible(timeout=WAIT)
    assert corner(image) > 240
    before = image.get_attribute("src")
    page.evaluate("document.body.classList.toggle('dark')")
    expect(image).not_to_have_attribute("src", before, timeout=WAIT)
    assert corner(image) < 60
    before = image.get_attribute("src")
    set_number(page, "noise", 1)
    expect(image).not_to_have_attribute("src", before, timeout=WAIT)
    page.evaluate("document.body.classList.toggle('dark')")
    open_tab(page, "Attention")
    expect(picture(page)).to_be_visible(timeout=WAIT)
    set_number(page, "head", 2)
    code = page.locator(".cm-content:visible")
    expect(code).to_contain_text("attentions[0][0, 2]", timeout=WAIT)
    layer = page.get_by_role("slider", name="layer")
    layer.press("ArrowRight")
    expect(code).to_contain_text("attentions[1][0, 2]", timeout=WAIT)
    page.get_by_role("tabpanel").locator(".reset-button:visible").first.click()
    expect(code).to_contain_text("attentions[0][0, 2]", timeout=WAIT)
    write(page, "Something else")
    page.locator("#prompt textarea").blur()
    expect(page.locator(".cm-content:visible")).to_contain_text("Something else", timeout=WAIT)


def test_the_tabs_look_into_all_that_the_model_reads(regular, pocket: Gpt2) -> None:
    page = regular("The king", max_new_tokens=5)
    generate(page)
    write(page, " and the queen")
    open_tab(page, "Attention")
    prompt, further = len(encode(pocket, "The king")), len(encode(pocket, " and the queen"))
    table = page.locator("[role=grid]:visible")
    rows = prompt + 5 + further
    expect(table).to_have_attribute("aria-rowcount", str(rows + 1), timeout=WAIT)
    write(page, "")
    page.locator("#prompt textarea").blur()
    expect(table).to_have_attribute("aria-rowcount", str(prompt + 5 + 1), timeout=WAIT)
    open_tab(page, "Generate")
    page.locator("#undo").click()
    expect(page.locator("#prompt textarea")).to_have_value("The king", timeout=WAIT)
    expect(turns(page)).to_have_count(0)
    open_tab(page, "Attention")
    expect(table).to_have_attribute("aria-rowcount", str(prompt + 1), timeout=WAIT)


def test_pictures_and_tables_can_be_taken_along(regular) -> None:
    page = regular()
    open_tab(page, "Next token")
    expect(picture(page)).to_be_visible(timeout=WAIT)
    for kind, begins in {"PNG": b"\x89PNG", "SVG": b"<?xml", "CSV": b"tok"}.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=f"{kind} ↓", exact=True).locator("visible=true").click()
        assert download.value.suggested_filename == f"next_token.{kind.lower()}"
        assert download.value.path().read_bytes().startswith(begins)


def test_a_page_that_is_dark_from_the_beginning_has_dark_figures(browser, url: str) -> None:
    page = browser.new_page()
    open_page(page, f"{url}/?__theme=dark")
    open_tab(page, "Weight tying")
    image = page.locator(".picture img:visible")
    expect(image).to_be_visible(timeout=WAIT)
    assert corner(image) < 60
    page.close()


def test_an_empty_prompt_is_continued_and_explained(regular) -> None:
    page = regular("")
    open_tab(page, "Attention")
    expect(page.locator(".block.note:visible")).to_contain_text("empty", timeout=WAIT)
    open_tab(page, "Generate")
    generate(page)
    expect(page.locator("#transcript .note")).to_contain_text("<|endoftext|>")
    assert len(answers(page)) == 1


def test_stop_claims_nothing_where_nothing_was_stopped_and_clear_begins_anew(regular) -> None:
    page = regular()
    page.evaluate(
        """() => {
            window.said = [];
            const status = document.getElementById("status");
            new MutationObserver(() => said.push(status.textContent)).observe(
                status, { childList: true, subtree: true, characterData: true });
        }"""
    )
    page.locator("#stop").click()
    generate(page)
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("ended because")
    page.locator("#clear").click()
    expect(turns(page)).to_have_count(0)
    expect(page.locator("#status")).to_have_text("")
    expect(page.locator("#seen summary")).to_contain_text(": 1 of", timeout=WAIT)
    generate(page)
    expect(turns(page)).to_have_count(2)
    said = page.evaluate("said")
    assert any("ended because" in one for one in said)
    assert not [one for one in said if "stopped" in one]


def test_text_that_is_selected_stays_so_while_more_is_written(regular) -> None:
    page = regular()
    generate(page)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#transcript .text'))")
    before = page.evaluate("getSelection().toString()")
    page.locator("#generate").evaluate("button => button.click()")
    finished(page, 3)
    assert before
    assert page.evaluate("getSelection().toString()") == before


def test_beam_search_works_when_it_is_chosen(regular) -> None:
    page = regular()
    set_number(page, "max_new_tokens", 6)
    page.get_by_label("strategy").click()
    page.get_by_role("option", name="beam").click()
    generate(page)
    expect(page.locator("#status")).to_contain_text("pocket: 6 tokens")


def test_the_code_is_that_of_the_answer_even_if_the_prompt_has_changed(regular) -> None:
    page = regular("The king")
    page.locator("#generate").click()
    expect(turns(page).first).to_contain_text("The king", timeout=WAIT)
    write(page, "Another text")
    finished(page, 2)
    page.get_by_role("button", name="Run this yourself").locator("visible=true").click()
    expect(page.locator(".cm-content:visible")).to_contain_text("tokenizer('The king'")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\0b", "null character"),
        ("x" * 2**20, "1,048,576 characters"),
    ],
    ids=["null character", "a megabyte"],
)
def test_what_cannot_be_read_is_refused_and_kept(regular, text: str, sentence: str) -> None:
    page = regular()
    write(page, text)
    page.locator("#generate").click()
    expect(page.locator(".toast-body").first).to_contain_text(sentence, timeout=WAIT)
    assert page.locator("#prompt textarea").input_value() == text
    expect(page.locator("#seen summary")).to_contain_text(sentence, timeout=WAIT)
    open_tab(page, "Attention")
    expect(page.locator(".refusal textarea:visible")).to_have_value(
        re.compile(re.escape(sentence)), timeout=WAIT
    )


def test_a_setting_out_of_bounds_is_refused_by_name(regular) -> None:
    page = regular()
    set_number(page, "top_k", -3)
    page.locator("#generate").click()
    expect(page.locator(".toast-body").first).to_contain_text("top_k is -3", timeout=WAIT)
