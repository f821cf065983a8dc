"""The playground as a writer uses it: every round is checked against the library behind it."""

import re
from collections.abc import Callable, Iterator
from itertools import count

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect
from transformers import GPT2LMHeadModel, set_seed
from visits import (
    WAIT,
    answers,
    chip_ids,
    chips,
    copied_link,
    finished,
    generate,
    link,
    open_page,
    open_tab,
    picture,
    set_number,
    shown_tokens,
    stored,
    table_rows,
    texts,
    turns,
    visible_tab,
    write,
)

from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text
from gpt2lab.models import Gpt2
from gpt2lab.step import Continuation
from gpt2lab.tokens import decode, encode

pytestmark = pytest.mark.browser

PROMPT = "Once upon a time there was a king"
TOLERANCE = 1e-5
HARD = {
    "emoji": "The sign said 👩🏽‍💻 and 🙂🙃 then",
    "Arabic": "He wrote مرحبا بالعالم and",
    "code": "def area(width, height):\n    if width < 0:\n\treturn None\n    return (width *",
    "runs of blanks": "a  b   c          d\n\n\n   e \t\t f",
}
Visit = Begin = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    """Opens the page for another visitor: an address, or the text and the settings of a link."""
    contexts = []

    def open_for(address: str = "", width: int = 1300, **parameters: object) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 1000}))
        page = contexts[-1].new_page()
        open_page(page, address or link(url, **parameters))
        return page

    yield open_for
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def reference(pocket: Gpt2) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(pocket.path, dtype=torch.float32).eval()


def only(continuations: list[Continuation]) -> Continuation:
    (one,) = continuations
    return one


def test_all_displayed_probabilities_are_those_of_transformers(
    regular: Begin, pocket: Gpt2, reference: GPT2LMHeadModel
) -> None:
    settings = {"temperature": 0.8, "top_k": 20, "repetition_penalty": 1.3, "seed": 5}
    page = regular(max_new_tokens=12, **settings)
    arguments = Decoding(max_new_tokens=12, **settings).generate_arguments()
    for kind, prompt in HARD.items():
        page.locator("#clear").click()
        expect(turns(page)).to_have_count(0, timeout=WAIT)
        write(page, prompt)
        generate(page)
        assert texts(page)[0] == prompt
        ids = torch.tensor([encode(pocket, prompt)])
        set_seed(5)
        output = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            output_logits=True,
            output_scores=True,
            return_dict_in_generate=True,
            **arguments,
        )
        tokens = shown_tokens(page, 1)
        assert [one.id for one in tokens] == output.sequences[0, ids.shape[1] :].tolist(), kind
        for step, token in enumerate(tokens):
            raw = output.logits[step][0].softmax(-1)
            processed = output.scores[step][0].softmax(-1)
            assert token.raw == pytest.approx(float(raw[token.id]), abs=TOLERANCE)
            assert token.processed == pytest.approx(float(processed[token.id]), abs=TOLERANCE)
            # A logit of a hundred has steps of 1e-5 in float32.
            assert token.logprob == pytest.approx(float(raw[token.id].log()), abs=1e-4)
            assert token.rank == int((raw > raw[token.id]).sum()) + 1
            possible = processed.topk(10).indices[processed.topk(10).values > 0]
            best = {*raw.topk(10).indices.tolist(), *possible.tolist()}
            assert {*token.alternatives, token.id} == best | {token.id}
            for id, (shown_raw, shown_processed) in token.alternatives.items():
                assert shown_raw == pytest.approx(float(raw[id]), abs=TOLERANCE)
                assert shown_processed == pytest.approx(float(processed[id]), abs=TOLERANCE)


def test_retry_gives_the_same_text_and_a_new_seed_gives_another(
    regular: Begin, pocket: Gpt2
) -> None:
    page = regular(PROMPT, seed=7, max_new_tokens=15)
    generate(page)
    first = only(continue_text(pocket, PROMPT, Decoding(seed=7, max_new_tokens=15)))
    assert answers(page) == [first.text]
    page.locator("#retry").click()
    expect(page.locator("#branches .branch")).to_have_count(3, timeout=WAIT)
    finished(page, 2)
    assert answers(page) == [first.text]
    seed = page.get_by_label("seed").and_(page.locator("input"))
    expect(seed).to_have_value("7")
    page.locator("#retry-new").click()
    expect(page.locator("#branches .branch")).to_have_count(4, timeout=WAIT)
    finished(page, 2)
    expect(seed).not_to_have_value("7")
    drawn = Decoding(seed=int(seed.input_value()), max_new_tokens=15)
    assert answers(page) == [only(continue_text(pocket, PROMPT, drawn)).text]
    assert answers(page) != [first.text]


