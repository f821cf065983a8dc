"""Temperature: every number on many texts against transformers, the figure, the code.

The reference is a plain forward pass and transformers' own logits processors, made here by hand.
Probabilities agree within 1e-5, and within a thousandth where they are small; entropies within
1e-4 bits; counts are equal. What is printed is rounded besides. The processors begin with the
lab's logits, which are tested first to be those of the forward pass: see test_next_token.py.
"""

import ast
import dataclasses
import doctest
import json
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import student
import torch
from matplotlib.axes import Axes
from test_inspections import EVERY_STAGE, run, save
from test_next_token import (
    Asked,
    asked,
    assert_close,
    at_the_end,
    each_text,
    eager,
    entropy_bits,
    reader,
    softmax,
    temper,
)
from texts import TEXTS, long_text
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
from gpt2lab.figures import label
from gpt2lab.inspections import temperature as module
from gpt2lab.inspections.temperature import TEMPERATURES, Temperature, temperature
from gpt2lab.tokens import encode, readable
from gpt2lab.trace import trace_ids, trace_text

__all__ = ["reader"]  # a fixture

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


# --- every text ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Expected:
    """What transformers makes of a text under `CUTTING`.

    ids: the eight most probable tokens, and the one that follows; sweep: the distribution at every
    temperature, (n_temperatures, vocab_size); now: the distribution at the current one, and ranked
    the same from the highest probability to the lowest.
    """

    ids: list[int]
    sweep: torch.Tensor
    bits: np.ndarray
    now: np.ndarray
    now_bits: float
    ranked: np.ndarray
    cuts: "list[ExpectedCut]"

    def others(self, temperature: float) -> float:
        probabilities = self.sweep[TEMPERATURES.index(temperature)].double()
        return float(np.delete(probabilities.numpy(), self.ids).sum())


class ExpectedCut(NamedTuple):
    """left: whether it and those before it keep a token; alone: how many it keeps on its own."""

    name: str
    value: float
    left: np.ndarray
    alone: int

    @property
    def kept(self) -> int:
        return int(self.left.sum())


def penalized(place: Asked, logits: torch.Tensor) -> torch.Tensor:
    """What the temperature divides: (1, vocab_size)."""
    return RepetitionPenaltyLogitsProcessor(1.3)(place.ids, logits[None].clone())


def by_transformers(place: Asked) -> Expected:
    prompt, now = place.ids, temper(place.trace.gpt2)
    scores = penalized(place, place.logits)
    ids = scores[0].topk(8).indices.tolist()
    if place.chosen is not None:
        ids = [*dict.fromkeys([*ids, place.chosen])]
    sweep = torch.cat(
        [TemperatureLogitsWarper(one / 20)(prompt, scores) for one in range(2, 41)]
    ).log_softmax(-1)
    probabilities = sweep.exp()
    warped = TemperatureLogitsWarper(now)(prompt, scores)
    at_present = softmax(warped[0])
    return Expected(
        ids=ids,
        sweep=probabilities,
        bits=-(probabilities * sweep).sum(-1).numpy() / np.log(2),
        now=at_present,
        now_bits=entropy_bits(at_present),
        ranked=-np.sort(-at_present),
        cuts=cuts_by_transformers(place, warped),
    )


def cuts_by_transformers(place: Asked, scores: torch.Tensor) -> list[ExpectedCut]:
    """What `CUTTING` keeps of scores that the temperature has divided."""
    warpers = {
        "top_k": (300, TopKLogitsWarper(300)),
        "top_p": (0.95, TopPLogitsWarper(0.95)),
        "min_p": (0.01, MinPLogitsWarper(0.01)),
        "typical_p": (0.9, TypicalLogitsWarper(0.9)),
    }
    cuts, chained = [], scores
    for name, (value, warper) in warpers.items():
        chained = warper(place.ids, chained.clone())
        alone = int(warper(place.ids, scores.clone()).isfinite().sum())
        cuts.append(ExpectedCut(name, value, chained[0].isfinite().numpy(), alone))
    return cuts


