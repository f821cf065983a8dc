"""A small page with nothing but the transcript and its branches, and somebody in front of it."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from served import served

from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.models import Gpt2
from gpt2lab.step import Alternative, Choice, describe_text
from gpt2lab.tokens import decode, encode
from gpt2lab.trace import trace_text
from gpt2lab.transcript import Passage, Transcript, Writing
from gpt2lab.ui.branches import build_branches, tree_lines
from gpt2lab.ui.token_strip import (
    build_transcript,
    end_line,
    focus_line,
    passage_lines,
    token_line,
    transcript_lines,
    turn_line,
)

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Page, expect  # noqa: E402

HARD = (
    "👩🏽‍💻 naïve café مرحبا بالعالم 日本\n\n\tif x:\n        return   y  \n"
    "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
    " ${document.title='hacked'} {{7*7}} <|endoftext|> end"
)
PROMPT = "Once upon a time there was a king"


def read_passage(gpt2: Gpt2, text: str) -> Passage:
    """A passage of yours with its numbers; the first token has none."""
    trace = trace_text(gpt2, text)
    return Passage("you", tuple(trace.ids.tolist()), text, choices=tuple(describe_text(trace, 1)))


def written(gpt2: Gpt2, ids: tuple[int, ...], decoding: Decoding) -> list[Passage]:
    """The passages that the model writes behind `ids`."""
    steps = list(generate(gpt2, ids, decoding))
    passages = []
    for sample in range(decoding.num_return_sequences):
        own = [step for step in steps if step.sequence == sample]
        writing = Writing(gpt2.name, decoding, finish_reason=own[-1].finish_reason, sample=sample)
        new = tuple(step.id for step in own)
        choices = tuple(step.choice for step in own)
        passages.append(Passage("model", new, decode(gpt2, new), writing=writing, choices=choices))
    return passages


def one_answer(gpt2: Gpt2, prompt: str = PROMPT, tokens: int = 30) -> Transcript:
    asked = Transcript().continued(Passage("you", tuple(encode(gpt2, prompt)), prompt))
    (answer,) = written(gpt2, asked.ids(), Decoding(max_new_tokens=tokens))
    return asked.continued(answer)


def three_samples(gpt2: Gpt2) -> Transcript:
    transcript = Transcript().continued(Passage("you", tuple(encode(gpt2, PROMPT)), PROMPT))
    decoding = Decoding(max_new_tokens=25, num_return_sequences=3)
    for passage in written(gpt2, transcript.ids(), decoding):
        transcript = transcript.continued(passage, behind=0)
    return transcript.at(2)


def branched(gpt2: Gpt2) -> Transcript:
    """An answer, and another one that leaves it behind its fourth token."""
    transcript = one_answer(gpt2, tokens=12)
    forced = transcript.passages[1].choices[4].alternatives[1]
    before = (*transcript.ids(0), *transcript.passages[1].ids[:4], forced.id)
    (rest,) = written(gpt2, before, Decoding(max_new_tokens=8))
    choice = replace(
        transcript.passages[1].choices[4],
        id=forced.id,
        rank=2,
        probability=forced.probability,
    )
    ids = (forced.id, *rest.ids)
    assert rest.writing
    return transcript.added(
        Passage(
            "model",
            ids,
            decode(gpt2, ids),
            parent=1,
            at=4,
            writing=replace(rest.writing, forced=1),
            choices=(choice, *rest.choices),
        )
    )


def hard_text(gpt2: Gpt2) -> Transcript:
    """A text with everything that is hard to show, as if the model had written it."""
    passage = read_passage(gpt2, HARD)
    writing = Writing(gpt2.name, Decoding(), finish_reason="length")
    you = Passage("you", tuple(encode(gpt2, HARD)), HARD)
    return Transcript().continued(you).continued(replace(passage, author="model", writing=writing))


def long_answer(count: int = 1000, alternatives: int = 20) -> Passage:
    """As many tokens as fit into GPT-2's context, each with twenty alternatives."""
    ids = tuple(300 + 7 * index % 5000 for index in range(count))
    choices = tuple(
        Choice(
            id=id,
            logprob=-0.001 - (index % 97) / 9,
            probability=0.9 / (1 + index % 13),
            rank=1 + index % 40,
            entropy_bits=(index % 90) / 10,
            alternatives=tuple(
                Alternative(id + place, 0.1234567 / (1 + place), 0.2345678 / (1 + place))
                for place in range(alternatives)
            ),
        )
        for index, id in enumerate(ids)
    )
    return Passage("model", ids, "", writing=Writing("pocket", Decoding()), choices=choices)


CASES = {
    "one answer": one_answer,
    "three samples": three_samples,
    "branched": branched,
    "hard": hard_text,
}


