"""What would come next, before anything is sent: transformers' numbers, for the text as it is."""

import json
from typing import Any

import pytest
import torch
from prompts import HOSTILE, PROMPTS
from transformers import GPT2LMHeadModel

from gpt2lab import trace as trace_module
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import decode, describe, encode, prompt_ids
from gpt2lab.transcript import Passage, Transcript
from gpt2lab.ui.look_ahead import CANDIDATES, SHOWN_OF_THE_CUT, looked_ahead, next_prompt
from gpt2lab.ui.session import CHAT, Session, Writer
from gpt2lab.ui.traces import Traces
from gpt2lab.ui.writing import Place, write

PROBABILITIES = 1e-5
"""Absolute."""
SHORT = Decoding(max_new_tokens=5)
WILD = Decoding(max_new_tokens=5, temperature=1.7, top_k=3, repetition_penalty=1.5)


def ahead(
    gpt2: Gpt2,
    text: Any,
    *,
    session: Session | None = None,
    decoding: Decoding = SHORT,
    live: bool = True,
    traces: Traces | None = None,
    **writer: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two parts of the page are given."""
    session, traces = session or Session(), traces or Traces()
    parts = looked_ahead(gpt2, session, Writer(text, **writer), decoding, live, traces)
    candidates, panel = map(json.loads, parts)
    return candidates, panel


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many positions each pass through the model computes."""
    counts: list[int] = []
    states = trace_module._states

    def counted(gpt2: Gpt2, ids: Any, cache: Any) -> torch.Tensor:
        counts.append(len(ids))
        return states(gpt2, ids, cache)

    monkeypatch.setattr(trace_module, "_states", counted)
    return counts


@torch.no_grad()
@pytest.mark.parametrize("decoding", [SHORT, WILD, Decoding("beam", num_beams=2)], ids=str)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_five_likeliest_are_those_of_transformers(
    gpt2: Gpt2, plain: GPT2LMHeadModel, prompt: str, decoding: Decoding
) -> None:
    candidates, _ = ahead(gpt2, PROMPTS[prompt], decoding=decoding)
    ids = torch.tensor([prompt_ids(gpt2, PROMPTS[prompt])])
    output = plain.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        pad_token_id=50256,
        **{**decoding.generate_arguments(), "max_new_tokens": 1},
    )
    raw = output.logits[0][0].float().softmax(-1)
    final = output.scores[0][0].float().softmax(-1)
    shown = candidates["candidates"]
    assert len(shown) == CANDIDATES
    best = raw.topk(CANDIDATES).values.tolist()
    assert [one["raw"] for one in shown] == pytest.approx(best, abs=PROBABILITIES)
    for one in shown:
        assert one["raw"] == pytest.approx(float(raw[one["id"]]), abs=PROBABILITIES)
        assert one["processed"] == pytest.approx(float(final[one["id"]]), abs=PROBABILITIES)
        assert one["shown"] == describe(gpt2, [one["id"]]).shown[0]


def test_what_is_written_and_what_is_typed_are_read_together(random_gpt2: Gpt2) -> None:
    session = Session(Transcript().continued(Passage("you", (8888, 356), "Today we")))
    together, panel = ahead(random_gpt2, " can go", session=session)
    assert together == ahead(random_gpt2, "Today we can go")[0]
    assert panel == {
        "cut": "",
        "dropped": 0,
        "text": "Today we can go",
        "count": 4,
        "limit": 128,
    }


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_panel_shows_the_text_as_it_is(random_gpt2: Gpt2, text: str) -> None:
    assert ahead(random_gpt2, text)[1]["text"] == text


def test_an_empty_text_is_read_as_the_beginning_of_text(random_gpt2: Gpt2) -> None:
    _, panel = ahead(random_gpt2, "")
    assert (panel["text"], panel["count"]) == ("<|endoftext|>", 1)


def test_in_a_chat_the_panel_shows_the_template_too(random_gpt2: Gpt2) -> None:
    _, panel = ahead(random_gpt2, "Hello", mode=CHAT, template="Q: {text}\nA:")
    assert panel["text"] == "Q: Hello\nA:"


