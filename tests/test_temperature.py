"""Temperature: the sweep and the cuts against transformers on many texts, the figure, the code.

Probabilities agree within 1e-5, entropies within 1e-4 bits; counts are equal.
"""

import dataclasses
import doctest
import json

import numpy as np
import pytest
import torch
from test_inspections import EVERY_STAGE, run, save
from test_next_token import eager, read
from texts import EVERY_THIRD, TEXTS, long_text
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from gpt2lab import temperature_figure
from gpt2lab.decoding import Decoding
from gpt2lab.inspections import temperature as module
from gpt2lab.inspections.temperature import TEMPERATURES, temperature
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

VALUES = 1e-5
BITS = 1e-4
PROMPT = "The old king said to his daughter, the queen said to his"
CUTTING = Decoding(
    repetition_penalty=1.3, temperature=0.7, top_k=300, top_p=0.95, min_p=0.01, typical_p=0.9
)
SETTINGS = {
    "every cut": CUTTING,
    "every stage": EVERY_STAGE,
    "default": Decoding(),
    "hot": Decoding(temperature=5.0, top_k=0, top_p=0.9),
    "cold": Decoding(temperature=0.02),
    "no cut": Decoding(top_k=0),
    "greedy": Decoding(strategy="greedy", repetition_penalty=1.4, temperature=0.5, top_k=5),
    "beam": Decoding(strategy="beam", num_beams=2, repetition_penalty=1.4),
}


