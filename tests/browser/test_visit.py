"""The page as a visitor meets it: type, generate, stop, look inside."""

import re

import pytest
from playwright.sync_api import expect
from visits import (
    WAIT,
    answers,
    finished,
    generate,
    open_page,
    open_tab,
    set_number,
    texts,
    turns,
    write,
)

from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.tokens import encode

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
    " ${document.title='hacked'} {{7*7}} **bold** $x_1$ 😀 مرحبا"
)


def test_it_says_who_speaks_and_that_it_is_not_gpt2(watched) -> None:
    who = watched.page.locator("#who")
    expect(who).to_contain_text("pocket")
    expect(who).to_contain_text("trained for this project; not OpenAI's GPT-2")
    expect(who).to_contain_text("float32 · cpu")


def test_it_generates_what_the_library_generates_and_goes_on(watched, pocket: Gpt2) -> None:
    write(watched.page, "The king said to the queen")
    generate(watched.page)
    first = continue_text(pocket, "The king said to the queen", Decoding())[0]
    assert texts(watched.page) == ["The king said to the queen", first.text]
    assert watched.page.locator("#prompt textarea").input_value() == ""
    write(watched.page, " Then the queen said")
    generate(watched.page)
    ids = [*encode(pocket, "The king said to the queen"), *first.ids]
    ids += encode(pocket, " Then the queen said")
    second = continue_text(pocket, ids, Decoding())[0]
    assert answers(watched.page) == [first.text, second.text]
    # Nothing typed: it just goes on.
    generate(watched.page)
    third = continue_text(pocket, [*ids, *second.ids], Decoding())[0]
    assert answers(watched.page) == [first.text, second.text, third.text]


def test_it_streams_and_stops_and_keeps_what_is_there(watched, pocket: Gpt2) -> None:
    page = watched.page
    set_number(page, "max_new_tokens", 480)
    set_number(page, "min_new_tokens", 480)
    write(page, "Once upon a time")
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
    page.wait_for_timeout(500)
    stopped = text.text_content() or ""
    page.wait_for_timeout(1000)
    assert (text.text_content() or "") == stopped
    assert stopped.startswith(first)
    decoding = Decoding(max_new_tokens=480, min_new_tokens=480)
    whole = continue_text(pocket, "Once upon a time", decoding)[0].text
    assert whole.startswith(stopped)
    assert len(stopped) < len(whole)


@pytest.mark.parametrize("inspection", INSPECTIONS, ids=lambda one: one.name)
def test_every_tab_draws_its_picture_when_it_is_opened(watched, inspection) -> None:
    page = watched.page
    write(page, "The cat sat on the mat because the cat")
    open_tab(page, inspection.title)
    picture = page.locator(".picture img:visible")
    expect(picture).to_be_visible(timeout=WAIT)
    assert picture.evaluate("image => image.naturalWidth") > 300
    code = page.locator(".cm-content:visible")
    expect(code).to_contain_text("from_pretrained('gpt2lab/pocket'")
    if "ids = tokenizer(" in (code.text_content() or ""):
        expect(code).to_contain_text("The cat sat on the mat because the cat")
    page.get_by_role("button", name="The idea").locator("visible=true").click()
    expect(page.locator(".idea:visible .katex").first).to_be_visible()


def test_a_tab_follows_its_controls_and_the_prompt(watched) -> None:
    page = watched.page
    open_tab(page, "Attention")
    picture = page.locator(".picture img:visible")
    expect(picture).to_be_visible(timeout=WAIT)
    before = picture.get_attribute("src")
    set_number(page, "head", 2)
    expect(picture).not_to_have_attribute("src", before, timeout=WAIT)
    code = page.locator(".cm-content:visible")
    expect(code).to_contain_text("attentions[0][0, 2]")
    layer = page.get_by_role("slider", name="layer")
    layer.press("ArrowRight")
    expect(code).to_contain_text("attentions[1][0, 2]", timeout=WAIT)
    page.get_by_role("tabpanel").locator(".reset-button:visible").first.click()
    expect(code).to_contain_text("attentions[0][0, 2]", timeout=WAIT)
    write(page, "Something else")
    page.locator("#prompt textarea").blur()
    expect(page.locator(".cm-content:visible")).to_contain_text("Something else", timeout=WAIT)


def test_the_tabs_look_into_all_that_the_model_reads(watched, pocket: Gpt2) -> None:
    page = watched.page
    write(page, "The king")
    set_number(page, "max_new_tokens", 5)
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


@pytest.mark.parametrize(
    ("kind", "begins"), [("PNG", b"\x89PNG"), ("SVG", b"<?xml"), ("CSV", b"tok")]
)
def test_pictures_and_tables_can_be_taken_along(watched, kind: str, begins: bytes) -> None:
    page = watched.page
    open_tab(page, "Next token")
    expect(page.locator(".picture img:visible")).to_be_visible(timeout=WAIT)
    with page.expect_download() as download:
        page.get_by_role("button", name=f"{kind} ↓").locator("visible=true").click()
    assert download.value.suggested_filename == f"next_token.{kind.lower()}"
    assert download.value.path().read_bytes().startswith(begins)