@pytest.mark.parametrize("room", [1, 5, 100, 127])
def test_the_panel_shows_where_the_cut_is(random_gpt2: Gpt2, room: int) -> None:
    text = "".join(f" {number}" for number in range(100, 300))
    ids = encode(random_gpt2, text)
    session = Session(Transcript().continued(Passage("you", tuple(ids), text)))
    decoding = Decoding(max_new_tokens=room)
    _, panel = ahead(random_gpt2, " and more", session=session, decoding=decoding)
    whole = [*ids, *encode(random_gpt2, " and more")]
    dropped = len(whole) + room - 128
    assert (panel["dropped"], panel["count"]) == (dropped, 128 - room)
    assert panel["text"] == decode(random_gpt2, whole[dropped:])
    assert panel["cut"] == decode(random_gpt2, whole[:dropped])[-SHOWN_OF_THE_CUT:]
    assert len(panel["cut"]) == SHOWN_OF_THE_CUT


def test_what_is_shown_is_what_the_model_reads_when_it_generates(random_gpt2: Gpt2) -> None:
    ids = tuple(range(1000, 1150))
    transcript = Transcript().continued(Passage("you", ids, decode(random_gpt2, ids)))
    prompt = next_prompt(random_gpt2, Session(transcript), Writer(""), SHORT)
    draft = next(write(random_gpt2, transcript, Place(0, 150), SHORT, Traces()))
    assert prompt.ids == draft.prompt
    assert prompt.dropped == 150 + 5 - 128


def test_switched_off_nothing_is_computed(random_gpt2: Gpt2, computed: list[int]) -> None:
    candidates, panel = ahead(random_gpt2, "Today we", live=False)
    assert candidates == {"candidates": []}
    assert panel["count"] == 2
    assert computed == []


def test_typing_computes_the_tokens_that_changed_and_no_others(
    random_gpt2: Gpt2, computed: list[int]
) -> None:
    """A word that grows changes its last token; what stands before it is known."""
    traces = Traces()
    texts = ["Today we can go", "Today we can go to", "Today we can go to t", "Today we can go to"]
    texts += ["Today we can go to the", "Today we must", "Today we can"]
    lengths = [len(encode(random_gpt2, text)) for text in texts]
    assert lengths == [4, 5, 6, 5, 6, 3, 3]
    for text in texts:
        ahead(random_gpt2, text, traces=traces)
    # The second time that a text is there, or one that begins a known one, it costs nothing.
    assert computed == [4, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "settings", "writer", "said"),
    [
        (None, {}, {}, "The text must be a string, not NoneType."),
        ("a\0b", {}, {}, "null character at position 1"),
        ("\ud800", {}, {}, "half of a character"),
        ("x" * 100_001, {}, {}, "please shorten it"),
        ("Hi", {"max_new_tokens": 128}, {}, "from 0 to 127."),
        ("Hi", {}, {"mode": CHAT, "template": "nothing"}, "must contain {text} once"),
        ("Hi", {}, {"mode": CHAT, "template": None}, "must be a string, not NoneType."),
    ],
)
def test_what_cannot_be_read_is_refused_in_both_parts(
    random_gpt2: Gpt2,
    text: object,
    settings: dict[str, int],
    writer: dict[str, Any],
    said: str,
) -> None:
    for part in ahead(random_gpt2, text, decoding=Decoding(**settings), **writer):
        assert list(part) == ["refusal"]
        assert said in part["refusal"]
        assert part["refusal"].endswith(".")


def test_ids_of_another_model_are_refused_too(random_gpt2: Gpt2) -> None:
    session = Session(Transcript().continued(Passage("you", (1, 60_000), "?")))
    for part in ahead(random_gpt2, "x", session=session):
        assert "A token id is 60000" in part["refusal"]


def test_a_length_that_the_text_has_already_does_not_raise(random_gpt2: Gpt2) -> None:
    """Generating refuses it; looking ahead shows what would come."""
    decoding = Decoding(max_length=3)
    candidates, _ = ahead(random_gpt2, "Today we can go", decoding=decoding)
    assert [one["id"] for one in candidates["candidates"]] == [
        one["id"] for one in ahead(random_gpt2, "Today we can go")[0]["candidates"]
    ]
    drafts = write(
        random_gpt2,
        Transcript().continued(Passage("you", (8888, 356, 460), "")),
        Place(0, 3),
        decoding,
        Traces(),
    )
    with pytest.raises(Refusal, match="max_length is 3"):
        list(drafts)
