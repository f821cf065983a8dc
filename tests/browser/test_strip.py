"""The transcript and the strips of its tokens in Chromium, in a small page of their own."""

import math

import pytest
from strip_page import HARD, PROMPT, Visitor

from gpt2lab.models import Gpt2
from gpt2lab.tokens import decode
from gpt2lab.transcript import Transcript

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import expect  # noqa: E402

pytestmark = pytest.mark.browser


def test_an_answer_streams_chip_by_chip_and_nothing_is_drawn_twice(
    visitor: Visitor, answer: Transcript, pocket: Gpt2
) -> None:
    page = visitor.page
    page.evaluate(
        """() => {
            Object.assign(window, { added: [], grown: [] });
            const turns = document.querySelector("#transcript .turns");
            const note = (changes) => {
                changes.forEach((one) => one.addedNodes.forEach((node) =>
                    node.classList?.contains("chip") && added.push(node.dataset.offset)));
                const text = turns.querySelector(".model .text")?.textContent;
                if (text) grown.push(text);
            };
            new MutationObserver(note).observe(
                turns, { childList: true, subtree: true, characterData: true });
        }"""
    )
    page.locator("#case textarea").fill("one answer")
    page.locator("#stream").click()
    expect(page.locator("#transcript .model .facts")).to_contain_text("tokens")
    passage = answer.passages[1]
    assert page.locator("#transcript .model .text").text_content() == passage.text
    assert page.locator("#transcript .you .text").text_content() == PROMPT
    ids = visitor.chips.evaluate_all("chips => chips.map((chip) => Number(chip.dataset.id))")
    assert tuple(ids) == passage.ids
    added = page.evaluate("added.map(Number)")
    # The strip itself is added with its first chips in it, which the observer does not list.
    assert added == list(range(added[0], len(passage.ids)))
    assert len(added) >= len(passage.ids) - 3
    # What may become the string that ends the answer is not shown before the answer has ended.
    held = decode(pocket, passage.ids[:-2])
    grown = page.evaluate("grown")
    assert len(set(grown)) >= len(passage.ids) - 3
    assert all(held.startswith(text) for text in grown if text != passage.text)


def test_behind_a_thousand_tokens_another_one_adds_one_chip(visitor: Visitor) -> None:
    page = visitor.page
    page.locator("#long").click()
    expect(visitor.chips).not_to_have_count(0)
    first = visitor.chips.first.element_handle()
    page.evaluate(
        """() => {
            window.changed = 0;
            const count = (changes) => changes.forEach((one) =>
                window.changed += one.addedNodes.length + one.removedNodes.length);
            new MutationObserver(count).observe(
                document.querySelector("#transcript .turns"), { childList: true, subtree: true });
            window.before = document.querySelectorAll("#transcript .model .strip .chip").length;
        }"""
    )
    expect(visitor.chips).to_have_count(1020, timeout=60_000)
    # A chip and its text, and a <br> behind line breaks: whole numbers of each, none removed.
    new = 1020 - page.evaluate("before")
    assert new <= page.evaluate("changed") <= 3 * new
    assert first.evaluate("chip => chip.isConnected")


def test_selected_text_stays_selected_while_an_answer_streams(visitor: Visitor) -> None:
    page = visitor.page
    visitor.load("one answer")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#transcript .text'))")
    page.evaluate(
        """() => {
            const facts = document.querySelector("#transcript .model .facts");
            const note = () => { window.streamed ||= facts.textContent === ""; };
            new MutationObserver(note).observe(facts, { childList: true });
        }"""
    )
    page.locator("#stream").evaluate("button => button.click()")
    page.wait_for_function("window.streamed")
    expect(page.locator("#transcript .model .facts")).to_contain_text("tokens")
    assert page.evaluate("getSelection().toString()") == PROMPT


def test_hostile_and_hard_text_stays_text_and_its_bytes_are_grouped(visitor: Visitor) -> None:
    page = visitor.page
    visitor.load("hard")
    page.locator("#transcript .you .tool", has_text="tokens").click()
    assert page.locator("#transcript .model .text").text_content() == HARD
    assert page.locator("#transcript .you .text").text_content() == HARD
    assert page.locator("#transcript img, #transcript script").count() == 0
    assert page.title() == "strip"
    groups = page.locator("#transcript .model .character")
    characters = groups.evaluate_all("all => all.map((one) => one.dataset.character)")
    assert "👩" in characters
    assert "💻" in characters
    assert "日" in characters
    woman = groups.first.locator(".chip").all_text_contents()
    assert bytes("👩", "utf-8") == b"".join(
        bytes(one, "ascii").decode("unicode_escape").encode("latin1") for one in woman
    )
    assert page.locator("#transcript .model .strip br").count() == HARD.count("\n") - 1
    assert "<|endoftext|>" in visitor.chips.all_text_contents()
    visitor.chips.nth(40).hover()
    expect(visitor.details).to_be_visible()
    assert page.locator("#transcript .you .strip .chip").count() == visitor.chips.count()