def test_an_edited_turn_keeps_what_follows_or_is_continued_anew(
    regular: Begin, pocket: Gpt2, reference: GPT2LMHeadModel
) -> None:
    page = regular(PROMPT, max_new_tokens=8, strategy="greedy")
    generate(page)
    write(page, " Then came the queen")
    generate(page)
    before = texts(page)
    turns(page).nth(1).get_by_role("button", name="edit").click()
    page.get_by_label("The text of this turn").fill(" who was very old.")
    page.get_by_role("button", name="Keep what follows").click()
    expect(turns(page).nth(1).locator("p")).to_have_text(" who was very old.", timeout=WAIT)
    assert texts(page) == [before[0], " who was very old.", *before[2:]]
    # Nobody has computed the numbers behind the new text yet; they are asked for, not guessed.
    turns(page).nth(3).get_by_role("button", name="numbers").click()
    expect(chips(page, 3).first).not_to_have_class(re.compile("unknown"), timeout=WAIT)
    written = [id for turn in texts(page)[:3] for id in encode(pocket, turn)]
    copied = chip_ids(page, 3)
    with torch.no_grad():
        logits = reference(torch.tensor([[*written, *copied]])).logits[0]
    for offset, token in enumerate(shown_tokens(page, 3)):
        raw = logits[len(written) + offset - 1].softmax(-1)
        assert token.raw == pytest.approx(float(raw[copied[offset]]), abs=TOLERANCE)

    turns(page).nth(0).get_by_role("button", name="edit").click()
    page.get_by_label("The text of this turn").fill("The cat and the dog")
    page.get_by_role("button", name="Generate from here").click()
    expect(turns(page).nth(0).locator("p")).to_have_text("The cat and the dog", timeout=WAIT)
    finished(page, 2)
    greedy = Decoding(strategy="greedy", max_new_tokens=8)
    expected = only(continue_text(pocket, "The cat and the dog", greedy)).text
    assert texts(page) == ["The cat and the dog", expected]


def test_an_alternative_begins_a_branch_and_one_can_go_back(regular: Begin, pocket: Gpt2) -> None:
    decoding = Decoding(max_new_tokens=12, seed=3)
    page = regular(PROMPT, max_new_tokens=12, seed=3)
    generate(page)
    old = chip_ids(page, 1)
    chips(page, 1).nth(4).click()
    listed = page.locator("#transcript .details tr[data-id]:not(.chosen)")
    chosen = int(listed.nth(2).get_attribute("data-id"))
    listed.nth(2).get_by_role("button").click()
    finished(page, 3)
    assert chip_ids(page, 1) == old[:4]
    forced = [*encode(pocket, PROMPT), *old[:4], chosen]
    expected = only(continue_text(pocket, forced, decoding))
    assert chip_ids(page, 2) == [chosen, *expected.ids]
    expect(page.locator("#branches .branch")).to_have_count(3)
    expect(page.locator("#branches .branch[aria-current]")).to_contain_text("behind token 4")

    page.locator("#branches .branch").nth(1).click()
    expect(turns(page)).to_have_count(2, timeout=WAIT)
    assert chip_ids(page, 1) == old
    page.locator("#branches .branch").nth(2).click()
    expect(turns(page)).to_have_count(3, timeout=WAIT)
    assert chip_ids(page, 2) == [chosen, *expected.ids]