@each_text
def test_record_answer_table_figure_and_code_give_the_numbers_of_transformers(reader, text):
    assert_numbers(asked(reader, text))


def test_the_numbers_after_1024_tokens_are_those_of_transformers(wide_gpt2):
    place = at_the_end(wide_gpt2, long_text())
    assert place.ids.shape == (1, 1024)
    assert_numbers(place)


def assert_numbers(place: Asked) -> None:
    expected = by_transformers(place)
    decoding = dataclasses.replace(CUTTING, temperature=temper(place.trace.gpt2))
    result = temperature(place.trace, place.position, decoding)
    assert_record(result, expected)
    assert_answer(result, expected, place)
    assert_table(result, expected, place)
    assert_figure(result, expected, place)
    code = module.snippet(place.trace, place.position, decoding)
    names = student.run(code)
    assert_printed(names, expected)
    # The code has made its own logits.
    warped = TemperatureLogitsWarper(decoding.temperature)(place.ids, penalized(place, place.plain))
    assert names["kept"] == tuple(cut.kept for cut in cuts_by_transformers(place, warped))


def assert_record(result: Temperature, expected: Expected) -> None:
    assert result.ids == tuple(expected.ids)
    assert_close(result.probabilities, expected.sweep[:, expected.ids].numpy())
    np.testing.assert_allclose(result.entropy_bits, expected.bits, rtol=0, atol=BITS)
    assert_close(result.current, expected.now[expected.ids])
    assert_close(result.ranked, expected.ranked)


def assert_answer(result: Temperature, expected: Expected, place: Asked) -> None:
    answer = module.answer(result)
    names = place.trace.gpt2.tokenizer.convert_ids_to_tokens(expected.ids)
    assert answer["position"] == place.position
    assert answer["temperature"] == temper(place.trace.gpt2)
    assert answer["temperatures"] == [one / 20 for one in range(2, 41)]
    assert [(one["id"], one["token"]) for one in answer["tokens"]] == list(
        zip(expected.ids, names, strict=True)
    )
    probabilities = np.array([one["probabilities"] for one in answer["tokens"]]).T
    assert_close(probabilities, expected.sweep[:, expected.ids].numpy())
    np.testing.assert_allclose(answer["entropy_bits"], expected.bits, rtol=0, atol=BITS)
    for shown, cut in zip(answer["cuts"], expected.cuts, strict=True):
        assert (shown["name"], shown["value"]) == (cut.name, cut.value)
        assert (shown["kept"], shown["kept_alone"]) == (cut.kept, cut.alone)
        assert_close(shown["kept_mass"], expected.now[cut.left].sum())


def assert_table(result: Temperature, expected: Expected, place: Asked) -> None:
    table = module.table(result)
    columns = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0]
    places = [TEMPERATURES.index(one) for one in columns]
    now = f"p now (T = {temper(place.trace.gpt2):g})"
    assert table.headers == ("token", "id", *(f"p at T = {one:g}" for one in columns), now)
    *rows, others, bits = table.rows
    for (shown, id, *cells), expected_id in zip(rows, expected.ids, strict=True):
        token = readable(place.trace.gpt2.tokenizer.convert_ids_to_tokens(id))
        assert (shown, id) == ("✓ " * (id == place.chosen) + token, expected_id)
        assert_close(cells, [*expected.sweep[places, id].numpy(), expected.now[id]])
    assert (others[:2], bits[:2]) == (("all other tokens", ""), ("entropy in bits", ""))
    rest = np.delete(expected.now, expected.ids).sum()
    assert_close(others[2:], [*map(expected.others, columns), rest])
    every_bits = [*expected.bits[places], expected.now_bits]
    np.testing.assert_allclose(bits[2:], every_bits, rtol=0, atol=BITS)


