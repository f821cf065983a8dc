"""All heads at once: every number and pixel from eager `output_attentions`, written out plainly.

Shares, entropies and distances agree within 1e-5, or 1e-5 of their size.
"""

import base64
import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from prompts import PROMPTS
from test_inspections import save
from texts import long_text
from transformers import GPT2LMHeadModel

import gpt2lab
from gpt2lab import head_summary
from gpt2lab.examples import REPEATED
from gpt2lab.first_key import without_first
from gpt2lab.head_summary import induction_keys
from gpt2lab.inspections import heads as module
from gpt2lab.inspections.heads import NUMBERS, SORTS
from gpt2lab.pocket.evaluate import induction
from gpt2lab.refusal import Refusal
from gpt2lab.trace import trace_ids, trace_text

VALUES = 1e-5


def eager(plain, ids: torch.Tensor) -> np.ndarray:
    """Attention weights of all layers and heads: (n_layer, n_head, query, key), float64."""
    with torch.no_grad():
        attentions = plain(ids[None], output_attentions=True).attentions
    return torch.cat(attentions).double().numpy()


def expected(weights: np.ndarray, ids: list[int], hide_first: bool) -> dict[str, float]:
    """The numbers of one head, from its (query, key) weights, query by query."""
    lists: dict[str, list[float]] = {name: [] for name in NUMBERS}
    for query, row in enumerate(weights):
        if query >= 1:
            lists["first"].append(row[0])
        if hide_first:
            rest = row[1:].sum()
            row = np.concatenate([[0.0], row[1:] / rest if rest else row[1:]])
        after = [key for key in range(1, query) if ids[key - 1] == ids[query]]
        if after:
            lists["induction"].append(row[after].sum())
        if query < (2 if hide_first else 1):
            continue
        seen = row[row > 0]
        lists["entropy_bits"].append(-(seen * np.log2(seen)).sum())
        lists["distance"].append(sum(weight * (query - key) for key, weight in enumerate(row)))
        lists["previous"].append(row[query - 1])
        lists["itself"].append(row[query])
    return {name: float(np.mean(of)) if of else np.nan for name, of in lists.items()}


@pytest.mark.parametrize("hide_first", [False, True])
@pytest.mark.parametrize("text", ["repeats", "one token", "chinese"])
def test_the_numbers_are_those_of_output_attentions(gpt2, plain, text, hide_first):
    trace = trace_text(gpt2, PROMPTS[text])
    result = gpt2lab.heads(trace, hide_first=hide_first)
    weights = eager(plain, trace.ids)
    for head in np.ndindex(result.first.shape):
        for name, value in expected(weights[head], trace.ids.tolist(), hide_first).items():
            np.testing.assert_allclose(getattr(result, name)[head], value, VALUES, VALUES, name)
    known = np.isfinite([getattr(result, name) for name in NUMBERS]).all((1, 2))
    assert known.tolist() == {
        "repeats": [True] * 6,
        "one token": [False] * 6,
        "chinese": [True] * 5 + [False],
    }[text]  # fmt: skip


def test_many_queries_and_large_blocks(wide_gpt2, monkeypatch):
    monkeypatch.setattr(head_summary, "QUERIES_AT_ONCE", 50)
    ids = wide_gpt2.tokenizer(long_text(), verbose=False).input_ids[:217]
    trace = trace_ids(wide_gpt2, ids)
    weights = trace.attention(0).double().numpy()
    for hide_first in (False, True):
        result = gpt2lab.heads(trace, hide_first=hide_first)
        for name, value in expected(weights[0], ids, hide_first).items():
            np.testing.assert_allclose(getattr(result, name)[0, 0], value, VALUES, VALUES, name)
        # 217 tokens make 44 blocks of 5, the last one of 2.
        assert result.block == 5
        assert result.thumbnails.shape == (1, 1, 44, 44)
        rows = without_first(torch.from_numpy(weights))[0].numpy() if hide_first else weights[0]
        for row, column in [(0, 0), (20, 3), (43, 43), (43, 0), (7, 7), (3, 9)]:
            pixel = rows[5 * row : 5 * row + 5, 5 * column : 5 * column + 5].sum(-1).mean()
            np.testing.assert_allclose(result.thumbnails[0, 0, row, column], pixel, 0, VALUES)
        sums = result.thumbnails.sum(-1)
        np.testing.assert_allclose(sums[0, 0, 1:], 1, 0, VALUES)
        # Query 0 sees only the first key, so hiding that leaves a fifth of its block empty.
        np.testing.assert_allclose(sums[0, 0, 0], 0.8 if hide_first else 1, 0, VALUES)


