"""Hiding the first key: what is left of a row sums to 1, unless nothing is left."""

import torch

from gpt2lab.first_key import without_first


def test_the_rest_of_a_row_sums_to_one_again():
    weights = torch.tensor([[[1.0, 0, 0], [0.75, 0.25, 0], [0.5, 0.1, 0.4]]])
    hidden = torch.tensor([[[0.0, 0, 0], [0, 1, 0], [0, 0.2, 0.8]]])
    torch.testing.assert_close(without_first(weights), hidden)
    assert weights[0, 0, 0] == 1


def test_a_row_that_loses_everything_stays_empty_and_almost_nothing_is_something():
    weights = without_first(torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 1e-30]]))
    assert weights.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
