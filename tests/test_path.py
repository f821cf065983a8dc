"""A token's path: the projection is a PCA, and the nearest tokens are the nearest."""

import io
import warnings

import numpy as np
import pytest
import torch
from prompts import HOSTILE

import gpt2lab
from gpt2lab.inspections import path
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

TEXT = "to be or not to be or"
VALUES = 1e-5
"""Cosines and shares: absolute. Coordinates: relative to the longest state."""


def states_of(plain, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        output = plain(torch.tensor([ids]), output_hidden_states=True)
    return torch.cat(output.hidden_states).double().numpy()


@pytest.mark.parametrize("unit_length", [True, False])
def test_the_picture_is_the_principal_components_of_the_states(gpt2, plain, unit_length):
    trace = trace_text(gpt2, TEXT)
    result = gpt2lab.path(trace, position=3, unit_length=unit_length)
    every = states_of(plain, encode(gpt2, TEXT))
    np.testing.assert_array_equal(result.states, every[:, 3].astype(np.float32))
    if unit_length:
        every = every / np.linalg.norm(every, axis=-1, keepdims=True)
    points, scale = every[:, 3], np.linalg.norm(every[:, 3], axis=-1).max()
    # Another way to the same: eigenvectors of the covariance matrix, the largest first.
    values, vectors = np.linalg.eigh(np.cov(points.T))
    shares, axes = values[::-1] / values.sum(), vectors[:, ::-1].T
    np.testing.assert_allclose(result.explained_variance, shares[:2], rtol=0, atol=VALUES)
    expected = (points - points.mean(0)) @ axes[:2].T
    expected *= np.sign((expected * result.coordinates).sum(0))
    np.testing.assert_allclose(result.coordinates, expected, rtol=0, atol=VALUES * scale)
    assert (result.coordinates[-1] >= result.coordinates[0]).all()
    np.testing.assert_allclose(result.components @ result.components.T, np.eye(2), atol=VALUES)
    again = (points - result.center) @ result.components.T
    np.testing.assert_allclose(result.coordinates, again, rtol=0, atol=VALUES * scale)
    others = [(every[:, at] - result.center) @ result.components.T for at in (0, 1, 2, 4, 5, 6)]
    np.testing.assert_allclose(result.nearby, np.stack(others), rtol=0, atol=VALUES * scale)


def test_what_two_axes_do_not_show_is_what_is_missing_of_the_distances(gpt2):
    result = gpt2lab.path(trace_text(gpt2, TEXT))
    points = result.states.astype(np.float64)
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    whole = ((points - points.mean(0)) ** 2).sum()
    shown = (result.coordinates**2).sum(0) / whole
    np.testing.assert_allclose(result.explained_variance, shown, rtol=0, atol=VALUES)
    assert 0 < result.explained_variance[1] <= result.explained_variance[0] < 1


def test_the_nearest_tokens_are_the_nearest_and_the_lens_is_the_lens(gpt2, plain):
    trace = trace_text(gpt2, TEXT)
    result = gpt2lab.path(trace, position=-2, show=4)
    assert result.position == 5
    states = states_of(plain, encode(gpt2, TEXT))[:, 5]
    embeddings = plain.transformer.wte.weight.detach().double().numpy()
    products = states @ embeddings.T
    products /= np.linalg.norm(states, axis=-1)[:, None] * np.linalg.norm(embeddings, axis=-1)
    best = -np.sort(-products, axis=-1)[:, :4]
    np.testing.assert_allclose(result.cosines, best, rtol=0, atol=VALUES)
    there = np.take_along_axis(products, result.nearest_ids, axis=-1)
    np.testing.assert_allclose(result.cosines, there, rtol=0, atol=VALUES)
    for layer, (ids, logits) in enumerate(zip(result.lens_ids, result.lens_logits, strict=True)):
        expected = trace.lens(layer, 5)
        assert logits[0] == pytest.approx(float(expected.max()), abs=1e-4)
        np.testing.assert_allclose(logits, expected[ids.tolist()], rtol=0, atol=1e-4)
    if gpt2.name == "pocket":  # A trained embedding is nearest to its own token.
        assert result.tokens[int(result.nearest_ids[0, 0])] == "Ġbe"
    assert result.lens_ids[-1, 0] == int(trace.logits(5).argmax())
    assert set(result.tokens) == {*result.nearest_ids.flat, *result.lens_ids.flat}


def test_length_plays_no_role_unless_it_is_asked_for(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    scale = torch.linspace(1, 50, len(trace.hidden))[:, None, None]
    longer = gpt2lab.Trace(trace.gpt2, trace.ids, trace.hidden * scale)
    one, other = gpt2lab.path(trace), gpt2lab.path(longer)
    np.testing.assert_allclose(one.coordinates, other.coordinates, rtol=0, atol=VALUES)
    one, other = (gpt2lab.path(each, unit_length=False) for each in (trace, longer))
    assert np.abs(one.explained_variance - other.explained_variance).max() > 0.01


def test_the_arrays_the_answer_and_the_table_show_the_record(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    result = gpt2lab.path(trace, position=2)
    found = path.arrays(result)
    assert np.array_equal(found["states"], trace.hidden[:, 2].numpy())
    assert np.array_equal(found["coordinates"], result.coordinates)
    layers = path.answer(result)["layers"]
    rows = iter(path.table(result).rows)
    for layer, shown in enumerate(layers):
        assert shown["norm"] == pytest.approx(float(trace.hidden[layer, 2].norm()), rel=VALUES)
        assert shown["coordinates"] == result.coordinates[layer].tolist()
        for place, (near, said) in enumerate(zip(shown["nearest"], shown["lens"], strict=True)):
            names = random_gpt2.tokenizer.convert_ids_to_tokens([near["id"], said["id"]])
            assert names == [near["token"], said["token"]]
            row = next(rows)
            assert row[0] == layer
            assert row[4] == place + 1
            assert row[6:8] == (near["id"], near["cosine"])
            assert row[9:] == (said["id"], said["logit"])
    assert next(rows, None) is None


@pytest.mark.parametrize("length", [1, 2, 12, 13, 14, 128])
def test_the_nearby_tokens_are_the_nearest_in_the_text(random_gpt2, length):
    trace = trace_ids(random_gpt2, [464, 262] * (length // 2) + [464] * (length % 2))
    for position in {0, length // 2, length - 1}:
        nearby = gpt2lab.path(trace, position=position).nearby
        assert nearby.shape == (min(length - 1, path.NEARBY), 4, 2)


def test_the_figure_numbers_the_path_and_names_the_tokens(random_gpt2):
    result = gpt2lab.path(trace_text(random_gpt2, TEXT), position=1)
    plane, grid = path.figure(result, dark=True).axes[:2]
    assert [text.get_text() for text in plane.texts] == ["0 embedding", "1", "2", "3 after ln_f"]
    assert np.array_equal(plane.collections[-1].get_offsets(), result.coordinates)
    assert plane.get_title().startswith("each state divided by its length")
    assert f"{result.explained_variance[0]:.0%}" in plane.get_xlabel()
    assert np.array_equal(grid.images[0].get_array(), result.cosines)
    # A token and its cosine in every cell, and the lens's token behind each row.
    assert len(grid.texts) == 4 * (3 * 2 + 1)
    first = result.tokens[int(result.nearest_ids[0, 0])].replace("Ġ", "␣")
    assert grid.texts[0].get_text() == first
    assert grid.texts[1].get_text() == f"{result.cosines[0, 0]:.2f}"


def test_many_layers_and_hostile_tokens_can_be_drawn(random_gpt2):
    ids = [id for text in HOSTILE.values() for id in encode(random_gpt2, text)]
    result = gpt2lab.path(trace_text(random_gpt2, TEXT))
    tokens = dict(enumerate(random_gpt2.tokenizer.convert_ids_to_tokens(range(50257))))
    many = path.Path(
        **{
            **vars(result),
            "coordinates": np.stack([np.cos(np.arange(49)), np.arange(49)], axis=1),
            "nearby": np.zeros((2, 49, 2)),
            "cosines": np.full((49, 3), -0.1, dtype=np.float32),
            "nearest_ids": np.resize(ids, (49, 3)),
            "lens_ids": np.resize(ids[147:], (49, 3)),
            "tokens": tokens,
        }
    )
    drawing = path.figure(many)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.savefig(io.BytesIO(), format="png")
    numbers = [int(text.get_text().split(" ")[0]) for text in drawing.axes[0].texts]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, 48)
    assert len(numbers) <= 14


def test_states_that_do_not_differ_can_be_drawn(random_gpt2):
    trace = trace_text(random_gpt2, "Hi")
    still = gpt2lab.Trace(trace.gpt2, trace.ids, torch.zeros_like(trace.hidden))
    result = gpt2lab.path(still)
    assert result.explained_variance.tolist() == [0, 0]
    path.figure(result).savefig(io.BytesIO(), format="png")
