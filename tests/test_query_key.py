"""One attention weight, step by step: against eager attention and the block's own output.

Weights and norms agree within 1e-5, scores within 1e-4.
"""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from prompts import PROMPTS
from test_inspections import save
from transformers import GPT2LMHeadModel

import gpt2lab
from gpt2lab.inspections import query_key as module
from gpt2lab.inspections.query_key import QueryKey, query_key
from gpt2lab.refusal import Refusal
from gpt2lab.trace import Trace, trace_ids, trace_text

VALUES = 1e-5
SCORES = 1e-4
TEXT = "to be or not to be or"


def eager(plain, ids: torch.Tensor) -> tuple[np.ndarray, dict]:
    """Weights, (n_layer, n_head, n, n), and what each attention module got and gave."""
    seen: dict = {}

    def keep(module, inputs, options, output):
        seen[module] = output[0][0]

    hooks = [
        block.attn.register_forward_hook(keep, with_kwargs=True) for block in plain.transformer.h
    ]
    with torch.no_grad():
        attentions = plain(ids[None], output_attentions=True).attentions
    for hook in hooks:
        hook.remove()
    outputs = {layer: seen[block.attn].numpy() for layer, block in enumerate(plain.transformer.h)}
    return torch.cat(attentions).numpy(), outputs


@pytest.mark.parametrize("position", [0, 4, -1])
def test_weights_are_those_of_eager_attention(gpt2, plain, position):
    trace = trace_text(gpt2, TEXT)
    weights, _ = eager(plain, trace.ids)
    place = position % len(trace)
    for layer, head in np.ndindex(gpt2.n_layer, gpt2.n_head):
        result = gpt2lab.query_key(trace, layer, head, position)
        row = weights[layer, head, place, : place + 1]
        np.testing.assert_allclose(result.weights, row, 0, VALUES)
        assert result.key == int(row.argmax())
        assert (result.position, result.masked, len(result.shown)) == (place, False, place + 1)
        # The same by the steps that are shown: a sum of products, scaled, over its total.
        score = result.products.astype(np.float64).sum() * result.scaling
        assert score == pytest.approx(float(result.scores[result.key]), abs=SCORES)
        share = np.exp(score - result.log_total)
        assert share == pytest.approx(float(row[result.key]), abs=1e-4)
        assert trace.attention(layer)[head, place, result.key] == pytest.approx(
            float(result.weights[result.key]), abs=VALUES
        )


def test_what_all_keys_and_heads_add_is_the_attentions_output(gpt2, plain):
    trace = trace_text(gpt2, TEXT)
    _, outputs = eager(plain, trace.ids)
    for layer, position in [(0, 3), (gpt2.n_layer - 1, 6)]:
        heads = [query_key(trace, layer, head, position) for head in range(gpt2.n_head)]
        added = [one.weights[:, None].astype(np.float64) * one.fetched for one in heads]
        for one, of_keys in zip(heads, added, strict=True):
            lengths = np.sqrt((of_keys**2).sum(-1))
            np.testing.assert_allclose(one.norms, lengths, VALUES, VALUES)
        bias = plain.transformer.h[layer].attn.c_proj.bias.detach().numpy()
        whole = sum(of_keys.sum(0) for of_keys in added) + bias
        np.testing.assert_allclose(whole, outputs[layer][position], 0, 1e-4)
        assert np.abs(whole - bias).max() > 0.01


def test_a_key_behind_the_query_has_a_score_but_no_weight(gpt2):
    trace = trace_text(gpt2, TEXT)
    result = query_key(trace, 1, 2, position=2, key=5)
    assert result.masked
    assert len(result.weights) == 6
    assert result.weights[3:].tolist() == [0, 0, 0]
    assert result.weights.sum() == pytest.approx(1, abs=VALUES)
    assert result.norms[5] == 0 < result.lengths[5]
    # The same product, seen from a query that may look there, has another query: not this one.
    queries, keys, _ = trace.queries_keys_values(1)
    dot = float(queries[0, 2, 2] @ keys[0, 2, 5])
    assert result.dot == pytest.approx(dot, abs=SCORES)
    assert "comes after query 2" in result.formula[2]
    assert result.formula[3] == "weight a = exp(−∞) / Σ = 0"
    places = [row[0] for row in module.table(result).rows]
    assert places == [0, 1, 2, 5]


