"""KV cache: logits and sizes against transformers, and that times are measured as is said."""

import dataclasses
import io
import warnings

import numpy as np
import pytest
import torch
from texts import EVERY_THIRD

import gpt2lab
from gpt2lab import cache_times
from gpt2lab.inspections import kv_cache
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

LOGITS = 1e-4
"""Absolute; a cached pass rounds in another order."""
LONG = 10.0
"""Seconds that are enough for all lengths on a busy machine, too."""
TEXT = "to be or not to be or"


@pytest.fixture(autouse=True)
def measured_anew():
    """Forget measurements of earlier tests."""
    cache_times.compared.cache_clear()


@pytest.mark.parametrize("text", EVERY_THIRD.values(), ids=EVERY_THIRD)
def test_the_logits_are_those_of_a_plain_forward_pass(random_gpt2, monkeypatch, text):
    monkeypatch.setattr(cache_times, "MOST_REPEATS", 1)
    ids = (encode(random_gpt2, text) or [50256])[:128]
    result = gpt2lab.kv_cache(trace_ids(random_gpt2, ids), "alone", LONG)
    assert result.lengths[-1] == len(ids) == result.longest == result.text_length
    with torch.no_grad():
        outputs = random_gpt2.model(torch.tensor([ids]), use_cache=True)
    for length, logits in zip(result.lengths, result.logits, strict=True):
        expected = outputs.logits[0, length - 1].numpy()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=LOGITS)
    assert result.differences.max() < LOGITS
    layers = outputs.past_key_values.layers
    assert result.cache_bytes[-1] == sum(one.keys.nbytes + one.values.nbytes for one in layers)
    assert result.cache_bytes == result.formula_bytes
    assert result.formula_bytes[-1] == 2 * 3 * len(ids) * 32 * 4


def test_the_difference_is_that_to_a_pass_without_cache(random_gpt2, monkeypatch):
    """If the pass without cache gave other logits, it would be seen."""
    true = cache_times._all_again

    def shifted(model, ids):
        return true(model, ids) + 0.25 * (ids.shape[1] == 7)

    monkeypatch.setattr(cache_times, "_all_again", shifted)
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT), "alone", LONG)
    assert result.lengths == (1, 3, 7)
    assert result.differences[-1] == pytest.approx(0.25, abs=LOGITS)
    assert result.differences[:-1].max() < LOGITS
    assert "do NOT equal those without it (largest difference 2.5e-01)" in result.verdict


def test_a_short_text_is_repeated_up_to_the_context(random_gpt2):
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT), seconds=LONG)
    assert (result.text_length, result.repeated, result.longest) == (7, 19, 128)
    assert result.lengths == (1, 2, 4, 8, 16, 32, 64, 128)
    ids = (encode(random_gpt2, TEXT) * 19)[:128]
    with torch.no_grad():
        expected = random_gpt2.model(torch.tensor([ids])).logits[0, -1].numpy()
    np.testing.assert_allclose(result.logits[-1], expected, rtol=0, atol=LOGITS)


def test_there_are_at_most_eight_lengths_that_double():
    assert cache_times.lengths_up_to(1024) == [8, 16, 32, 64, 128, 256, 512, 1024]
    assert cache_times.lengths_up_to(5) == [1, 2, 5]
    assert cache_times.lengths_up_to(1) == [1]


class Clock:
    """A clock that moves by what a pass over so many tokens is said to cost."""

    def __init__(self, monkeypatch, cost):
        self.now = 0.0
        true_next, true_all = cache_times._next, cache_times._all_again

        def next_token(model, ids, cache):
            self.now += cost(1)
            return true_next(model, ids, cache)

        def all_again(model, ids):
            self.now += cost(ids.shape[1])
            return true_all(model, ids)

        monkeypatch.setattr(cache_times, "perf_counter", lambda: self.now)
        monkeypatch.setattr(cache_times, "_next", next_token)
        monkeypatch.setattr(cache_times, "_all_again", all_again)


def test_the_times_are_those_of_the_passes(random_gpt2, monkeypatch):
    Clock(monkeypatch, lambda tokens: tokens / 1000)
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT), seconds=10.0)
    np.testing.assert_allclose(result.seconds_with, 0.001, rtol=1e-6)
    np.testing.assert_allclose(result.seconds_without, np.array(result.lengths) / 1000, rtol=1e-6)
    assert result.repeats == (5,) * 8
    said = result.verdict
    assert "one more takes 1 ms with it and 128 ms without: 128 times as long." in said
    assert (
        "From 1 to 128 tokens the time grew 128-fold without the cache, 1.0-fold with it." in said
    )


def test_what_would_take_too_long_is_left_out_and_said(random_gpt2, monkeypatch):
    Clock(monkeypatch, lambda tokens: tokens / 100)
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT), seconds=1.0)
    # 0.01 + … + 0.32 s and six single tokens are 0.69 s; 64 tokens would take 0.64 s or more.
    assert result.lengths == (1, 2, 4, 8, 16, 32)
    assert result.longest == 128
    assert min(result.repeats) >= 1
    title = kv_cache.figure(result).get_suptitle().replace("\n", " ")
    assert "128 tokens would not have been done in the time set" in title


def test_it_is_measured_once_for_a_text(random_gpt2, monkeypatch):
    trace = trace_text(random_gpt2, TEXT)
    result = gpt2lab.kv_cache(trace)
    monkeypatch.setattr(cache_times, "_timed", None)
    assert gpt2lab.kv_cache(trace_text(random_gpt2, TEXT)) is result
    assert str(list(result.lengths)) in kv_cache.snippet(trace)


@pytest.mark.parametrize("wrong", ["", "Repeated", None, 3, ["alone"]])
def test_what_is_no_way_to_fill_is_refused(random_gpt2, wrong):
    with pytest.raises(Refusal, match=r"^fill is .* but must be one of repeated, alone"):
        gpt2lab.kv_cache(trace_text(random_gpt2, TEXT), wrong)


def test_the_table_and_the_answer_show_the_record(random_gpt2):
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT))
    answer = kv_cache.answer(result)
    assert answer["lengths"] == list(result.lengths)
    assert answer["seconds_with_cache"] == result.seconds_with.tolist()
    for place, row in enumerate(kv_cache.table(result).rows):
        length, with_it, without_it, ratio, count, difference, size, formula = row
        assert (length, count) == (result.lengths[place], result.repeats[place])
        assert with_it == pytest.approx(1000 * answer["seconds_with_cache"][place])
        assert without_it == pytest.approx(1000 * answer["seconds_without_cache"][place])
        assert ratio == pytest.approx(without_it / with_it)
        assert difference == answer["largest_differences"][place]
        assert size == formula == 768 * length


def test_a_wrong_size_would_be_said(random_gpt2):
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT), "alone", LONG)
    assert "The cache takes 5.2 KiB, exactly 2 · 3 · 7 · 32 · 4 bytes." in result.verdict
    wrong = dataclasses.replace(result, cache_bytes=(1, 2, 3))
    assert "NOT 2 · 3 · 7 · 32 · 4 bytes" in wrong.verdict


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_figure_draws_the_times_and_sizes(random_gpt2, dark):
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT))
    drawing = kv_cache.figure(result, dark=dark)
    times, sizes = drawing.axes
    without_it, with_it = (line.get_ydata() for line in times.lines)
    np.testing.assert_allclose(without_it, 1000 * result.seconds_without)
    np.testing.assert_allclose(with_it, 1000 * result.seconds_with)
    np.testing.assert_allclose(sizes.lines[0].get_ydata(), np.array(result.cache_bytes) / 2**20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.savefig(io.BytesIO(), format="png")