def test_the_focus_is_carried_into_the_tabs(regular: Begin, pocket: Gpt2) -> None:
    page = regular(PROMPT, max_new_tokens=10, temperature=0.7, top_k=10)
    generate(page)
    token = shown_tokens(page, 1)[6]
    chips(page, 1).nth(6).click()
    expect(chips(page, 1).nth(6)).to_have_attribute("aria-current", "true")
    position = len(encode(pocket, PROMPT)) + 6 - 1
    open_tab(page, "Next token")
    expect(page.get_by_label("position").and_(page.locator("input:visible"))).to_have_value(
        str(position), timeout=WAIT
    )
    note = page.locator(".block.note:visible")
    where = page.locator(".strip-above:visible .where")
    expect(where).to_contain_text(f"position {position} of", timeout=WAIT)
    expect(picture(page)).to_be_visible(timeout=WAIT)
    listed = page.locator("[role=grid]:visible")
    expect(listed).to_contain_text(str(token.id), timeout=WAIT)
    header, *rows = table_rows(page)
    (row,) = [dict(zip(header, row, strict=True)) for row in rows if row[1] == str(token.id)]
    assert float(row["p after logits"]) == pytest.approx(token.raw, abs=TOLERANCE)
    assert float(row[header[-1]]) == pytest.approx(token.processed, abs=TOLERANCE)
    assert int(row["rank"]) == token.rank

    open_tab(page, "Attention")
    expect(note).to_contain_text("Picked: token 7 of what pocket wrote", timeout=WAIT)
    expect(where).to_contain_text(f"position {position} of")
    open_tab(page, "Logit lens")
    expect(page.get_by_label("position").and_(page.locator("input:visible"))).to_have_value(
        str(position)
    )


def test_samples_stand_side_by_side_and_one_goes_on_with_any(regular: Begin, pocket: Gpt2) -> None:
    settings = {"num_return_sequences": 3, "max_new_tokens": 10, "seed": 11}
    page = regular(PROMPT, **settings)
    page.locator("#generate").click()
    finished(page, 4)
    samples = page.locator("#transcript .samples .sample")
    expect(samples).to_have_count(3)
    expected = continue_text(pocket, PROMPT, Decoding(**settings))
    assert answers(page) == [one.text for one in expected]
    tops = [one.bounding_box()["y"] for one in samples.all()]
    assert max(tops) - min(tops) < 2
    for sample, one in zip(samples.all(), expected, strict=True):
        total, mean = sum(one.logprobs), sum(one.logprobs) / len(one.logprobs)
        said = f"log-probability {total:.1f}, {mean:.2f} a token".replace("-", "−")
        expect(sample.locator(".facts")).to_contain_text(said.replace("log−", "log-"))
        share = len(set(one.ids)) / len(one.ids)
        expect(sample.locator(".facts")).to_contain_text(f"distinct-1 {share:.2f}")
    expect(samples.nth(0)).to_have_attribute("aria-current", "true")

    samples.nth(1).get_by_role("button", name="go on with this one").click()
    expect(samples.nth(1)).to_have_attribute("aria-current", "true", timeout=WAIT)
    page.locator("#continue").click()
    finished(page, 5)
    further = continue_text(
        pocket, [*encode(pocket, PROMPT), *expected[1].ids], Decoding(**settings)
    )
    assert texts(page)[1] == expected[1].text
    assert texts(page)[2:] == [one.text for one in further]


def test_beam_search_shows_its_beams(
    regular: Begin, pocket: Gpt2, reference: GPT2LMHeadModel
) -> None:
    decoding = Decoding(strategy="beam", num_beams=3, max_new_tokens=5)
    page = regular(PROMPT, strategy="beam", num_beams=3, max_new_tokens=5)
    panel = page.get_by_role("button", name="The beams, step by step")
    expect(panel).not_to_be_visible()
    generate(page)
    ids = torch.tensor([encode(pocket, PROMPT)])
    output = reference.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        output_scores=True,
        return_dict_in_generate=True,
        **decoding.generate_arguments(),
    )
    assert chip_ids(page, 1) == output.sequences[0, ids.shape[1] :].tolist()
    panel.click()
    expect(page.locator(".picture.beams img")).to_be_visible(timeout=WAIT)
    header, *rows = table_rows(page)
    lines = [dict(zip(header, row, strict=True)) for row in rows]
    finals = [float(line["final score"]) for line in lines if line["returned as"] == "1"]
    assert finals[:1] == [pytest.approx(float(output.sequences_scores[0]), abs=TOLERANCE)]


