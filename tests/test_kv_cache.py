"""KV cache: logits and sizes against transformers, and that times are measured as is said."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import student
import torch
from drawings import save
from matplotlib.figure import Figure
from texts import TEXTS

import gpt2lab
from gpt2lab import cache_times
from gpt2lab.cache_times import KvCache
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


@pytest.mark.parametrize("name", TEXTS)
def test_everything_shown_is_what_transformers_gives(request, monkeypatch, name):
    """Record, table, answer, figure and code of every text; times are those of the record."""
    monkeypatch.setattr(cache_times, "MOST_REPEATS", 1)
    gpt2 = request.getfixturevalue("wide_gpt2" if name == "1,024 tokens" else "random_gpt2")
    ids = (encode(gpt2, TEXTS[name]) or [50256])[: gpt2.n_positions]
    trace = trace_ids(gpt2, ids)
    result = gpt2lab.kv_cache(trace, "alone", LONG)
    assert result.lengths[-1] == len(ids) == result.longest == result.text_length
    assert len(ids) == 1024 or name != "1,024 tokens"
    logits, sizes = plain_passes(gpt2.model, ids, result.lengths)
    assert sizes[-1] == 2 * gpt2.n_layer * len(ids) * gpt2.n_embd * 4
    np.testing.assert_allclose(result.logits, logits, rtol=0, atol=LOGITS)
    assert_table(result, sizes)
    assert_answer(result, sizes)
    assert_figure(kv_cache.figure(result), result, sizes)
    names = student.run(kv_cache.snippet(trace, "alone", LONG))
    np.testing.assert_allclose(names["logits"], logits, rtol=0, atol=LOGITS)
    assert names["cache_bytes"] == sizes


@torch.no_grad()
def plain_passes(model, ids, lengths) -> tuple[np.ndarray, list[int]]:
    """Logits behind each length, and the bytes of the cache that transformers makes for it."""
    logits, sizes = [], []
    for length in lengths:
        outputs = model(torch.tensor([ids[:length]]), use_cache=True, logits_to_keep=1)
        logits.append(outputs.logits[0, 0].numpy())
        layers = outputs.past_key_values.layers
        sizes.append(sum(one.keys.nbytes + one.values.nbytes for one in layers))
    return np.stack(logits), sizes


def assert_table(result: KvCache, sizes: list[int]) -> None:
    table = kv_cache.table(result)
    columns = dict(zip(table.headers, zip(*table.rows, strict=True), strict=True))
    with_it, without_it = np.array(result.seconds_with), np.array(result.seconds_without)
    assert columns.pop("tokens") == result.lengths
    np.testing.assert_allclose(columns.pop("with cache (ms)"), 1000 * with_it)
    np.testing.assert_allclose(columns.pop("without (ms)"), 1000 * without_it)
    np.testing.assert_allclose(columns.pop("times as long"), without_it / with_it)
    assert columns.pop("measurements") == result.repeats
    assert 0 <= max(columns.pop("largest difference of a logit")) < LOGITS
    assert list(columns.pop("bytes of the cache")) == sizes
    assert list(columns.pop("by the formula")) == sizes
    assert columns == {}


def assert_answer(result: KvCache, sizes: list[int]) -> None:
    answer = kv_cache.answer(result)
    assert json.loads(json.dumps(answer)) == answer
    assert 0 <= max(answer.pop("largest_differences")) < LOGITS
    assert_verdict(answer.pop("verdict"), result, sizes)
    assert answer == {
        "text_length": result.text_length,
        "repeated": result.repeated,
        "lengths": list(result.lengths),
        "seconds_with_cache": result.seconds_with.tolist(),
        "seconds_without_cache": result.seconds_without.tolist(),
        "measurements": list(result.repeats),
        "cache_bytes": sizes,
        "formula_bytes": sizes,
    }


def assert_verdict(verdict: str, result: KvCache, sizes: list[int]) -> None:
    difference = re.search(r"logits equal those without it \(largest difference (\S+)\)", verdict)
    assert difference
    assert float(difference[1]) < LOGITS
    with_it, without_it = 1000 * result.seconds_with, 1000 * result.seconds_without
    times = f"one more takes {with_it[-1]:.3g} ms with it and {without_it[-1]:.3g} ms without"
    assert f"At {result.lengths[-1]:,} tokens, {times}" in verdict
    size = re.search(r"The cache takes (\S+) (KiB|MiB), exactly (\S+) · ([^.]*) bytes", verdict)
    assert size
    assert size[1] == f"{sizes[-1] / {'KiB': 2**10, 'MiB': 2**20}[size[2]]:,.1f}"
    factors = f"{size[3]} · {size[4]}".replace(",", "").split(" · ")
    assert math.prod(map(int, factors)) == sizes[-1]


def assert_figure(drawing: Figure, result: KvCache, sizes: list[int]) -> None:
    said = " ".join(drawing.get_suptitle().split())
    assert said == f"{result.verdict} {result.facts}"
    assert result.facts.startswith(f"the text's {result.text_length:,} tokens")
    times, memory = drawing.axes
    without_it, with_it = times.lines
    assert [line.get_label() for line in times.lines] == ["without cache", "with"]
    np.testing.assert_allclose(without_it.get_ydata(), 1000 * result.seconds_without)
    np.testing.assert_allclose(with_it.get_ydata(), 1000 * result.seconds_with)
    np.testing.assert_allclose(memory.lines[0].get_ydata(), np.array(sizes) / 2**20)
    for line in (*times.lines, *memory.lines):
        assert tuple(line.get_xdata()) == result.lengths
    for axes in drawing.axes:
        places = axes.get_xticks().tolist()
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [f"{n:,}" for n in places]
        assert set(places) <= set(result.lengths)
        assert places[-1] == result.lengths[-1]


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


def test_a_wrong_size_would_be_said(random_gpt2):
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT), "alone", LONG)
    assert "The cache takes 5.2 KiB, exactly 2 · 3 · 7 · 32 · 4 bytes." in result.verdict
    wrong = dataclasses.replace(result, cache_bytes=(1, 2, 3))
    assert "NOT 2 · 3 · 7 · 32 · 4 bytes" in wrong.verdict


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_figure_draws_the_times_and_sizes(random_gpt2, dark):
    result = gpt2lab.kv_cache(trace_text(random_gpt2, TEXT), seconds=LONG)
    drawing = kv_cache.figure(result, dark=dark)
    assert_figure(drawing, result, [768 * length for length in result.lengths])
    assert "the text's 7 tokens, repeated up to 128 · each time is" in drawing.get_suptitle()
    save(drawing, "png")


@pytest.fixture(autouse=True)
def in_the_projects_folder(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
