"""What is sent to the page: every number of every token, once, and nothing when only one is new."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.models import Gpt2
from gpt2lab.step import describe_text
from gpt2lab.tokens import decode, encode
from gpt2lab.trace import trace_text
from gpt2lab.transcript import Passage, Transcript, Writing
from gpt2lab.ui.token_strip import (
    EMPTY_PROMPT,
    build_transcript,
    distinctness,
    end_line,
    focus_line,
    passage_lines,
    statistics,
    token_line,
    transcript_lines,
    turn_line,
)

PROMPT = "The king said 👩🏽‍💻 مرحبا"


def records(lines: str) -> list[Any]:
    assert lines == "" or lines.endswith("\n")
    return [json.loads(line) for line in lines.splitlines()]


def tokens_of(lines: str, turn: int = 0) -> list[list[Any]]:
    return [one for one in records(lines) if isinstance(one, list) and one[0] == turn]


def answers(gpt2: Gpt2, decoding: Decoding, prompt: str = PROMPT) -> Transcript:
    """A prompt and the answers to it; the first one is active."""
    transcript = Transcript().continued(Passage("you", tuple(encode(gpt2, prompt)), prompt))
    steps = list(generate(gpt2, transcript.ids(), decoding))
    for sample in range(decoding.num_return_sequences):
        own = [step for step in steps if step.sequence == sample]
        ids = tuple(step.id for step in own)
        writing = Writing(gpt2.name, decoding, finish_reason=own[-1].finish_reason, sample=sample)
        choices = tuple(step.choice for step in own)
        passage = Passage("model", ids, decode(gpt2, ids), writing=writing, choices=choices)
        transcript = transcript.continued(passage, behind=0)
    return transcript.at(1)


@torch.no_grad()
def test_the_numbers_are_those_of_transformers(gpt2: Gpt2, plain: GPT2LMHeadModel) -> None:
    decoding = Decoding(max_new_tokens=8, top_k=20, temperature=0.8)
    transcript = answers(gpt2, decoding)
    lines = tokens_of(transcript_lines(gpt2, transcript), 1)
    prompt = torch.tensor([transcript.ids(0)])
    torch.manual_seed(decoding.seed)
    run = plain.generate(
        prompt,
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        pad_token_id=50256,
        **decoding.generate_arguments(),
    )
    assert [line[2] for line in lines] == run.sequences[0, prompt.shape[1] :].tolist()
    for line, logits, scores in zip(lines, run.logits, run.scores, strict=True):
        raw, final = logits[0].log_softmax(-1), scores[0].softmax(-1)
        _, _, id, _, _, _, logprob, probability, rank, entropy, alternatives = line
        assert logprob == pytest.approx(raw[id].item(), abs=1e-5)
        assert probability == pytest.approx(final[id].item(), abs=1e-6)
        assert rank == (logits[0] > logits[0, id]).sum().item() + 1
        expected = torch.distributions.Categorical(logits=logits[0]).entropy().item() / math.log(2)
        assert entropy == pytest.approx(expected, abs=1e-4)
        assert {one[0] for one in alternatives} >= set(logits[0].topk(10).indices.tolist())
        for other, shown, before, after in alternatives:
            assert before == pytest.approx(raw[other].exp().item(), abs=1e-6)
            assert after == pytest.approx(final[other].item(), abs=1e-6)
            assert shown


def test_numbers_have_seven_digits_and_none_is_infinite(random_gpt2: Gpt2) -> None:
    transcript = answers(random_gpt2, Decoding(max_new_tokens=3))
    (choice, *_) = transcript.passages[1].choices
    line = token_line(random_gpt2, 0, 0, choice.id, choice)
    assert json.loads(line)[6] == float(f"{choice.logprob:.7g}")
    impossible = replace(choice, logprob=-math.inf)
    assert json.loads(token_line(random_gpt2, 0, 0, choice.id, impossible))[6] is None
    assert "Infinity" not in token_line(random_gpt2, 0, 0, choice.id, impossible)


def test_bytes_put_together_are_the_text(random_gpt2: Gpt2) -> None:
    text = "👩🏽‍💻 naïve  \n\tمرحبا <script>"
    passage = Passage("you", tuple(encode(random_gpt2, text)), text)
    lines = passage_lines(random_gpt2, 0, 0, passage)
    pieces = [bytes.fromhex(one[5]) for one in tokens_of(lines)]
    assert b"".join(pieces).decode() == text
    assert any(len(one) > 0 and one.decode(errors="replace") == "\ufffd" for one in pieces)
    assert [one[1] for one in tokens_of(lines)] == list(range(len(passage.ids)))


def test_a_special_token_is_a_chip_but_no_text(random_gpt2: Gpt2) -> None:
    (line,) = tokens_of(token_line(random_gpt2, 0, 0, 50256))
    assert line[2:6] == [50256, "<|endoftext|>", "<|endoftext|>", ""]
    assert line[6:] == [None] * 5


def test_an_id_of_another_model_is_shown_as_a_number(random_gpt2: Gpt2) -> None:
    (line,) = tokens_of(token_line(random_gpt2, 0, 0, 60_000))
    assert line[2:6] == [60_000, "‹60000›", "", ""]


def test_no_line_holds_a_tag(random_gpt2: Gpt2) -> None:
    text = "<script>alert(1)</script>"
    passage = Passage("you", tuple(encode(random_gpt2, text)), text)
    lines = passage_lines(random_gpt2, 0, 0, passage)
    assert "<" not in lines
    assert records(lines)[-1]["text"] == text


def test_what_streams_only_grows_and_ends_as_if_it_were_drawn_at_once(random_gpt2: Gpt2) -> None:
    transcript = answers(random_gpt2, Decoding(max_new_tokens=6))
    passage = transcript.passages[1]
    value = transcript_lines(random_gpt2, transcript.at(0))
    value += turn_line(1, 1, replace(passage, ids=(), text="", choices=()))
    for offset, choice in enumerate(passage.choices):
        value += token_line(random_gpt2, 1, offset, choice.id, choice)
    value += end_line(random_gpt2, 1, passage)
    assert value == transcript_lines(random_gpt2, transcript)


def test_the_samples_of_the_last_run_stand_in_one_row(random_gpt2: Gpt2) -> None:
    decoding = Decoding(max_new_tokens=4, num_return_sequences=3)
    transcript = answers(random_gpt2, decoding).at(2)
    lines = transcript_lines(random_gpt2, transcript)
    heads = [one for one in records(lines) if "turn" in one]
    assert [(one["passage"], one["row"], one["active"]) for one in heads] == [
        (0, None, True),
        (1, 1, False),
        (2, 1, True),
        (3, 1, False),
    ]
    for turn in (1, 2, 3):
        ids = [one[2] for one in tokens_of(lines, turn)]
        assert tuple(ids) == transcript.passages[turn].ids
    further = transcript.continued(Passage("you", (11,), ","))
    heads = [one for one in records(transcript_lines(random_gpt2, further)) if "turn" in one]
    assert [(one["passage"], one["row"]) for one in heads] == [(0, None), (2, None), (4, None)]


def test_a_copy_of_a_sample_has_no_others_beside_it(random_gpt2: Gpt2) -> None:
    decoding = Decoding(max_new_tokens=4, num_return_sequences=3)
    transcript = answers(random_gpt2, decoding).at(2)
    edited = transcript.replaced(0, (11, 12), ",-")
    heads = [one for one in records(transcript_lines(random_gpt2, edited)) if "turn" in one]
    assert [(one["passage"], one["row"]) for one in heads] == [(4, None), (5, None)]


def test_of_a_passage_that_is_left_early_only_the_beginning_is_shown(random_gpt2: Gpt2) -> None:
    transcript = answers(random_gpt2, Decoding(max_new_tokens=6))
    answer = transcript.passages[1]
    branch = Passage("model", (11, 12), ",-", parent=1, at=4, writing=answer.writing)
    lines = transcript_lines(random_gpt2, transcript.added(branch))
    assert [one[2] for one in tokens_of(lines, 1)] == list(answer.ids[:4])
    end = next(one for one in records(lines) if "end" in one and one["end"] == 1)
    assert end["text"] == decode(random_gpt2, answer.ids[:4])
    assert (end["count"], end["left"]) == (4, 2)
    logprobs = [choice.logprob for choice in answer.choices[:4]]
    assert end["total"] == pytest.approx(sum(logprobs), rel=1e-6)


def test_the_first_token_of_a_text_has_no_numbers(random_gpt2: Gpt2) -> None:
    trace = trace_text(random_gpt2, "The king said")
    choices = tuple(describe_text(trace, 1))
    passage = Passage("you", tuple(trace.ids.tolist()), "The king said", choices=choices)
    first, *others = tokens_of(passage_lines(random_gpt2, 0, 0, passage))
    assert first[6:] == [None] * 5
    assert [one[6] for one in others] == pytest.approx([one.logprob for one in choices], rel=1e-6)
    (short,) = tokens_of(passage_lines(random_gpt2, 0, 0, passage, length=1))
    assert short == first
    end = records(passage_lines(random_gpt2, 0, 0, passage, length=1))[-1]
    assert (end["total"], end["mean"]) == (None, None)


def test_an_empty_prompt_says_what_the_model_starts_from(random_gpt2: Gpt2) -> None:
    passage = Passage("you", (50256,), "")
    end = records(passage_lines(random_gpt2, 0, 0, passage))[-1]
    assert (end["text"], end["note"]) == (EMPTY_PROMPT, True)
    assert not records(end_line(random_gpt2, 0, replace(passage, author="model")))[0]["note"]


def test_a_turn_says_who_wrote_it_and_what_was_forced(random_gpt2: Gpt2) -> None:
    writing = Writing("pocket", Decoding(), forced=2)
    (head,) = records(turn_line(3, 7, Passage("model", (), "", writing=writing)))
    assert head == {
        "turn": 3,
        "passage": 7,
        "author": "model",
        "who": "pocket",
        "forced": 2,
        "row": None,
        "active": True,
        "stop": "",
    }
    assert records(turn_line(0, 0, Passage("you", (), "")))[0]["who"] == "you"
    assert records(focus_line(7, 2)) == [{"focus": [7, 2]}]


def test_nothing_is_an_empty_string(random_gpt2: Gpt2) -> None:
    assert transcript_lines(random_gpt2, Transcript()) == ""


@pytest.mark.parametrize(
    ("ids", "length", "expected"),
    [
        ([7, 8, 7, 8], 1, 0.5),
        ([7, 8, 7, 8], 2, 2 / 3),
        ([7, 7, 7, 7], 1, 0.25),
        ([7, 7, 7, 7], 2, 1 / 3),
        ([1, 2, 3], 2, 1.0),
        ([1], 2, None),
        ([], 1, None),
    ],
)
def test_distinctness(ids: list[int], length: int, expected: float | None) -> None:
    assert distinctness(ids, length) == expected


def test_statistics_sum_and_average() -> None:
    one = statistics([5, 6, 5], [-1.0, -2.0, -4.5])
    assert (one.count, one.total_logprob, one.mean_logprob) == (3, -7.5, -2.5)
    assert (one.distinct_1, one.distinct_2) == (2 / 3, 1.0)
    unknown = statistics([5, 6], [])
    assert (unknown.count, unknown.total_logprob, unknown.mean_logprob) == (2, None, None)


def test_the_component_has_one_template_for_every_text() -> None:
    component = build_transcript()
    assert component.elem_id == "transcript"
    assert "value" not in component.html_template
    assert "{" not in component.html_template
    assert "innerHTML" not in component.js_on_load
