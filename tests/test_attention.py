"""One head's attention: equal to transformers' own, also averaged and without the first key."""

import base64
import dataclasses
import io
import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from prompts import HOSTILE, PROMPTS
from student import run

import gpt2lab
from gpt2lab.attention_figure import ALL_LABELS, LOWEST
from gpt2lab.inspections import attention
from gpt2lab.inspections.attention import ALL_LAYERS, LAYER, ONE_HEAD
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import Trace, trace_ids, trace_text

TEXT = "to be or not to be or"
SUMS = 1e-6
"""Sums and means of float32 weights: absolute."""


@pytest.fixture
def trace(random_gpt2) -> Trace:
    return trace_text(random_gpt2, TEXT)


def eager(plain, trace: Trace) -> torch.Tensor:
    """Attention weights of a full pass: (layer, head, query, key)."""
    with torch.no_grad():
        attentions = plain(trace.ids[None], output_attentions=True).attentions
    return torch.stack(attentions)[:, 0]


# --- the numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["repeats", "one token", "empty", "emoji"])
def test_every_head_is_that_of_a_full_pass(gpt2, plain, text):
    trace = trace_text(gpt2, PROMPTS[text])
    expected = eager(plain, trace)
    for layer in range(gpt2.n_layer):
        for head in range(gpt2.n_head):
            result = gpt2lab.attention(trace, layer, head)
            assert (result.layer, result.head) == (layer, head)
            # Equal to the last bit, which is more than anybody was promised.
            assert np.array_equal(result.weights, expected[layer, head].numpy())
            assert result.unhidden is result.weights or np.array_equal(
                result.unhidden, result.weights
            )
            assert not result.removed.any()


def test_averages_are_means_of_a_full_pass(gpt2, plain):
    trace = trace_text(gpt2, TEXT)
    expected = eager(plain, trace).double()
    for layer in range(gpt2.n_layer):
        mean = gpt2lab.attention(trace, layer, 1, average=LAYER).weights
        np.testing.assert_allclose(mean, expected[layer].mean(0), rtol=0, atol=SUMS)
    mean = gpt2lab.attention(trace, 1, 1, average=ALL_LAYERS).weights
    np.testing.assert_allclose(mean, expected.mean((0, 1)), rtol=0, atol=SUMS)
    assert mean.dtype == np.float32


@pytest.mark.parametrize("average", attention.AVERAGES)
def test_hiding_the_first_key_scales_the_rest_to_one(gpt2, average):
    trace = trace_text(gpt2, TEXT)
    plain = gpt2lab.attention(trace, 1, 2, average=average)
    result = gpt2lab.attention(trace, 1, 2, average=average, hide_first=True)
    assert np.array_equal(result.unhidden, plain.weights)
    assert np.array_equal(result.removed, plain.weights[:, 0])
    assert not result.weights[:, 0].any()
    # The first query sees the first key alone: nothing is left of its row, and it stays so.
    assert not result.weights[0].any()
    assert result.removed[0] == 1
    np.testing.assert_allclose(result.weights[1:].sum(-1), 1, rtol=0, atol=SUMS)
    kept = 1 - plain.weights[1:, :1].astype(np.float64)
    np.testing.assert_allclose(result.weights[1:] * kept, plain.weights[1:] * (np.arange(7) > 0),
                               rtol=0, atol=SUMS)  # fmt: skip


def test_what_is_drawn_changes_no_number(trace):
    plain = gpt2lab.attention(trace, 1, 2)
    for controls in ({"log_scale": True}, {"last": 3}, {"position": 2}):
        other = gpt2lab.attention(trace, 1, 2, **controls)
        assert np.array_equal(other.weights, plain.weights)
        assert attention.answer(other) == attention.answer(plain)
    assert [gpt2lab.attention(trace, last=last).first_drawn for last in (0, 3, 7, 999)] == [
        0, 4, 0, 0
    ]  # fmt: skip
    assert gpt2lab.attention(trace, position=-1).position == 6


def test_unknown_averages_are_refused(trace):
    with pytest.raises(Refusal, match=r"^average is 'x', but must be one of one head, heads of "):
        gpt2lab.attention(trace, average="x")


def test_the_snippet_has_the_switches_in_it(trace):
    for controls in (
        {"average": LAYER, "hide_first": True, "layer": 2},
        {"average": ALL_LAYERS, "hide_first": True, "last": 2},
        {"average": ONE_HEAD, "hide_first": True, "layer": 1, "head": 3},
    ):
        names = run(attention.snippet(trace, **controls))
        result = gpt2lab.attention(trace, **controls)
        np.testing.assert_allclose(names["weights"], result.weights, rtol=0, atol=1e-5)
        np.testing.assert_allclose(names["removed"], result.removed, rtol=0, atol=1e-5)


def save(drawing: Figure) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.savefig(io.BytesIO(), format="png")


# --- table, answer and drawing -------------------------------------------------------------------


