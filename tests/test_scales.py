"""Where numbers lie on the scales that colour them."""

import math

import pytest

from gpt2lab.scales import CLASS, ENTROPY, LOGPROB, PROBABILITY, SURPRISE, rank_scale


def test_places() -> None:
    classes = [CLASS.share(one) for one in (1, 10, 11, 100, 101, 1000, 1001, 50257)]
    assert classes == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3, 1 / 3, 0, 0])
    surprises = [SURPRISE.share(one) for one in (-9, -5, 0, 10, 30)]
    assert surprises == pytest.approx([1, 1, 2 / 3, 0, 0])
    assert LOGPROB.share(-3.5) == pytest.approx(0.5)
    assert ENTROPY.share(2.5) == pytest.approx(0.75)
    assert PROBABILITY.share(math.sqrt(0.001)) == pytest.approx(0.5)


def test_the_scale_of_ranks_ends_with_the_vocabulary(random_gpt2) -> None:
    scale = rank_scale(random_gpt2)
    assert [scale.share(one) for one in (1, random_gpt2.vocab_size)] == pytest.approx([1, 0])
    assert scale.ticks[0][1] == f"{random_gpt2.vocab_size:,}"


@pytest.mark.parametrize("scale", [CLASS, ENTROPY, LOGPROB, PROBABILITY, SURPRISE])
def test_what_is_no_number_has_no_place(scale) -> None:
    for value in (math.nan, math.inf, -math.inf):
        assert scale.share(value) is None
        assert scale.text(value) == "–"


def test_minus_is_a_minus() -> None:
    assert LOGPROB.text(-1.234) == "−1.23"
    assert PROBABILITY.text(0.00001) == "1e−05"