def test_a_picture_of_a_short_text_is_its_map(random_gpt2):
    trace = trace_text(random_gpt2, PROMPTS["repeats"])
    result = gpt2lab.heads(trace)
    assert result.block == 1
    for layer in range(random_gpt2.n_layer):
        maps = trace.attention(layer).numpy()
        np.testing.assert_allclose(result.thumbnails[layer], maps, 0, VALUES)


def test_pictures_of_very_many_heads_are_smaller(random_gpt2, monkeypatch):
    monkeypatch.setattr(head_summary, "MOST_PIXELS", 12 * 7**2)
    result = gpt2lab.heads(trace_text(random_gpt2, PROMPTS["repeats"]))
    assert (result.length, result.block, result.thumbnails.shape[-1]) == (11, 2, 6)


def test_induction_keys_follow_an_earlier_place_of_the_token():
    #                  a  b  c  a  a  b
    ids = torch.tensor([7, 8, 9, 7, 7, 8])
    found = {(query, key) for query, key in induction_keys(ids).nonzero().tolist()}
    # The second a in a row: b, after the first one; not itself, after the one before.
    assert found == {(3, 1), (4, 1), (5, 2)}


def test_induction_is_the_measure_of_the_model_card(pocket, plain_pocket):
    """On the same random tokens, repeated once; its queries end before the last token."""
    sequences, length = 1, 25
    card = induction(plain_pocket, sequences, length)
    span = np.random.default_rng(0).integers(0, 50256, size=length).tolist()
    result = gpt2lab.heads(trace_ids(pocket, [50256, *span, *span[:-1]]))
    np.testing.assert_allclose(result.induction, card.to_induction, 0, VALUES)
    assert result.induction.max() > 0.5


@pytest.fixture
def plain_pocket(pocket) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(pocket.path, dtype=torch.float32).eval()