def test_a_screen_reader_hears_what_a_chip_is(visitor: Visitor, answer: Transcript) -> None:
    visitor.load("one answer")
    choice = answer.passages[1].choices[0]
    name = visitor.chips.first.get_attribute("aria-label") or ""
    shown = visitor.chips.first.text_content()
    assert name.startswith(f'token 1, "{shown}", id {choice.id}, probability ')
    assert name.endswith(f" percent, rank {choice.rank}")
    strip = visitor.page.get_by_role("listbox", name="Tokens of turn 2, pocket")
    expect(strip.get_by_role("option")).to_have_count(len(answer.passages[1].ids))


def level(values: list[float], bounds: list[float], rising: bool) -> list[int]:
    if rising:
        return [sum(value >= bound for bound in bounds) for value in values]
    return [sum(value < bound for bound in bounds) for value in values]


@pytest.mark.parametrize("visitor", [{}], ids=["new"], indirect=True)
def test_the_colours_follow_the_choice_and_are_remembered(
    visitor: Visitor, answer: Transcript
) -> None:
    page = visitor.page
    visitor.load("one answer")
    choices = answer.passages[1].choices
    shares = [0.9, 0.6, 0.3, 0.1, 0.03, 0.01, 0.001]
    raw = [math.exp(one.logprob) for one in choices]
    expected = {
        "raw": level(raw, shares, False),
        "processed": level([one.probability for one in choices], shares, False),
        "rank": level([one.rank for one in choices], [2, 3, 6, 11, 31, 101, 1001], True),
        "entropy": level([one.entropy_bits for one in choices], [0.5, 1, 2, 3, 4, 6, 8], True),
    }
    select = page.get_by_label("coloured by")
    expect(select).to_have_value("raw")
    for colouring, levels in expected.items():
        select.select_option(colouring)
        classes = visitor.chips.evaluate_all("all => all.map((one) => one.className)")
        assert [int(one.split("level-")[1][0]) for one in classes] == levels
    page.reload()
    expect(page.get_by_label("coloured by")).to_have_value("entropy")


CONTRASTS = """
chips => chips.map((chip) => {
    const light = (colour) => {
        const parts = colour.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255);
        const linear = parts.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const style = getComputedStyle(chip);
    const both = [light(style.color), light(style.backgroundColor)];
    return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), both[1]];
})"""


@pytest.mark.parametrize(
    "visitor", [{"theme": "light"}, {"theme": "dark"}], ids=["light", "dark"], indirect=True
)
def test_every_colour_can_be_read_and_the_levels_are_in_order(visitor: Visitor) -> None:
    swatches = visitor.page.locator("#transcript .swatches .chip")
    expect(swatches).to_have_count(8)
    contrasts, lights = zip(*swatches.evaluate_all(CONTRASTS), strict=True)
    assert min(contrasts) >= 4.5
    dark = visitor.page.evaluate("document.body.classList.contains('dark')")
    assert list(lights) == sorted(lights, reverse=not dark)


def test_samples_stand_side_by_side(visitor: Visitor) -> None:
    page = visitor.page
    visitor.load("three samples")
    samples = page.locator("#transcript .samples .turn")
    expect(samples).to_have_count(3)
    boxes = [one.bounding_box() for one in samples.all()]
    assert len({round(box["y"]) for box in boxes if box}) == 1
    active = page.locator("#transcript .turn[aria-current]")
    expect(active).to_have_count(1)
    assert active.evaluate("turn => [...turn.parentNode.children].indexOf(turn)") == 1
    for one in samples.all():
        expect(one.locator(".facts")).to_contain_text("log-probability")
        expect(one.locator(".facts")).to_contain_text("distinct-2")
    expect(active.get_by_role("button", name="go on with this one")).to_have_count(0)
    samples.nth(2).hover()
    samples.nth(2).get_by_role("button", name="go on with this one").click()
    visitor.triggered("input", {"passage": 3})


def test_what_is_drawn_after_samples_is_in_order(visitor: Visitor) -> None:
    visitor.load("three samples")
    visitor.load("branched")
    expect(visitor.page.locator("#transcript .samples")).to_have_count(0)
    expect(visitor.turns).to_have_count(3)
    visitor.load("three samples")
    expect(visitor.page.locator("#transcript .samples .turn")).to_have_count(3)
    first = visitor.page.locator("#transcript .turns > *").first
    expect(first.locator(".text")).to_have_text(PROMPT)