def assert_figure(result: Temperature, expected: Expected, place: Asked) -> None:
    sweep, ranked, entropy, together = module.figure(result).axes
    lines = sweep.lines[: len(expected.ids)]
    for line, id in zip(lines, expected.ids, strict=True):
        assert_close(line.get_xdata(), [one / 20 for one in range(2, 41)])
        assert_close(line.get_ydata(), expected.sweep[:, id].numpy())
        assert (line.get_linewidth() == 3) == (id == place.chosen)
    for written, id in zip(sweep.texts, expected.ids, strict=True):
        token = readable(place.trace.gpt2.tokenizer.convert_ids_to_tokens(id))
        assert written.get_text() == "✓ " * (id == place.chosen) + label(token)
    np.testing.assert_allclose(entropy.lines[0].get_ydata(), expected.bits, rtol=0, atol=BITS)
    now = temper(place.trace.gpt2)
    assert ranked.get_title().startswith(f"all 50,257 tokens by rank at T = {now:g}\n")
    ranks = ranked.lines[0].get_xdata()
    assert_close(ranked.lines[0].get_ydata(), expected.ranked[ranks - 1])
    ranks = together.lines[0].get_xdata()
    assert_close(together.lines[0].get_ydata(), expected.ranked.cumsum()[ranks - 1])
    assert ranks[-1] == 50257
    assert_cuts_in_words(ranked, expected)


def assert_cuts_in_words(axes: Axes, expected: Expected) -> None:
    """The legend has what each cut keeps, the title what is left in the end."""
    *drawn, last = expected.cuts
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    for text, cut in zip(texts, drawn, strict=True):
        # What is the same alone is not said twice.
        alone = "" if cut.alone == cut.kept else f" (alone {cut.alone:,})"
        words, mass = text.rsplit(", ", 1)
        assert words == f"{cut.name} {cut.value:g}: {cut.kept:,} kept{alone}"
        assert percent(mass) == pytest.approx(expected.now[cut.left].sum(), abs=6e-4)
    pattern = r"in the end (\S+) tokens?, (\S+) of the probability \(typical_p has no line\)"
    count, mass = re.fullmatch(pattern, axes.get_title().split("\n")[1]).groups()
    assert count == f"{last.kept:,}"
    assert percent(mass) == pytest.approx(expected.now[last.left].sum(), abs=6e-4)


def percent(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1]) / 100


def assert_printed(names: dict[str, Any], expected: Expected) -> None:
    """What the code binds, what is kept, and a line for each temperature."""
    probabilities = expected.sweep[:, expected.ids].numpy()
    assert_close(names["probabilities"], probabilities)
    np.testing.assert_allclose(names["entropy_bits"], expected.bits, rtol=0, atol=BITS)
    kept, *rows = names["printed"].splitlines()
    assert kept == f"kept: {names['kept']}"
    for row, one, bits, values in zip(
        rows, TEMPERATURES, expected.bits, probabilities, strict=True
    ):
        shown, shown_bits, shown_values = ast.literal_eval(row)
        assert shown == one
        assert shown_bits == pytest.approx(float(bits), abs=BITS)
        assert_close(shown_values, values)


# --- numbers -------------------------------------------------------------------------------------


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
def test_the_code_prints_the_sweep_and_what_is_kept(pocket, monkeypatch, name):
    trace = trace_text(pocket, PROMPT)
    result = temperature(trace, 7, decoding=SETTINGS[name], prompt_length=3)
    code = module.snippet(trace, 7, decoding=SETTINGS[name], prompt_length=3)
    assert len([line for line in code.splitlines() if line.strip()]) <= 18
    monkeypatch.chdir(pocket.path.removesuffix("gpt2lab/pocket"))
    names = student.run(code)
    for field in ("probabilities", "entropy_bits"):
        np.testing.assert_allclose(names[field], getattr(result, field), rtol=0, atol=VALUES)
    assert names["kept"] == result.kept
    kept, *rows = names["printed"].strip().splitlines()
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