def test_a_link_gives_another_visitor_the_same_tokens_tab_and_focus(
    regular: Begin, visit: Visit
) -> None:
    page = regular(PROMPT, seed=12, temperature=1.2, top_k=0, max_new_tokens=14)
    generate(page)
    first = chip_ids(page, 1)
    address = copied_link(page)
    other = visit(address)
    finished(other, 2)
    assert chip_ids(other, 1) == first
    expect(other.get_by_label("seed").and_(other.locator("input"))).to_have_value("12")
    expect(other.locator("#call textarea")).to_have_value(re.compile("temperature=1.2"))
    assert shown_tokens(other, 1) == shown_tokens(page, 1)
    # What is opened is a transcript of one's own: a reload must not write it again.
    assert "?" not in other.url

    chips(page, 1).nth(5).click()
    page.locator("#transcript .details .alternative").nth(3).click()
    finished(page, 3)
    branch = chip_ids(page, 2)
    chips(page, 2).nth(2).click()
    open_tab(page, "Next token")
    expect(picture(page)).to_be_visible(timeout=WAIT)
    position = page.get_by_label("position").and_(page.locator("input:visible")).input_value()
    address = copied_link(page)
    third = visit(address)
    expect(third.get_by_label("position").and_(third.locator("input:visible"))).to_have_value(
        position, timeout=WAIT
    )
    assert visible_tab(third) == "Next token"
    open_tab(third, "Generate")
    finished(third, 3)
    assert chip_ids(third, 1) == first[:5]
    assert chip_ids(third, 2) == branch
    expect(chips(third, 2).nth(2)).to_have_attribute("aria-current", "true")


def test_a_hostile_link_is_used_as_far_as_it_is_sound(visit: Visit, pocket: Gpt2) -> None:
    hostile = (
        "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
    )
    page = visit(
        text=hostile,
        temperature="abc",
        focus="999.999",
        top_k=7,
        max_new_tokens=6,
        seed="1e999",
        mode="<img src=x onerror=document.title='hacked'>",
        evil=hostile,
        go=1,
    )
    finished(page, 2)
    assert texts(page)[0] == hostile
    settings = Decoding(top_k=7, max_new_tokens=6)
    assert answers(page) == [only(continue_text(pocket, hostile, settings)).text]
    said = page.locator("#complaints textarea").input_value().split("\n")
    for word in ("temperature", "focus", "seed", "mode", "evil"):
        assert len([line for line in said if word in line.split(" ")[0] or word in line]) >= 1, word
    assert len(said) == 5
    assert all(line.endswith(".") for line in said)
    expect(page.get_by_label("temperature").and_(page.locator("input")).first).to_have_value("1")
    assert page.title() == "gpt2lab"
    assert page.locator("#transcript img, #transcript script, #complaints img").count() == 0


def test_a_reload_keeps_everything_and_only_in_this_browser(
    visit: Visit, url: str, pocket: Gpt2
) -> None:
    # A page of its own: one that is left complains about what it was still waiting for.
    page = visit(text=PROMPT, seed=21, max_new_tokens=9)
    generate(page)
    chips(page, 1).nth(3).click()
    write(page, " and what is not sent yet")
    stored(page, "what is not sent yet")
    before, tokens = texts(page), shown_tokens(page, 1)
    open_page(page, url)
    finished_turns = page.locator("#transcript .turn")
    expect(finished_turns).to_have_count(2, timeout=WAIT)
    assert texts(page) == before
    expect(page.locator("#prompt textarea")).to_have_value(" and what is not sent yet")
    expect(chips(page, 1).nth(3)).to_have_attribute("aria-current", "true", timeout=WAIT)
    expect(chips(page, 1).first).not_to_have_class(re.compile("unknown"), timeout=WAIT)
    for old, new in zip(tokens, shown_tokens(page, 1), strict=True):
        assert new.id == old.id
        assert new.raw == pytest.approx(old.raw, abs=TOLERANCE)
        assert new.processed == pytest.approx(old.processed, abs=TOLERANCE)
    expect(page.get_by_label("seed").and_(page.locator("input"))).to_have_value("21")
    generate(page)
    ids = [*encode(pocket, PROMPT), *(one.id for one in tokens)]
    ids += encode(pocket, " and what is not sent yet")
    expected = only(continue_text(pocket, ids, Decoding(seed=21, max_new_tokens=9)))
    assert answers(page)[-1] == expected.text

    stranger = visit()
    assert turns(stranger).count() == 0
    assert PROMPT not in stranger.locator("body").inner_text()


