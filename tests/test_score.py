"""Score a text: the record, its picture, table, answer and snippet; numbers are in test_scoring."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import student
import torch
from prompts import HOSTILE, PROMPTS
from texts import TEXTS

import gpt2lab
from gpt2lab import score_figure
from gpt2lab.inspections import score
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

WITHIN = 1e-5
TEXT = "to be or not to be or"
PIECES = [464, 12520, 236, 188]
"""The, and three tokens whose bytes are no whole character."""


@pytest.fixture(autouse=True)
def in_the_projects_folder(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)


@pytest.mark.parametrize("text", PROMPTS.values(), ids=PROMPTS)
def test_bits_per_byte_are_the_losses_bits_over_the_bytes_scored(random_gpt2, text):
    result = gpt2lab.score(trace_text(random_gpt2, text))
    if len(result.ids) == 1:
        assert np.isnan([result.bits_per_byte, result.loss, result.perplexity]).all()
        return
    # In the vocabulary's strings each character is one byte.
    size = len(text.encode()) - len(result.tokens[0])
    bits = result.loss * (len(result.ids) - 1) / np.log(2)
    assert result.bits_per_byte == pytest.approx(bits / size, rel=1e-9)


def test_bytes_of_split_characters_are_counted_with_their_tokens(random_gpt2):
    result = gpt2lab.score(trace_ids(random_gpt2, PIECES))
    bits = -result.logprobs[1:].sum() / np.log(2)
    assert result.bits_per_byte == pytest.approx(bits / 5, rel=1e-9)  # a blank and four bytes


def test_surprise_is_what_comes_on_top_of_the_entropy(random_gpt2):
    result = gpt2lab.score(trace_text(random_gpt2, TEXT))
    p = np.exp(result.logprobs[1:])
    np.testing.assert_allclose(result.surprise_bits[1:] + result.entropy_bits[1:], -np.log2(p))
    assert np.isnan(result.surprise_bits[0])


def test_the_histogram_counts_the_classes_of_ranks(random_gpt2):
    found = gpt2lab.score(trace_text(random_gpt2, TEXT))
    ranks = np.array([0, 1, 1, 2, 10, 11, 100, 101, 1000, 1001, 50257])
    assert score.Numbers(found.logprobs, ranks, found.entropy_bits).histogram == (2, 2, 2, 2, 2)


@pytest.mark.parametrize("text", ["", "The", TEXT, HOSTILE["emoji"], "a b" * 200])
def test_the_answer_has_null_where_nothing_is_known(random_gpt2, text):
    """The last text is longer than the context of 128 tokens."""
    result = gpt2lab.score_text(random_gpt2, text)
    answer = score.answer(result)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert answer["ids"] == (encode(random_gpt2, text) or [50256])
    for name in ("logprobs", "ranks", "entropy_bits"):
        assert answer[name][0] is None
        assert answer[name][1:] == getattr(result, name)[1:].tolist()
    one = len(answer["ids"]) == 1
    assert answer["perplexity"] == (None if one else result.perplexity)
    assert answer["bits_per_byte"] == (None if one else result.bits_per_byte)
    assert (answer["window"], answer["stride"]) == (128, 64)


def test_a_text_beyond_the_context_has_an_answer_and_a_picture(random_gpt2):
    text = PROMPTS["repeats"] * 15
    result = gpt2lab.score_text(random_gpt2, text, stride=100)
    assert len(result.ids) > 128
    assert np.isfinite(result.logprobs[1:]).all()
    short = trace_ids(random_gpt2, result.ids[:128])
    expected = gpt2lab.score(short).logprobs
    np.testing.assert_allclose(result.logprobs[:128], expected, rtol=WITHIN, atol=WITHIN)
    drawing = score.figure(result)
    assert f"window 128, stride {result.stride}" in " ".join(written(drawing))


@pytest.mark.parametrize(
    ("ids", "given"), [(None, {}), (None, {"window": 5, "stride": 2}), (PIECES, {"window": 3})]
)
def test_the_snippet_gives_the_numbers(random_gpt2, ids, given):
    trace = trace_ids(random_gpt2, ids) if ids else trace_text(random_gpt2, TEXT)
    result = gpt2lab.score(trace, **given)
    code = score.snippet(trace, **given)
    assert len([line for line in code.splitlines() if line.strip()]) <= 17
    names = student.run(code)
    assert "perplexity" in names["printed"]
    for name in ("logprobs", "ranks", "entropy_bits"):
        np.testing.assert_allclose(
            names[name].numpy(), getattr(result, name), WITHIN, WITHIN, err_msg=name
        )
    assert float(names["loss"]) == pytest.approx(result.loss, rel=WITHIN)
    assert float(names["loss"].exp()) == pytest.approx(result.perplexity, rel=WITHIN)
    if not given:
        with torch.no_grad():
            loss = names["model"](names["ids"], labels=names["ids"]).loss
        assert result.loss == pytest.approx(float(loss), rel=WITHIN)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_table_picture_and_snippet_say_what_transformers_gives(wide_gpt2, text):
    """All of them against a plain forward pass, within 1e-5 or what their digits leave open."""
    trace = trace_text(wide_gpt2, text)
    result = gpt2lab.score(trace)
    ids = trace.ids[None]
    with torch.no_grad():
        output = wide_gpt2.model(ids, labels=ids)
    log_p = output.logits[0, :-1].double().log_softmax(-1)
    chosen = log_p.gather(-1, ids[0, 1:, None])[:, 0].numpy()
    bits = (-(log_p.exp() * log_p).sum(-1) / np.log(2)).numpy()

    _, *rows = score.table(result).rows
    columns = np.array([row[4:] for row in rows]).reshape(-1, 4).T
    expected = (chosen, np.exp(chosen), bits, -chosen / np.log(2) - bits)
    np.testing.assert_allclose(columns, expected, WITHIN, 5 * WITHIN)
    tokens = wide_gpt2.tokenizer.convert_ids_to_tokens(ids[0])
    assert [row[2] for row in rows] == ids[0, 1:].tolist()

    names = student.run(score.snippet(trace))
    for name, values in (("logprobs", chosen), ("entropy_bits", bits)):
        np.testing.assert_allclose(names[name][1:], values, WITHIN, WITHIN)
    np.testing.assert_array_equal(names["ranks"], result.ranks)

    drawing = score.figure(result)
    facts = next(one for one in written(drawing) if re.match("[0-9,]+ tokens?", one))
    told = [float(one.replace(",", "")) for one in re.findall(r"[0-9][0-9,.]*(?:e\+\d+)?", facts)]
    if len(tokens) == 1:
        assert told == [1]
        return
    loss = float(output.loss)
    size = sum(map(len, tokens[1:]))  # in these strings each character is one byte
    bits_per_byte = loss * (len(tokens) - 1) / np.log(2) / size
    assert told[0] == len(tokens)
    assert told[1] == pytest.approx(
        np.exp(loss), rel=5e-3 if loss > np.log(1e6) else WITHIN, abs=0.051
    )
    assert told[2:] == pytest.approx([loss, bits_per_byte], abs=0.00051)
    ends = [line[1, 1] for line in drawing.axes[1].collections[0].get_segments()]
    np.testing.assert_allclose(ends, expected[3], WITHIN, 5 * WITHIN)


def test_the_table_has_a_row_per_token(random_gpt2):
    result = gpt2lab.score(trace_text(random_gpt2, TEXT))
    first, *rows = score.table(result).rows
    assert first == (0, "to", result.ids[0], "", "", "", "", "")
    assert len(rows) == len(result.ids) - 1
    for position, shown, id, rank, logprob, probability, entropy, surprise in rows:
        assert (shown, id) == (result.pieces.shown[position], result.ids[position])
        assert (rank, logprob) == (result.ranks[position], result.logprobs[position])
        assert probability == pytest.approx(np.exp(logprob))
        assert entropy == result.entropy_bits[position]
        assert surprise == pytest.approx(-np.log2(probability) - entropy)


def written(drawing) -> list[str]:
    return [text.get_text() for axes in drawing.axes for text in axes.texts]


@pytest.mark.parametrize("colour", score.SCALES)
def test_each_chip_has_its_number_below(random_gpt2, colour):
    result = gpt2lab.score(trace_text(random_gpt2, TEXT), colour)
    drawing = score.figure(result, dark=True)
    values = {
        "log-probability": [f"{one:.2f}" for one in result.logprobs[1:]],
        "rank": [f"{one:,}" for one in result.ranks[1:]],
        "entropy": [f"{one:.1f}" for one in result.entropy_bits[1:]],
        "surprise": [f"{one:.1f}" for one in result.surprise_bits[1:]],
    }[colour]
    texts = written(drawing)
    for shown, value in zip(result.pieces.shown[1:], values, strict=True):
        place = texts.index(value.replace("-", "−"))
        assert texts[place - 1] == shown
        texts = texts[place + 1 :]


def test_the_panels_show_the_surprise_and_the_ranks(random_gpt2):
    result = gpt2lab.score(trace_text(random_gpt2, TEXT))
    _, surprise, ranks = score.figure(result).axes
    ends = [line[1, 1] for line in surprise.collections[0].get_segments()]
    np.testing.assert_allclose(ends, result.surprise_bits[1:])
    assert tuple(bar.get_width() for bar in ranks.patches) == result.histogram
    assert [text.get_text() for text in ranks.texts] == [f"{one:,}" for one in result.histogram]


@pytest.mark.parametrize(
    ("position", "start"), [(0, 0), (9, 0), (-1, 20), (39, 20), (13, 3), (15, 4)]
)
def test_of_a_long_text_the_chips_around_the_position_are_drawn(
    random_gpt2, monkeypatch, position, start
):
    """Of 40 tokens 20; those at 4, 5 and 6 are one character, which is not cut."""
    monkeypatch.setattr(score_figure, "MOST_CHIPS", 20)
    emoji = encode(random_gpt2, " 🎉")
    assert len(emoji) == 3
    ids = [464] * 4 + emoji + [464] * 33
    result = gpt2lab.score(trace_ids(random_gpt2, ids), position=position)
    surprise = score.figure(result).axes[1]
    shaded = f"position; shaded: {start} to {start + 19}, the chips above"
    assert surprise.get_xlabel() == shaded
    assert len(surprise.collections[0].get_segments()) == 39


@pytest.mark.parametrize("wrong", ["", "Rank", None, 3, ["rank"], {"rank": 1}])
def test_what_is_no_colour_is_refused(random_gpt2, wrong):
    with pytest.raises(Refusal, match=r"^colour is .* but must be one of log-probability, rank"):
        gpt2lab.score(trace_text(random_gpt2, TEXT), wrong)
