"""Endings: their numbers are those of the model's own loss, whatever is read in which order."""

import dataclasses
import io
import warnings

import numpy as np
import pytest
import torch
from prompts import HOSTILE

import gpt2lab
from gpt2lab.inspections import choices
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import Trace, trace_ids, trace_text

CONTEXT = "Once upon a time there was a"
ENDINGS = [" little girl named Lily.", " the", " king\tof <b>Spain</b> 🎉", "n apple"]
VALUES = 1e-5
"""Log-probabilities of a token, means of them and probabilities: absolute."""


def test_values_are_those_of_the_models_own_loss(gpt2, plain):
    result = gpt2lab.context_choices(gpt2, CONTEXT, ENDINGS)
    context = encode(gpt2, CONTEXT)
    assert result.context == tuple(context)
    assert [one.text for one in result.endings] == ENDINGS
    for ending in result.endings:
        ids = encode(gpt2, ending.text)
        assert ending.ids == tuple(ids)
        both = torch.tensor([context + ids])
        labels = both.masked_fill(torch.arange(both.shape[1]) < len(context), -100)
        with torch.no_grad():
            output = plain(both, labels=labels)
        assert ending.mean_logprob == pytest.approx(-output.loss.item(), abs=VALUES)
        log_p = output.logits[0, len(context) - 1 : -1].double().log_softmax(-1)
        expected = log_p[range(len(ids)), ids].numpy()
        np.testing.assert_allclose(ending.logprobs, expected, rtol=0, atol=VALUES)
        assert ending.logprob == pytest.approx(expected.sum(), abs=VALUES * len(ids))
    odds = np.exp(result.logprobs - result.logprobs.max())
    np.testing.assert_allclose(result.probabilities, odds / odds.sum(), rtol=0, atol=1e-12)


def test_no_ending_leaves_a_trace_in_the_next(random_gpt2):
    trace = trace_text(random_gpt2, CONTEXT)
    together = gpt2lab.choices(trace, ENDINGS)
    for number, text in enumerate(ENDINGS):
        alone = gpt2lab.choices(trace, [text])
        assert np.array_equal(alone.endings[0].logprobs, together.endings[number].logprobs)
        assert alone.probabilities.tolist() == [1.0]


def test_the_context_is_read_once_and_only_for_endings_of_several_tokens(random_gpt2, monkeypatch):
    trace, read = trace_text(random_gpt2, CONTEXT), []
    key_values = Trace.key_values
    monkeypatch.setattr(Trace, "key_values", lambda self: read.append(1) or key_values(self))
    gpt2lab.choices(trace, [" the", " a"])
    assert not read
    gpt2lab.choices(trace, ENDINGS)
    assert len(read) == 1


def test_an_empty_context_is_the_beginning_of_text_token(random_gpt2):
    result = gpt2lab.context_choices(random_gpt2, "", [" the", "The"])
    assert result.context == (50256,)
    logits = trace_ids(random_gpt2, [50256]).logits()
    expected = logits.double().log_softmax(-1)[[262, 464]].numpy()
    np.testing.assert_allclose(result.logprobs, expected, rtol=0, atol=VALUES)


def test_endings_that_would_be_cut_differently_when_joined_are_marked(random_gpt2):
    result = gpt2lab.context_choices(random_gpt2, "She was un", ["happy", " happy", " h"])
    whole = random_gpt2.tokenizer("She was unhappy").input_ids
    assert [*result.context, *result.endings[0].ids] != whole
    assert [one.joined_alike for one in result.endings] == [False, True, True]
    marks = [row[-1] for row in choices.table(result).rows]
    assert marks == [False, True, True]


def test_nothing_is_said_of_joining_behind_half_a_character(random_gpt2):
    ids = encode(random_gpt2, "Look 👋")
    result = gpt2lab.choices(trace_ids(random_gpt2, ids[:-1]), [" is", "!"])
    assert [one.joined_alike for one in result.endings] == [None, None]


def test_lines_are_endings_and_empty_lines_are_none(random_gpt2):
    trace = trace_text(random_gpt2, CONTEXT)
    lines = gpt2lab.choices(trace, "\n the\n\n  \n")
    assert [one.text for one in lines.endings] == [" the", "  "]
    assert choices.answer(gpt2lab.choices(trace, [" the", "  "])) == choices.answer(lines)