def test_the_table_and_the_answer_show_the_record(gpt2):
    trace = trace_text(gpt2, TEXT)
    for hide_first in (False, True):
        result = gpt2lab.attention(trace, 1, 2, hide_first=hide_first)
        answer = attention.answer(result)
        assert answer["weights"] == result.weights.tolist()
        assert answer["removed"] == result.removed.tolist()
        assert answer["tokens"] == ["to", "Ġbe", "Ġor", "Ġnot", "Ġto", "Ġbe", "Ġor"]
        table = attention.table(result)
        assert table.headers[-1].startswith("hidden") == hide_first
        for row in table.rows:
            query, query_token, key, key_token, weight, first = row
            assert query_token == result.shown[query]
            assert first == float(result.unhidden[query, 0])
            assert weight == float(result.weights[query].max())
            if hide_first and query == 0:
                assert (key, key_token) == ("", "nothing but the first token")
                continue
            assert key <= query
            assert key_token == result.shown[key]
            assert weight == float(result.weights[query, key])
    few = attention.table(dataclasses.replace(result, last=3)).rows
    assert few == table.rows[-3:]


def test_the_picture_of_the_page_has_every_weight_up_to_the_query(trace):
    result = gpt2lab.attention(trace, 1, 2, hide_first=True, last=5, position=3)
    data = attention.interactive(result)
    sent = np.frombuffer(base64.b64decode(data["weights"]), "<f4")
    rows, keys = np.tril_indices(7)
    assert np.array_equal(sent, result.unhidden[rows, keys])
    assert (data["ids"], data["shown"]) == (trace.ids.tolist(), list(result.shown))
    assert (data["first_drawn"], data["position"]) == (2, 3)
    assert (data["layers"], data["heads"]) == (3, 4)


def test_the_figure_says_who_attends_to_whom(trace):
    result = gpt2lab.attention(trace, 1, 2)
    axes = attention.INSPECTION.figure(result).axes[0]
    assert axes.get_title() == "layer 1, head 2"
    assert axes.get_xlabel() == "key: the token that is looked at"
    assert axes.get_ylabel() == "query: the token that looks"
    labels = ["to", "␣be", "␣or", "␣not", "␣to", "␣be", "␣or"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == labels
    assert [tick.get_text() for tick in axes.get_yticklabels()] == labels
    image = axes.images[0].get_array()
    assert np.array_equal(image.filled(0), result.weights)
    assert np.array_equal(image.mask, np.triu(np.ones((7, 7), dtype=bool), 1))
    assert axes.images[0].get_clim() == (0, 1)
    row = axes.child_axes[0].patches[0].get_data().values
    assert np.array_equal(row, result.weights[6])
    assert axes.child_axes[0].texts[0].get_text() == "query 6\n␣or"


def test_the_figure_shows_the_switches(trace):
    result = gpt2lab.attention(
        trace, 1, average=LAYER, hide_first=True, log_scale=True, last=4, position=4
    )
    drawing = attention.INSPECTION.figure(result, dark=True)
    axes = drawing.axes[0]
    title, part, hidden = axes.get_title().split("\n")
    assert (title, part) == ("layer 1, mean of its 4 heads", "the last 4 of 7 tokens")
    assert hidden == (
        f"first key hidden: {result.removed[4]:.3g} of this row, "
        f"{result.removed.mean():.3g} of a row on average"
    )
    image = axes.images[0]
    assert image.get_clim() == (LOWEST, 1)
    assert np.array_equal(image.get_array().filled(0), np.tril(result.weights[3:, 3:]))
    assert len(axes.get_xticklabels()) == 4
    bars = axes.child_axes[0].patches[0].get_data()
    lowest = np.float32(LOWEST)
    assert np.array_equal(bars.values, np.maximum(result.weights[4, 3:], lowest))
    before = attention.INSPECTION.figure(dataclasses.replace(result, position=1))
    assert not before.axes[0].child_axes  # the query is not among those that are drawn


def test_hostile_tokens_can_be_drawn_as_labels(random_gpt2):
    every = [id for text in HOSTILE.values() for id in encode(random_gpt2, text)]
    for start in range(0, len(every), ALL_LABELS):
        result = gpt2lab.attention(trace_ids(random_gpt2, every[start : start + ALL_LABELS]))
        save(attention.INSPECTION.figure(result, dark=bool(start)))


@pytest.mark.parametrize("length", [1, 33, 128])
def test_maps_of_any_length_can_be_drawn(random_gpt2, length):
    trace = trace_ids(random_gpt2, [464] * length)
    drawing = attention.INSPECTION.figure(gpt2lab.attention(trace, log_scale=True, hide_first=True))
    save(drawing)
    labels = [tick.get_text() for tick in drawing.axes[0].get_yticklabels()]
    assert len(labels) == {1: 1, 33: 11, 128: 16}[length]
    few = attention.INSPECTION.figure(gpt2lab.attention(trace, last=length - 1))
    assert few.axes[0].get_yticklabels()[-1].get_text().endswith("The")
    if length == 128:
        assert few.axes[0].get_yticklabels()[0].get_text() == "1 The"