def test_two_visitors_at_once_never_mix(regular: Begin, visit: Visit, pocket: Gpt2) -> None:
    asked = {"Once upon a time there was a cat": 31, "The President of the country said": 32}
    settings = {"max_new_tokens": 60, "min_new_tokens": 60}
    open_for = (regular, visit)
    pages = [
        one(text=text, seed=seed, **settings)
        for one, (text, seed) in zip(open_for, asked.items(), strict=True)
    ]
    for page in pages:
        page.locator("#generate").click()
    for page, (text, seed) in zip(pages, asked.items(), strict=True):
        finished(page, 2)
        expected = only(continue_text(pocket, text, Decoding(seed=seed, **settings)))
        assert texts(page) == [text, expected.text]
        assert chip_ids(page, 1) == list(expected.ids)


def tab_to(page: Page, selector: str, back: bool = False) -> None:
    """Press Tab until the focus is there."""
    for _ in range(80):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never leads to {selector}")


def test_a_whole_round_without_the_mouse(regular: Begin, pocket: Gpt2) -> None:
    page = regular(max_new_tokens=10)
    tab_to(page, "#prompt textarea")
    page.keyboard.type("The king")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("and the queen")
    page.keyboard.press("Enter")
    finished(page, 2)
    text = "The king\nand the queen"
    expected = only(continue_text(pocket, text, Decoding(max_new_tokens=10)))
    assert texts(page) == [text, expected.text]

    tab_to(page, "#transcript .model .chip", back=True)
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    details = page.locator("#transcript .details")
    expect(details).to_contain_text("token 4 of 10")
    page.keyboard.press("Enter")
    expect(chips(page, 1).nth(3)).to_have_attribute("aria-current", "true")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    chosen = int(page.evaluate("document.activeElement.dataset.id"))
    page.keyboard.press("Enter")
    finished(page, 3)
    forced = [*encode(pocket, text), *expected.ids[:3], chosen]
    branch = only(continue_text(pocket, forced, Decoding(max_new_tokens=10)))
    assert chip_ids(page, 2) == [chosen, *branch.ids]

    tab_to(page, "#branches .branch")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(turns(page)).to_have_count(2, timeout=WAIT)

    set_number(page, "max_new_tokens", 400)
    set_number(page, "min_new_tokens", 400)
    tab_to(page, "#prompt textarea")
    page.keyboard.press("Enter")
    expect(chips(page, 2).nth(3)).to_be_attached(timeout=WAIT)
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_contain_text("stopped, what is there stays", timeout=WAIT)
    assert 4 <= chips(page, 2).count() < 400


def edges(part: Locator) -> tuple[float, float, float]:
    """Left, right and bottom edge in the window."""
    box = part.bounding_box()
    assert box
    return box["x"], box["x"] + box["width"], box["y"] + box["height"]


def test_everything_can_be_reached_on_a_phone(visit: Visit) -> None:
    page = visit(width=390, text=PROMPT, max_new_tokens=30, num_return_sequences=2)
    left, right, bottom = edges(page.locator("#prompt textarea"))
    assert (left >= 0, right <= 390, bottom <= 1000) == (True, True, True)
    page.locator("#generate").click()
    finished(page, 3)
    chips(page, 1).nth(4).click()
    expect(page.locator("#transcript .details")).to_be_visible()
    left, right, bottom = edges(page.locator("#transcript .details"))
    assert (left >= 0, right <= 390, bottom <= 1000) == (True, True, True)
    page.locator("#transcript .details .close").click()
    page.get_by_role("button", name="Take it with you").click()
    page.locator("#seen summary").click()
    names = ["#retry", "#retry-new", "#undo", "#continue", "#clear", "#stop", "#copy-link", "#load"]
    for selector in [*names, "#live input", "#mode input >> nth=1", "#peek .candidate >> nth=0"]:
        part = page.locator(selector)
        part.click(trial=True)  # Only what can be seen and is under nothing else can be clicked.
        left, right, _ = edges(part)
        assert (left >= 0, right <= 390) == (True, True), selector
    for sample in page.locator("#transcript .sample").all():
        left, right, _ = edges(sample)
        assert (left >= 0, right <= 390) == (True, True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".sidebar .toggle-button").click()
    expect(page.locator("#call textarea")).to_be_visible()