@pytest.mark.parametrize(
    ("endings", "sentence"),
    [
        ("", "endings has 0 texts, but must have 1 to 8."),
        ("\n\n", "endings has 0 texts, but must have 1 to 8."),
        ([" a"] * 9, "endings has 9 texts, but must have 1 to 8."),
        ([" a", ""], "Ending 2 is empty; please write something in it."),
        (
            [" a", 5],
            "endings is [' a', 5], but must be a list of texts, or one text",
        ),
        (None, "endings is None, but must be a list of texts"),
        ([" a", "b\0"], "Ending 2 has a null character at position 1; please remove it."),
        (
            " the" * 123,
            "Ending 1 has 123 tokens and the text before it 7, but random reads at most 128; "
            "please shorten one of them.",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(random_gpt2, endings, sentence):
    with pytest.raises(Refusal) as refused:
        gpt2lab.context_choices(random_gpt2, CONTEXT, endings)
    assert str(refused.value).startswith(sentence)


def test_the_last_token_needs_no_room(random_gpt2):
    full = trace_ids(random_gpt2, [464] * 128)
    result = gpt2lab.choices(full, [" the"])
    expected = float(full.logits().double().log_softmax(-1)[262])
    assert result.logprobs[0] == pytest.approx(expected, abs=VALUES)
    assert len(gpt2lab.context_choices(random_gpt2, CONTEXT, " the" * 122).endings[0].ids) == 122


def test_the_answer_shows_the_record(random_gpt2):
    result = gpt2lab.context_choices(random_gpt2, CONTEXT, ENDINGS)
    answer = choices.answer(result)
    assert answer["context_ids"] == encode(random_gpt2, CONTEXT)
    for place, (ending, shown) in enumerate(zip(result.endings, answer["endings"], strict=True)):
        assert shown["text"] == ending.text
        assert shown["ids"] == encode(random_gpt2, ending.text)
        assert shown["tokens"] == random_gpt2.tokenizer.tokenize(ending.text)
        assert shown["logprob"] == pytest.approx(sum(shown["logprobs"]))
        assert shown["mean_logprob"] == pytest.approx(shown["logprob"] / len(ending.ids))
        assert shown["probability"] == result.probabilities[place]
        assert shown["joined_alike"] is (ending.text != "n apple")  # "an apple" has other tokens


def test_the_figure_has_a_bar_and_the_tokens_of_every_ending(random_gpt2):
    result = gpt2lab.context_choices(random_gpt2, CONTEXT, [" the", " <b>🎉", " end" * 60])
    for dark in (False, True):
        drawing = choices.figure(result, dark=dark)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawing.savefig(io.BytesIO(), format="png")
    written = [text.get_text() for text in drawing.axes[0].texts]
    best = int(result.mean_logprobs.argmax())
    for number, ending in enumerate(result.endings):
        assert ("● " if number == best else "") + str(number + 1) in written
        assert sum(f"mean {ending.mean_logprob:.2f}".replace("-", "−") in one for one in written)
    assert written.count("␣end") == choices.MOST_CHIPS
    assert any("the first 48 of 60 tokens" in one for one in written)
    bars = sorted(bar.get_width() for bar in drawing.axes[0].patches if hasattr(bar, "get_width"))
    longest = max(bars)
    shares = result.probabilities / result.probabilities.max()
    for share in shares:
        assert min(abs(bar / longest - share) for bar in bars) < 1e-6


def test_hostile_contexts_and_endings_can_be_drawn(random_gpt2):
    texts = [*HOSTILE.values()]
    for half in (texts[:8], texts[8:]):
        result = gpt2lab.context_choices(random_gpt2, half[0], [one[:24] for one in half])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            choices.figure(result).savefig(io.BytesIO(), format="png")


def test_examples_can_be_scored_by_every_model(random_gpt2):
    for example in choices.examples(random_gpt2):
        result = gpt2lab.context_choices(random_gpt2, example.text, **example.controls)
        assert len(result.endings) >= 2
        assert dataclasses.is_dataclass(result)
