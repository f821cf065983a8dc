"""Hidden states: shapes, norms and cosines equal those of transformers' own tuple."""

import io

import numpy as np
import pytest
import torch

import gpt2lab
from gpt2lab.inspections import hidden_states
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

TEXT = "to be or not to be or"
VALUES = 1e-5
"""Cosines: absolute. Norms: relative, since GPT-2's first token has one of some thousands."""


def states_of(plain, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return plain(ids, output_hidden_states=True).hidden_states


def test_the_record_is_that_of_transformers_hidden_states(gpt2, plain):
    result = gpt2lab.hidden_states(trace_text(gpt2, TEXT))
    states = states_of(plain, torch.tensor([encode(gpt2, TEXT)]))
    assert result.shape == (len(states), *states[0].shape)
    assert result.shape == (gpt2.n_layer + 1, 1, 7, gpt2.n_embd)
    values = torch.cat(states).double().numpy()
    norms = np.sqrt((values**2).sum(-1))
    cosines = (values * values[-1]).sum(-1) / (norms * norms[-1])
    np.testing.assert_allclose(result.norms, norms, rtol=VALUES)
    np.testing.assert_allclose(result.cosine_to_final, cosines, rtol=0, atol=VALUES)
    np.testing.assert_allclose(result.cosine_to_final[-1], 1, rtol=0, atol=VALUES)
    assert result.norms.dtype == result.cosine_to_final.dtype == np.float32


def test_the_last_state_is_after_ln_f_and_not_the_last_blocks_output(gpt2, plain):
    states = states_of(plain, torch.tensor([encode(gpt2, TEXT)]))
    length = states[0].shape[1]
    ahead = torch.full((1, 1, length, length), torch.finfo(torch.float32).min).triu(1)
    with torch.no_grad():
        # Under eager attention a block by itself must be told not to look ahead.
        output = plain.transformer.h[-1](states[-2], attention_mask=ahead)
        assert (output - states[-1]).abs().max() > 0.1
        assert (plain.transformer.ln_f(output) - states[-1]).abs().max() < VALUES


def test_generate_returns_one_position_per_later_step(gpt2, plain):
    """What the explanation says about `generate`: shapes, and that they add up to one pass."""
    ids = torch.tensor([encode(gpt2, TEXT)])
    output = plain.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=4,
        min_new_tokens=4,
        output_hidden_states=True,
        return_dict_in_generate=True,
    )
    first, *later = output.hidden_states
    assert [state.shape for state in first] == [(1, 7, gpt2.n_embd)] * (gpt2.n_layer + 1)
    for step in later:
        assert [state.shape for state in step] == [(1, 1, gpt2.n_embd)] * (gpt2.n_layer + 1)
    joined = torch.cat([torch.cat(step) for step in output.hidden_states], dim=1)
    read = trace_ids(gpt2, output.sequences[0, :-1].tolist()).hidden
    assert joined.shape == read.shape
    assert ((joined - read).norm(dim=-1) / read.norm(dim=-1)).max() < VALUES


def test_the_arrays_are_transformers_tuple_to_the_last_bit(gpt2, plain):
    trace = trace_text(gpt2, TEXT)
    result = gpt2lab.hidden_states(trace)
    assert result.hidden is trace.hidden  # nothing is copied as long as nobody asks
    found = hidden_states.arrays(result)
    states = states_of(plain, torch.tensor([encode(gpt2, TEXT)]))
    assert set(found) == {"hidden_states", "norms", "cosine_to_final"}
    assert np.array_equal(found["hidden_states"], torch.stack(states).numpy())
    assert np.array_equal(found["norms"], result.norms)