CONFIGURATIONS = {
    "by layer": ({"scale_attn_by_inverse_layer_idx": True}, "(√8 · 3)"),
    "not at all": ({"scale_attn_weights": False}, "1"),
    "by layer alone": (
        {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
        "3",
    ),
    "the other way": ({"reorder_and_upcast_attn": True}, "√8"),
}


@pytest.mark.parametrize(("changes", "divisor"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_the_scaling_is_that_of_the_configuration(random_gpt2, changes, divisor):
    config = copy.deepcopy(random_gpt2.model.config)
    config.update(changes)
    model = GPT2LMHeadModel(config).eval()
    model.load_state_dict(random_gpt2.model.state_dict())
    model.set_attn_implementation("eager")
    trace = trace_text(dataclasses.replace(random_gpt2, model=model), TEXT)
    weights, _ = eager(model, trace.ids)
    result = query_key(trace, 2, 1, 5, 3)
    np.testing.assert_allclose(result.weights, weights[2, 1, 5, :6], 0, VALUES)
    share = np.exp(result.dot * result.scaling - result.log_total)
    assert share == pytest.approx(float(weights[2, 1, 5, 3]), abs=VALUES)
    assert f"/ {divisor} = " in result.formula[1]


# --- what is shown -------------------------------------------------------------------------------


def made(**values) -> QueryKey:
    """A record of three keys whose numbers are easy to check by hand."""
    usual = {
        "layer": 0,
        "head": 0,
        "position": 2,
        "key": 1,
        "shown": ("a", "b", "c"),
        "products": np.array([3.0, -1.0, 1.5, 0.5], np.float32),
        "scaling": 0.5,
        "scores": np.log(np.array([1, 2, 5], np.float32)),
        "weights": np.array([0.125, 0.25, 0.625], np.float32),
        "fetched": np.array([[0, 4], [3, 4], [0, 1]], np.float32),
    }
    return QueryKey(**{**usual, **values})


def test_the_formula_with_its_numbers():
    result = made(scores=np.log(np.array([1, np.exp(2), 5], np.float32)))
    assert result.formula == (
        "q₂ · k₁ = sum of 4 products = 4.000",
        "score = q₂ · k₁ / √4 = 2.000",
        "mask: key 1 does not come after query 2, its score stays",
        "weight a = exp(2.000) / Σ = 7.389 / 13.39 = 0.25,   "
        "Σ: the sum of exp(score) over keys 0 to 2",
        "written: ‖a · v₁ · W_O‖ = 0.25 · 5 = 1.25,   52.6% of the lengths of all keys",
    )
    assert result.norms.tolist() == [0.5, 1.25, 0.625]


def test_the_formula_of_powers_that_no_float_can_hold():
    result = made(scores=np.array([-900, -800, -801], np.float32))
    assert "exp(−800.000) / Σ = e^(−800.000) / e^(−799.687) = 0.25" in result.formula[3]
    assert (
        made(weights=np.zeros(3, np.float32)).formula[4].endswith("0.0% of the lengths of all keys")
    )


def test_table_and_answer_show_the_record(pocket):
    result = query_key(trace_text(pocket, TEXT), 3, 2, 5, 1)
    table, answer = module.table(result), module.answer(result)
    for place, row in enumerate(table.rows):
        key, token, dot, *numbers = row
        assert (key, token) == (place, result.shown[place] == answer["keys"][place] and token)
        assert dot * result.scaling == pytest.approx(numbers[0], abs=SCORES)
        lists = [answer["scores"], answer["weights"], result.lengths, answer["norms"]]
        assert numbers == [one[place] for one in lists]
    assert len(table.rows) == 6
    assert (answer["position"], answer["key"], answer["masked"]) == (5, 1, False)
    assert sum(answer["products"]) == pytest.approx(answer["dot"], abs=SCORES)
    assert answer["formula"] == list(result.formula)


def test_what_the_page_draws(random_gpt2):
    result = query_key(trace_text(random_gpt2, PROMPTS["emoji"]), 2, 3, 4, 7)
    data = module.interactive(result)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert (data["layer"], data["head"], data["position"], data["key"]) == (2, 3, 4, 7)
    assert (data["shown"], data["formula"]) == (list(result.shown), list(result.formula))
    for name in ("products", "scores", "weights", "norms"):
        np.testing.assert_allclose(data[name], getattr(result, name), VALUES, 1e-12)


def bars(axes) -> list[float]:
    return [patch.get_height() for patch in axes.patches]


@pytest.mark.parametrize("dark", [False, True])
def test_the_figure_draws_the_numbers(random_gpt2, dark):
    result = query_key(trace_text(random_gpt2, PROMPTS["emoji"]), 1, 1, 6, 9 if dark else 2)
    drawing = module.figure(result, dark)
    save(drawing)
    formula, products, *rows = drawing.axes
    assert [text.get_text() for text in formula.texts] == list(result.formula)
    widths = [patch.get_width() for patch in products.patches]
    assert widths == sorted(result.products.tolist(), reverse=True)
    below, scores, weights = rows
    for axes, values in ((scores, result.scores), (weights, result.weights), (below, result.norms)):
        np.testing.assert_allclose(bars(axes), values, 0, 1e-6)
        colours = [patch.get_facecolor() for patch in axes.patches]
        assert colours.count(colours[result.key]) == 1


def test_the_figure_of_a_long_text(wide_gpt2):
    trace: Trace = trace_ids(wide_gpt2, [464, 290] * 512)
    drawing = module.figure(query_key(trace, key=500))
    save(drawing)
    below = drawing.axes[2]
    assert len(below.get_xticklabels()) < 30
    assert below.lines[0].get_xdata() == 500


def test_what_is_no_key_is_refused(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    with pytest.raises(Refusal, match=r"^key is 7, but must be a whole number from -1 to 6\.$"):
        query_key(trace, key=7)
    with pytest.raises(Refusal, match=r"^head is 4, but must be a whole number from 0 to 3\.$"):
        query_key(trace, head=4)


def test_weight_is_not_importance(pocket):
    """In some heads the key with the largest weight is not the one that adds most."""
    trace = trace_text(pocket, "The old king said to his daughter, the queen said to")
    differing = [
        head
        for head in np.ndindex(pocket.n_layer, pocket.n_head)
        if (found := query_key(trace, *head)).weights.argmax() != found.norms.argmax()
    ]
    assert differing