@pytest.mark.parametrize(
    ("button", "follow"), [("Keep what follows", "keep"), ("Generate from here", "generate")]
)
def test_a_turn_is_edited(visitor: Visitor, button: str, follow: str) -> None:
    page = visitor.page
    visitor.load("one answer")
    turn = page.locator("#transcript .turn.you")
    turn.hover()
    turn.get_by_role("button", name="edit").click()
    area = page.get_by_label("The text of this turn")
    expect(area).to_be_focused()
    expect(area).to_have_value(PROMPT)
    area.fill("<b>Another</b>\n text")
    page.get_by_role("button", name=button).click()
    data = {"action": "edit", "passage": 0, "text": "<b>Another</b>\n text", "follow": follow}
    visitor.triggered("submit", data)
    # If it is refused the text is still there; it goes when the transcript has changed.
    expect(area).to_be_visible()
    visitor.load("three samples")
    expect(area).to_have_count(0)


def test_editing_can_be_given_up(visitor: Visitor) -> None:
    page = visitor.page
    visitor.load("one answer")
    for give_up in ("Escape", "Cancel"):
        page.locator("#transcript .model .tool", has_text="edit").click()
        page.get_by_label("The text of this turn").fill("no")
        if give_up == "Cancel":
            page.get_by_role("button", name="Cancel").click()
        else:
            page.keyboard.press("Escape")
        expect(page.get_by_label("The text of this turn")).to_have_count(0)
        expect(page.locator("#transcript .model .text")).to_be_visible()
    assert page.locator("#event textarea").input_value() == ""


@pytest.mark.parametrize("visitor", [{}], ids=["new"], indirect=True)
def test_the_tokens_of_a_prompt_are_shown_on_demand_and_their_numbers_asked_for(
    visitor: Visitor,
) -> None:
    page = visitor.page
    visitor.load("one answer")
    chips = page.locator("#transcript .you .chip")
    expect(chips).to_have_count(0)
    button = page.locator("#transcript .you .tool", has_text="tokens")
    button.click()
    expect(chips).to_have_count(len(PROMPT.split()))
    expect(chips.first).to_have_class("chip unknown")
    visitor.triggered("submit", {"action": "numbers", "passage": 0})
    expect(button).to_have_attribute("aria-expanded", "true")
    button.click()
    expect(chips.first).not_to_be_visible()


def test_the_strips_can_be_switched_off(visitor: Visitor) -> None:
    visitor.load("one answer")
    switch = visitor.page.get_by_label("tokens", exact=True)
    switch.uncheck()
    expect(visitor.chips.first).not_to_be_visible()
    visitor.load("three samples")
    expect(visitor.chips).to_have_count(0)
    switch.check()
    expect(visitor.chips).not_to_have_count(0)
    expect(visitor.chips.first).to_be_visible()


def test_the_branches_are_a_tree_to_click_and_walk(visitor: Visitor) -> None:
    page = visitor.page
    visitor.load("branched")
    items = page.get_by_role("treeitem")
    expect(items).to_have_count(3)
    expect(items.nth(2)).to_contain_text("behind token 4")
    expect(items.nth(2)).to_have_attribute("aria-current", "true")
    expect(items.nth(2)).to_have_attribute("aria-level", "2")
    items.nth(1).click()
    visitor.triggered("branch", {"passage": 1})
    items.nth(2).focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    visitor.triggered("branch", {"passage": 0})
    visitor.load("one answer")
    expect(items).to_have_count(0)
    expect(page.locator("#branches [role=tree]")).not_to_be_visible()


def test_the_transcript_scrolls_with_the_answer_only_for_who_is_at_its_end(
    visitor: Visitor,
) -> None:
    page = visitor.page
    page.locator("#long").click()
    expect(visitor.chips).to_have_count(1020, timeout=60_000)
    log = page.locator("#transcript .turns")
    left = "log => log.scrollHeight - log.clientHeight - log.scrollTop"
    assert log.evaluate(left) < 60
    visitor.load("one answer")
    page.locator("#long").click()
    expect(visitor.chips).not_to_have_count(len(PROMPT))
    page.wait_for_function("document.querySelectorAll('#transcript .chip').length > 1000")
    log.evaluate("log => { log.scrollTop = 100; }")
    expect(visitor.chips).to_have_count(1020, timeout=60_000)
    assert log.evaluate("log => log.scrollTop") == 100