def reference_logits(gpt2, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return eager(gpt2.path)(torch.tensor([ids])).logits[:, -1]


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", EVERY_THIRD.values(), ids=EVERY_THIRD)
def test_sweep_and_cuts_are_those_of_transformers(random_gpt2, text):
    ids = read(random_gpt2, text)
    prompt = torch.tensor([ids])
    scores = RepetitionPenaltyLogitsProcessor(1.3)(prompt, reference_logits(random_gpt2, ids))
    result = temperature(trace_ids(random_gpt2, ids), decoding=CUTTING)

    assert result.ids == tuple(scores[0].topk(8).indices.tolist())
    assert (result.temperatures[0], result.temperatures[-1]) == (0.1, 2.0)
    for place, one in list(enumerate(result.temperatures))[::3]:
        expected = TemperatureLogitsWarper(one)(prompt, scores)[0].double().softmax(-1)
        np.testing.assert_allclose(
            result.probabilities[place], expected[list(result.ids)].numpy(), rtol=0, atol=VALUES
        )
        unlisted = np.delete(expected.numpy(), result.ids).sum()
        assert result.others[place] == pytest.approx(unlisted, rel=1e-3, abs=1e-12)
        bits = -torch.xlogy(expected, expected).sum() / np.log(2)
        assert result.entropy_bits[place] == pytest.approx(float(bits), abs=BITS)

    warped = TemperatureLogitsWarper(0.7)(prompt, scores)
    whole = warped[0].double().softmax(-1)
    np.testing.assert_allclose(
        result.ranked, whole.sort(descending=True).values.numpy(), rtol=0, atol=VALUES
    )
    np.testing.assert_allclose(result.current, whole[list(result.ids)].numpy(), rtol=0, atol=VALUES)
    warpers = {
        "top_k": TopKLogitsWarper(300),
        "top_p": TopPLogitsWarper(0.95),
        "min_p": MinPLogitsWarper(0.01),
        "typical_p": TypicalLogitsWarper(0.9),
    }
    assert [cut.name for cut in result.cuts] == list(warpers)
    chained = warped
    for cut, warper in zip(result.cuts, warpers.values(), strict=True):
        alone = warper(prompt, warped.clone())
        chained = warper(prompt, chained.clone())
        kept = chained[0].isfinite()
        assert cut.kept == int(kept.sum())
        assert cut.alone == int(alone.isfinite().sum())
        assert cut.kept_mass == pytest.approx(float(whole[kept].sum()), abs=VALUES)
        if cut.ranked:  # what is kept are the first so many
            together = result.ranked[: cut.kept].sum(dtype=np.float64)
            assert together == pytest.approx(cut.kept_mass, abs=1e-4)


@pytest.mark.parametrize("decoding", SETTINGS.values(), ids=SETTINGS)
def test_what_is_left_is_what_generate_draws_from(pocket, decoding):
    trace = trace_text(pocket, PROMPT)
    result = temperature(trace, decoding=decoding)
    prompt = trace.ids[None]
    config = decoding.prepared_config(pocket, len(trace))
    processors: LogitsProcessorList = eager(pocket.path)._get_logits_processor(
        config, len(trace), device="cpu"
    )
    logits = reference_logits(pocket, trace.ids.tolist())
    drawn = processors(prompt, logits.log_softmax(-1) if decoding.strategy == "beam" else logits)
    if result.cuts:
        assert result.kept[-1] == int(drawn.isfinite().sum())
    else:
        at_one = drawn[0].softmax(-1)  # nothing is cut off: the current distribution is drawn from
        np.testing.assert_allclose(
            result.current, at_one[list(result.ids)].numpy(), rtol=0, atol=VALUES
        )
    assert result.temperature == (decoding.temperature if decoding.strategy == "sample" else None)


def test_entropy_grows_with_the_temperature_and_the_order_stays(pocket):
    result = temperature(trace_text(pocket, PROMPT))
    assert np.all(np.diff(result.entropy_bits) > 0)
    assert np.all(np.diff(result.probabilities[:, :8], axis=1) <= 0)
    assert np.all(np.diff(result.probabilities[:, 0]) < 1e-6)
    # The docstring: a ratio at T is the ratio at 1 to the power of 1/T.
    one, half = result.temperatures.index(1.0), result.temperatures.index(0.5)
    ratio = result.probabilities[:, 0] / result.probabilities[:, 1]
    assert ratio[half] == pytest.approx(ratio[one] ** 2, rel=1e-3)


def test_a_cold_distribution_keeps_fewer_under_top_p_and_as_many_under_top_k(pocket):
    trace = trace_text(pocket, PROMPT)
    kept = {
        (cut, one): temperature(trace, decoding=Decoding(temperature=one, **cuts)).kept
        for one in (0.5, 2.0)
        for cut, cuts in (("k", {"top_k": 50}), ("p", {"top_k": 0, "top_p": 0.9}))
    }
    assert kept["k", 0.5] == kept["k", 2.0] == (50,)
    assert kept["p", 0.5] < kept["p", 2.0]


def test_the_token_that_follows_is_always_listed(random_gpt2):
    trace = trace_text(random_gpt2, PROMPT)
    for position in range(len(trace) - 1):
        result = temperature(trace, position)
        assert result.chosen == int(trace.ids[position + 1])
        assert result.chosen in result.ids
        assert len(result.ids) == len(set(result.ids)) in (8, 9)
    assert temperature(trace).chosen is None


def test_end_of_text_is_forbidden_only_until_enough_is_written(random_gpt2):
    trace = trace_text(random_gpt2, PROMPT)
    decoding = Decoding(min_new_tokens=3, top_k=0)
    early = temperature(trace, decoding=decoding)
    late = temperature(trace, decoding=decoding, prompt_length=2)
    assert early.ranked[-1] == 0
    assert late.ranked[-1] > 0


# --- table and answer ----------------------------------------------------------------------------


@pytest.mark.parametrize("decoding", SETTINGS.values(), ids=SETTINGS)
def test_the_table_and_the_answer_show_the_record(pocket, decoding):
    result = temperature(trace_text(pocket, PROMPT), 5, decoding=decoding)
    table = module.table(result)
    *rows, others, bits = table.rows
    assert [row[1] for row in rows] == list(result.ids)
    assert sum(str(row[0]).startswith("✓ ") for row in rows) == 1
    for column, header in enumerate(table.headers[2:], start=2):
        shown = [row[column] for row in rows]
        if header.startswith("p now"):
            assert header == f"p now (T = {decoding.temperature:g})"
            assert shown == result.current.tolist()
            assert others[column] == result.current_others
            assert bits[column] == result.current_entropy_bits
        else:
            place = result.temperatures.index(float(header.removeprefix("p at T = ")))
            assert shown == result.probabilities[place].tolist()
            assert bits[column] == float(result.entropy_bits[place])
        assert sum(shown) + others[column] == pytest.approx(1, abs=1e-4)
    assert ("p now" in table.headers[-1]) == (decoding.strategy == "sample")

    answer = module.answer(result)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert [one["id"] for one in answer["tokens"]] == list(result.ids)
    for row, one in enumerate(answer["tokens"]):
        assert one["token"] == pocket.tokenizer.convert_ids_to_tokens(one["id"])
        assert one["probabilities"] == result.probabilities[:, row].tolist()
    assert [cut["kept"] for cut in answer["cuts"]] == list(result.kept)
    assert answer["temperature"] == result.temperature


# --- code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["every cut", "cold", "greedy", "beam"])
def test_the_code_prints_the_sweep_and_what_is_kept(pocket, monkeypatch, capsys, name):
    trace = trace_text(pocket, PROMPT)
    result = temperature(trace, 7, decoding=SETTINGS[name], prompt_length=3)
    code = module.snippet(trace, 7, decoding=SETTINGS[name], prompt_length=3)
    assert len([line for line in code.splitlines() if line.strip()]) <= 18
    monkeypatch.chdir(pocket.path.removesuffix("gpt2lab/pocket"))
    names: dict = {}
    exec(code, names)
    for field in ("probabilities", "entropy_bits"):
        np.testing.assert_allclose(names[field], getattr(result, field), rtol=0, atol=VALUES)
    assert names["kept"] == result.kept
    kept, *rows = capsys.readouterr().out.strip().splitlines()
    assert kept == f"kept: {result.kept}"
    assert len(rows) == len(TEMPERATURES)
    assert rows[0].startswith("(0.1, ")
    listed = code.split("  # ", 2)[-1].splitlines()[0].split(", ")
    assert len(listed) == len(result.ids)


# --- figure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoding", SETTINGS.values(), ids=SETTINGS)
def test_the_figure_shows_lines_mark_and_cuts(pocket, decoding):
    result = temperature(trace_text(pocket, PROMPT), 5, decoding=decoding)
    sweep, ranked, entropy, together = module.figure(result).axes
    lines = [line for line in sweep.lines if len(line.get_xdata()) == len(TEMPERATURES)]
    assert len(lines) == len(result.ids)
    for line, values in zip(lines, result.probabilities.T, strict=True):
        assert np.array_equal(line.get_ydata(), values)
    assert [line.get_linewidth() for line in lines].count(3) == 1
    names = [text.get_text() for text in sweep.texts]
    assert sum(name.startswith("✓ ") for name in names) == 1
    assert np.array_equal(entropy.lines[0].get_ydata(), result.entropy_bits)
    marks = [line.get_xdata()[0] for line in sweep.lines if line not in lines]
    visible = result.temperature is not None and 0.1 <= result.temperature <= 2
    assert marks == ([result.temperature] if visible else [])
    now = sweep.get_title().split("\n")[1]
    if result.temperature is None:
        assert now == f"{decoding.strategy} does not use it"
    else:
        assert f"T = {result.temperature:g}" in now

    assert together.lines[0].get_ydata()[-1] == pytest.approx(1, abs=1e-4)
    drawn = [cut for cut in result.cuts if cut.name != "typical_p"]
    assert [line.get_xdata()[0] for line in ranked.lines[1:]] == [cut.kept + 0.5 for cut in drawn]
    assert [line.get_xdata()[0] for line in together.lines[1:]] == [cut.kept + 0.5 for cut in drawn]
    legend = ranked.get_legend()
    texts = [text.get_text() for text in legend.get_texts()] if legend else []
    assert [text.split(" kept")[0] for text in texts] == [
        f"{cut.name} {cut.value:g}: {cut.kept:,}" for cut in drawn
    ]
    if result.cuts:
        assert f"{result.kept[-1]:,} token" in ranked.get_title()
    else:
        assert "nothing is cut off" in ranked.get_title()


def test_names_at_the_line_ends_do_not_overlap(pocket):
    for position in (0, 3, 5):
        result = temperature(trace_text(pocket, PROMPT), position)
        axes = module.figure(result).axes[0]
        places = sorted(text.get_position()[1] for text in axes.texts)
        assert len(places) == len(result.ids)
        assert np.diff(places).min() > temperature_figure.GAP - 1e-9


def test_the_spreading_of_names():
    assert doctest.testmod(temperature_figure).attempted
    assert not doctest.testmod(temperature_figure).failed
    assert temperature_figure._spread(np.array([0.9, 0.1])).tolist() == [0.9, 0.1]


def test_odd_tokens_can_be_drawn(random_gpt2):
    """No position has such a top list, so the names are put in by hand."""
    result = temperature(trace_text(random_gpt2, PROMPT), decoding=CUTTING)
    every = {id for text in TEXTS.values() for id in encode(random_gpt2, text)}
    odd = sorted(id for id in every if not random_gpt2.tokenizer.decode(id).strip().isalnum())
    ids = [*encode(random_gpt2, "$x_1$ \\ ^{\n\x07\u202e"), *odd[::20]]
    for start in range(0, len(ids), 14):
        part = ids[start : start + 14]
        named = dataclasses.replace(
            result,
            ids=tuple(part),
            tokens=tuple(random_gpt2.tokenizer.convert_ids_to_tokens(part)),
            probabilities=np.resize(result.probabilities, (len(TEMPERATURES), len(part))),
        )
        save(module.figure(named, dark=bool(start)))


@pytest.mark.parametrize("length", [1, 12, 512])
def test_texts_of_any_length_can_be_drawn(pocket, length):
    ids = encode(pocket, long_text())[:length]
    result = temperature(trace_ids(pocket, ids), decoding=CUTTING)
    expected = reference_logits(pocket, ids)
    expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([ids]), expected)
    assert result.ids == tuple(expected[0].topk(8).indices.tolist())
    save(module.figure(result))


def test_the_code_runs_after_hostile_tokens(random_gpt2):
    """The names of the listed tokens stand in the code."""
    ids = encode(random_gpt2, "'\"\\{}\n\x0b$%")
    trace = trace_ids(random_gpt2, [ids[0], ids[1]])
    assert run(module.snippet(trace, 0))["kept"] == (50,)