def mini_page(gpt2: Gpt2) -> gr.Blocks:
    """The two components, a menu of transcripts to show, and a protocol of what they trigger."""
    transcripts = {name: make(gpt2) for name, make in CASES.items()}

    def both(transcript: Transcript) -> tuple[str, str]:
        return transcript_lines(gpt2, transcript), tree_lines(transcript, gpt2)

    def stream(name: str) -> Iterator[tuple[str, str]]:
        """An answer, token by token, behind what is there."""
        transcript = transcripts[name].at(0)
        value = transcript_lines(gpt2, transcript)
        passage = transcripts[name].passages[1]
        # As in a chat; this one goes on to the beginning of what would end it.
        stop = decode(gpt2, passage.ids[-2:]) + "!"
        value += turn_line(1, 1, replace(passage, ids=(), choices=(), text=""), stop=stop)
        yield value, "[]"
        for offset, choice in enumerate(passage.choices):
            value += token_line(gpt2, 1, offset, choice.id, choice)
            time.sleep(0.05)
            yield value, "[]"
        yield value + end_line(gpt2, 1, passage), "[]"

    def long(name: str) -> Iterator[tuple[str, str]]:
        passage = replace(long_answer(), text=decode(gpt2, long_answer().ids))
        value = passage_lines(gpt2, 0, 0, passage)
        yield value, "[]"
        for offset in range(1000, 1020):
            value += token_line(gpt2, 0, offset, offset, passage.choices[5])
            yield value, "[]"

    def noting(name: str) -> Any:
        def note(event: gr.EventData) -> str:
            return json.dumps([name, event._data])

        return note

    with gr.Blocks(title="strip") as page:
        with gr.Row():
            case = gr.Textbox(label="case", elem_id="case")
            load = gr.Button("load", elem_id="load")
            run = gr.Button("stream", elem_id="stream")
            extend = gr.Button("long", elem_id="long")
            point = gr.Button("focus", elem_id="point")
        with gr.Row():
            with gr.Column(scale=3):
                transcript = build_transcript()
            with gr.Column(scale=1):
                branches = build_branches()
        protocol = gr.Textbox(label="event", elem_id="event", interactive=True)
        shown = [transcript, branches]
        load.click(lambda name: both(transcripts[name]) if name else ("", ""), case, shown)
        run.click(stream, case, shown)
        extend.click(long, case, shown)
        point.click(lambda value: value + focus_line(1, 3), transcript, transcript)
        transcript.select(noting("select"), None, protocol)
        transcript.submit(noting("submit"), None, protocol)
        transcript.input(noting("input"), None, protocol)
        branches.select(noting("branch"), None, protocol)
    return page.queue()


@pytest.fixture(scope="session")
def strip_url(pocket: Gpt2) -> Iterator[str]:
    with served(mini_page(pocket)) as address:
        yield address


@pytest.fixture(scope="session")
def answer(pocket: Gpt2) -> Transcript:
    return one_answer(pocket)


class Visitor:
    """Somebody in front of the small page; nothing may leave the machine or complain."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda one: one.type == "error" and self.complaints.append(one.text))
        self.chips = page.locator("#transcript .model .strip .chip")
        self.details = page.locator("#transcript .details")
        self.turns = page.locator("#transcript .turn")

    def load(self, case: str) -> None:
        self.page.locator("#case textarea").fill(case)
        self.page.locator("#load").click()
        expect(self.turns if case else self.page.locator("#event")).not_to_have_count(0)
        expect(self.page.locator("#load")).to_be_enabled()

    def triggered(self, kind: str, data: dict[str, Any]) -> None:
        """Wait until this event is the last one that was protocolled."""
        field = self.page.locator("#event textarea")
        expect(field).to_have_value(json.dumps([kind, data]))

    def focused(self) -> str | None:
        return self.page.evaluate("document.activeElement.getAttribute('data-offset')")

    def start_over(self) -> None:
        """What a new visitor sees; what is unfolded, and how it is coloured, stays."""
        self.page.set_viewport_size({"width": 1300, "height": 1000})
        self.page.mouse.move(5, 5)
        self.page.evaluate("getSelection().removeAllRanges(); document.activeElement.blur()")
        # Only what has something to empty says when that has been done.
        if self.turns.count():
            self.load("")
        expect(self.turns).to_have_count(0)
        expect(self.details).not_to_be_visible()
        self.page.locator("#event textarea").fill("")
        self.complaints.clear()


def open_strip(browser: Browser, url: str, theme: str = "light", **options: Any) -> Visitor:
    context = browser.new_context(**{"viewport": {"width": 1300, "height": 1000}, **options})
    one = Visitor(context.new_page())
    one.page.goto(f"{url}/?__theme={theme}")
    one.page.locator("#transcript .legend select").wait_for()
    one.page.wait_for_timeout(300)
    return one


@pytest.fixture(scope="module")
def strip_visitor(browser: Browser, strip_url: str) -> Iterator[Visitor]:
    one = open_strip(browser, strip_url)
    yield one
    one.page.context.close()


@pytest.fixture
def visitor(
    browser: Browser, strip_url: str, strip_visitor: Visitor, request: pytest.FixtureRequest
) -> Iterator[Visitor]:
    """Somebody before an empty page, which is a new one only for a test with options of its own."""
    own = getattr(request, "param", None)
    one = strip_visitor if own is None else open_strip(browser, strip_url, **own)
    if own is None:
        one.start_over()
    yield one
    assert one.complaints == []
    if own is not None:
        one.page.context.close()