def test_attention_of_another_configuration(random_gpt2):
    """Scaled by the layer too, and computed the other way."""
    config = copy.deepcopy(random_gpt2.model.config)
    config.update({"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True})
    model = GPT2LMHeadModel(config).eval()
    model.load_state_dict(random_gpt2.model.state_dict())
    model.set_attn_implementation("eager")
    trace = trace_text(dataclasses.replace(random_gpt2, model=model), PROMPTS["repeats"])
    weights = eager(model, trace.ids)
    usual = trace_text(random_gpt2, PROMPTS["repeats"]).attention(2)
    assert np.abs(weights[2] - usual.numpy()).max() > 0.01
    np.testing.assert_allclose(gpt2lab.heads(trace).thumbnails, weights, 0, VALUES)


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", SORTS)
def test_order_table_and_answer(pocket, sort):
    result = gpt2lab.heads(trace_text(pocket, REPEATED), sort)
    table, answer = module.table(result), module.answer(result)
    order = [(row[0], row[1]) for row in table.rows]
    assert sorted(order) == list(np.ndindex(pocket.n_layer, pocket.n_head))
    for row, one in zip(table.rows, answer["heads"], strict=True):
        assert (one["layer"], one["head"]) == row[:2]
        values = tuple(float(getattr(result, name)[row[:2]]) for name in NUMBERS)
        assert row[2:] == values == tuple(one[name] for name in NUMBERS)
    if sort == "layer":
        assert order == sorted(order)
        assert result.leading == []
        return
    values = [getattr(result, SORTS[sort])[head] for head in order]
    assert values == sorted(values, reverse=sort != "entropy")
    assert result.leading == [(*head, value) for head, value in zip(order, values, strict=True)][:5]


def test_known_heads_lead(pocket):
    """The model card names them: 5.1 and 4.5 for induction, 2.5 and 2.1 for the previous token."""
    trace = trace_text(pocket, REPEATED)
    assert {one[:2] for one in gpt2lab.heads(trace, "induction").leading} >= {(5, 1), (4, 5)}
    previous = gpt2lab.heads(trace, "previous token", True).leading
    assert {one[:2] for one in previous} >= {(2, 5), (2, 1)}


def test_what_is_missing_is_empty_and_never_leads(random_gpt2):
    result = gpt2lab.heads(trace_text(random_gpt2, "one two three"), "induction")
    assert result.leading == []
    assert {row[-1] for row in module.table(result).rows} == {""}
    assert {one["induction"] for one in module.answer(result)["heads"]} == {None}
    assert "no such query" in module.figure(result).axes[0].get_xlabel()


def test_what_the_page_draws(random_gpt2):
    result = gpt2lab.heads(trace_text(random_gpt2, PROMPTS["repeats"]), "distance", True)
    data = module.interactive(result)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    coded = np.frombuffer(base64.b64decode(data["pixels"]), np.uint8)
    pixels = iter((coded / 255) ** 2)
    for layer, head in np.ndindex(3, 4):
        for query in range(data["side"]):
            for key in range(query + 1):
                # Half a step of 256, on a scale of square roots.
                shown = result.thumbnails[layer, head, query, key]
                assert abs(np.sqrt(next(pixels)) - np.sqrt(shown)) < 0.51 / 255
    assert next(pixels, None) is None
    for name in NUMBERS:
        np.testing.assert_allclose(data["numbers"][name], getattr(result, name), 0, 0)
    assert data["leading"] == [[layer, head] for layer, head, _ in result.leading]


def test_data_of_a_long_text_stay_small(random_gpt2):
    result = gpt2lab.heads(trace_text(random_gpt2, "one two three"))
    of_small = np.random.default_rng(0).random((12, 12, 48, 48), np.float32)
    large = {name: np.full((12, 12), 0.12345) for name in NUMBERS}
    data = module.interactive(dataclasses.replace(result, thumbnails=of_small, **large))
    assert len(json.dumps(data)) < 300_000


def test_the_figure_frames_the_leading_heads(random_gpt2):
    for length, sort in ((1, "induction"), (12, "entropy")):
        trace = trace_ids(random_gpt2, [464, 290, 257][:length] * (length // 3 or 1))
        result = gpt2lab.heads(trace, sort)
        drawing = module.figure(result, dark=sort == "entropy")
        save(drawing)
        frames = [one for one in drawing.axes[0].patches if not one.get_fill()]
        assert len(frames) == len(result.leading) == (0 if length == 1 else 5)
        mosaic = np.ma.filled(drawing.axes[0].images[0].get_array(), np.nan)
        side = result.thumbnails.shape[-1]
        scale = 48 // side
        layer, head, query, key = 2, 3, side - 1, 0
        step = side * scale + 4
        pixel = mosaic[layer * step + query * scale, head * step + key * scale]
        assert pixel == pytest.approx(result.thumbnails[layer, head, query, key], abs=VALUES)


def test_what_cannot_be_sorted_by_is_refused(random_gpt2):
    trace = trace_text(random_gpt2, "one two")
    with pytest.raises(Refusal, match=r"^sort is 'size', but must be one of layer, entropy"):
        gpt2lab.heads(trace, "size")
    with pytest.raises(Refusal, match=r"^hide_first is 1, but must be true or false"):
        gpt2lab.heads(trace, hide_first=1)


def test_examples_show_what_they_say(pocket):
    for example in module.examples(pocket):
        result = gpt2lab.heads(trace_text(pocket, example.text), **example.controls)
        assert result.leading[0][-1] > 0.3