def test_the_figure_follows_the_dark_mode(browser, url: str) -> None:
    corners = []
    for theme in ("light", "dark"):
        page = browser.new_page()
        open_page(page, f"{url}/?__theme={theme}")
        open_tab(page, "Weight tying")
        picture = page.locator(".picture img:visible")
        expect(picture).to_be_visible(timeout=WAIT)
        corners.append(
            picture.evaluate(
                """image => {
                    const canvas = document.createElement("canvas");
                    const pen = canvas.getContext("2d");
                    pen.drawImage(image, 0, 0);
                    return pen.getImageData(2, 2, 1, 1).data[0];
                }"""
            )
        )
        page.close()
    light, dark = corners
    assert light > 240
    assert dark < 60


def test_the_picture_follows_when_the_page_turns_dark(watched) -> None:
    page = watched.page
    open_tab(page, "Weight tying")
    picture = page.locator(".picture img:visible")
    expect(picture).to_be_visible(timeout=WAIT)
    before = picture.get_attribute("src")
    page.evaluate("document.body.classList.toggle('dark')")
    expect(picture).not_to_have_attribute("src", before, timeout=WAIT)


def test_hostile_text_stays_text(watched) -> None:
    page = watched.page
    write(page, HOSTILE)
    generate(page)
    assert page.locator("#transcript .you .text").text_content() == HOSTILE
    for inspection in INSPECTIONS:
        open_tab(page, inspection.title)
        expect(page.locator(".picture img:visible")).to_be_visible(timeout=WAIT)
    assert page.title() == "gpt2lab"
    assert page.locator("#transcript img, #transcript script").count() == 0


def test_an_empty_prompt_is_continued_and_explained(watched) -> None:
    page = watched.page
    write(page, "")
    open_tab(page, "Attention")
    expect(page.locator(".block.note:visible")).to_contain_text("empty", timeout=WAIT)
    open_tab(page, "Generate")
    generate(page)
    expect(page.locator("#transcript .note")).to_contain_text("<|endoftext|>")
    assert len(answers(page)) == 1


def test_stop_claims_nothing_where_nothing_was_stopped(watched) -> None:
    page = watched.page
    page.locator("#stop").click()
    page.wait_for_timeout(1000)
    assert (page.locator("#status").text_content() or "").strip() == ""
    expect(turns(page)).to_have_count(0)
    generate(page)
    page.locator("#stop").click()
    page.wait_for_timeout(1000)
    expect(page.locator("#status")).to_contain_text("ended because")
    expect(page.locator("#status")).not_to_contain_text("stopped")


def test_clear_begins_anew(watched) -> None:
    page = watched.page
    generate(page)
    page.locator("#clear").click()
    expect(turns(page)).to_have_count(0)
    expect(page.locator("#status")).to_have_text("")
    expect(page.locator("#seen summary")).to_contain_text(": 1 of", timeout=WAIT)
    generate(page)
    expect(turns(page)).to_have_count(2)


def test_text_that_is_selected_stays_so_while_more_is_written(watched) -> None:
    page = watched.page
    generate(page)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#transcript .text'))")
    before = page.evaluate("getSelection().toString()")
    page.locator("#generate").evaluate("button => button.click()")
    finished(page, 3)
    assert before
    assert page.evaluate("getSelection().toString()") == before


def test_beam_search_works_when_it_is_chosen(watched) -> None:
    page = watched.page
    set_number(page, "max_new_tokens", 6)
    page.get_by_label("strategy").click()
    page.get_by_role("option", name="beam").click()
    generate(page)
    expect(page.locator("#status")).to_contain_text("pocket: 6 tokens")


def test_the_code_is_that_of_the_answer_even_if_the_prompt_has_changed(watched) -> None:
    page = watched.page
    write(page, "The king")
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
def test_what_cannot_be_read_is_refused_and_kept(watched, text: str, sentence: str) -> None:
    page = watched.page
    write(page, text)
    page.locator("#generate").click()
    expect(page.locator(".toast-body").first).to_contain_text(sentence, timeout=WAIT)
    assert page.locator("#prompt textarea").input_value() == text
    expect(page.locator("#seen summary")).to_contain_text(sentence, timeout=WAIT)
    open_tab(page, "Attention")
    expect(page.locator(".refusal textarea:visible")).to_have_value(
        re.compile(re.escape(sentence)), timeout=WAIT
    )


def test_a_setting_out_of_bounds_is_refused_by_name(watched) -> None:
    set_number(watched.page, "top_k", -3)
    watched.page.locator("#generate").click()
    expect(watched.page.locator(".toast-body").first).to_contain_text("top_k is -3", timeout=WAIT)


@pytest.mark.parametrize("watched", [390], indirect=True)
def test_it_can_be_used_on_a_phone(watched) -> None:
    page = watched.page
    generate(page)
    assert answers(page)[0]
    open_tab(page, "Attention")
    expect(page.locator(".picture img:visible")).to_be_visible(timeout=WAIT)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    open_tab(page, "Next token")
    expect(page.locator(".picture img:visible")).to_be_visible(timeout=WAIT)
    left = page.locator(".picture img:visible").bounding_box()["x"]
    assert left >= page.locator(".picture:visible").first.bounding_box()["x"]