def test_a_chat_uses_the_template_and_stops_at_the_next_line(regular: Begin, pocket: Gpt2) -> None:
    page = regular(max_new_tokens=60)
    expect(page.locator("#template")).not_to_be_visible()
    page.get_by_label("Chat", exact=True).check()
    expect(page.locator("#template textarea")).to_have_value("User: {text}\nGPT-2:")
    # Lines that begin with a quotation mark are frequent in stories, so there is one to stop at.
    page.locator("#template textarea").fill('"{text}" he said.\nThen')
    written = '"Come with me" he said.\nThen'
    stop = ('\n"',)
    seed = next(
        seed
        for seed in count()
        if only(
            continue_text(pocket, written, Decoding(seed=seed, max_new_tokens=60, stop=stop))
        ).finish_reason
        == "stop"
    )
    set_number(page, "seed", seed)
    write(page, "Come with me")
    expect(page.locator("#seen .read")).to_have_text(written, timeout=WAIT)
    page.locator("#generate").click()
    finished(page, 2)
    decoding = Decoding(seed=seed, max_new_tokens=60, stop=stop)
    expected = only(continue_text(pocket, written, decoding))
    assert turns(page).nth(0).locator("p").text_content() == "Come with me"
    assert chip_ids(page, 1) == list(expected.ids)
    expect(page.locator("#status")).to_contain_text("a stop string appeared")
    # What the model has written of the visitor's next line is not written twice.
    write(page, "No")
    begun = written + decode(pocket, expected.ids)
    rest = begun.rindex('"')
    expect(page.locator("#seen .read")).to_have_text(
        begun[: rest + 1] + 'No" he said.\nThen', timeout=WAIT
    )


def test_the_panel_shows_what_the_model_sees_and_where_it_is_cut(
    regular: Begin, pocket: Gpt2
) -> None:
    text = " ".join(f"Day {day} was a good day." for day in range(90))
    ids = encode(pocket, text)
    dropped = len(ids) + 20 - pocket.n_positions
    assert 0 < dropped < len(ids)
    page = regular(max_new_tokens=20)
    write(page, text)
    summary = page.locator("#seen summary")
    expect(summary).to_contain_text(f"the oldest {dropped} are cut off", timeout=WAIT)
    expect(summary).to_contain_text(f"{pocket.n_positions - 20} of {pocket.n_positions} tokens")
    assert page.locator("#seen .read").text_content() == decode(pocket, ids[dropped:])
    cut = (page.locator("#seen .cut").text_content() or "").removeprefix("… ")
    assert cut
    assert decode(pocket, ids[:dropped]).endswith(cut)
    generate(page)
    expected = only(continue_text(pocket, ids[dropped:], Decoding(max_new_tokens=20)))
    assert answers(page) == [expected.text]


def test_the_next_tokens_appear_while_typing_and_can_be_switched_off(
    regular: Begin, pocket: Gpt2, reference: GPT2LMHeadModel
) -> None:
    page = regular("")
    page.locator("#prompt textarea").press_sequentially(PROMPT)
    candidates = page.locator("#peek .candidate")
    with torch.no_grad():
        probabilities = reference(torch.tensor([encode(pocket, PROMPT)])).logits[0, -1].softmax(-1)
    best = probabilities.topk(5)
    for place, (id, share) in enumerate(zip(*(one.tolist() for one in best[::-1]), strict=True)):
        expect(candidates.nth(place)).to_have_attribute(
            "title", re.compile(f"^id {id};"), timeout=WAIT
        )
        shown = candidates.nth(place).locator(".share").text_content() or ""
        assert float(shown.removesuffix("%")) == pytest.approx(100 * share, rel=6e-3)
    expect(candidates).to_have_count(5)
    page.get_by_label("Peek at the next token").uncheck()
    expect(candidates).to_have_count(0, timeout=WAIT)
    write(page, "The queen")
    expect(page.locator("#seen .read")).to_have_text("The queen", timeout=WAIT)
    expect(candidates).to_have_count(0)
    page.get_by_label("Peek at the next token").check()
    expect(candidates).to_have_count(5, timeout=WAIT)