def test_the_answer_and_the_table_show_the_record(gpt2):
    result = gpt2lab.hidden_states(trace_text(gpt2, TEXT))
    answer = hidden_states.answer(result)
    assert answer == {
        "shape": [gpt2.n_layer + 1, 1, 7, gpt2.n_embd],
        "norms": result.norms.tolist(),
        "cosine_to_final": result.cosine_to_final.tolist(),
    }
    rows = hidden_states.table(result).rows
    assert [row[0] for row in rows] == list(range(gpt2.n_layer + 1))
    assert rows[0][1] == "token + position embedding"
    assert rows[1][1] == "output of block 0"
    assert rows[-1][1] == f"output of block {gpt2.n_layer - 1}, after ln_f"
    for norms, cosines, row in zip(result.norms, result.cosine_to_final, rows, strict=True):
        assert row[2] == pytest.approx(norms.mean(), rel=VALUES)
        assert row[3:5] == (float(norms.min()), float(norms.max()))
        position, token = row[5].split(" ")
        assert norms[int(position)] == norms.max()
        assert token == result.shown[int(position)]
        assert row[6] == pytest.approx(cosines.mean(), abs=VALUES)


def test_the_maps_hold_the_record(gpt2):
    result = gpt2lab.hidden_states(trace_text(gpt2, TEXT))
    above, below = hidden_states.figure(result).axes[:2]
    for axes, values in ((above, result.norms), (below, result.cosine_to_final)):
        drawn = axes.images[0].get_array()
        assert np.array_equal(drawn, np.repeat(values, hidden_states.FINER, axis=0))
        assert axes.images[0].get_extent() == [-0.5, 6.5, gpt2.n_layer + 0.5, -0.5]
        written = [float(text.get_text()) for text in axes.texts]
        np.testing.assert_allclose(written, values.flatten(), rtol=0.005, atol=0.005)
        labels = [tick.get_text() for tick in axes.get_yticklabels()]
        assert labels[0] == "embedding  0"
        assert labels[-1] == f"after ln_f  {gpt2.n_layer}"
        assert len(labels) == gpt2.n_layer + 1
    tokens = [tick.get_text() for tick in below.get_xticklabels()]
    assert tokens == ["to", "␣be", "␣or", "␣not", "␣to", "␣be", "␣or"]


@pytest.mark.parametrize(
    ("layers", "length"),
    [(2, 1), (13, 1024), (14, 17), (25, 3), (26, 16), (37, 257), (49, 49)],
)
def test_maps_of_any_size_can_be_drawn(layers, length):
    norms = np.geomspace(1, 3000, layers * length, dtype=np.float32).reshape(layers, length)
    cosines = np.linspace(-1, 1, layers * length, dtype=np.float32).reshape(layers, length)
    hidden = torch.zeros(1).expand(layers, length, 768)
    result = hidden_states.HiddenStates(hidden, ("␣word",) * length, norms, cosines)
    drawing = hidden_states.figure(result)
    drawing.savefig(io.BytesIO(), format="png")
    above, below = drawing.axes[:2]
    labels = [int(tick.get_text().split(" ")[-1]) for tick in above.get_yticklabels()]
    assert labels == sorted(set(labels))
    assert (labels[0], labels[-1]) == (0, layers - 1)
    assert len(labels) <= 14
    assert len(below.get_xticklabels()) <= hidden_states.ALL_LABELS
    assert bool(above.texts) == (length <= 16 and layers <= 25)


def test_states_of_one_length_can_be_drawn():
    for norm in (0.0, 1.0):
        ones = np.ones((3, 2), dtype=np.float32)
        result = hidden_states.HiddenStates(torch.zeros(3, 2, 4), ("a", "b"), norm * ones, ones)
        hidden_states.figure(result, dark=True).savefig(io.BytesIO(), format="svg")


def test_the_formula_has_the_numbers_of_the_states(random_gpt2):
    trace = trace_text(random_gpt2, "The king $x$ <b>")
    result = gpt2lab.hidden_states(trace)
    middle = len(trace.hidden) // 2
    one, final = trace.hidden[middle, -1], trace.hidden[-1, -1]
    numbers = (one @ final, one.norm(), final.norm(), torch.cosine_similarity(one, final, dim=0))
    left, right = result.formula.rsplit(" / (", 1)
    dot = left.rsplit("= ", 1)[1]
    norms, cosine = right.split(") = ")
    shown = [float(number) for number in (dot, *norms.split(" · "), cosine)]
    assert shown == pytest.approx([float(number) for number in numbers], rel=1e-3, abs=1e-3)
