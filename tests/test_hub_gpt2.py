"""OpenAI's gpt2 itself: the facts that the course's notebook prints. Skipped where it is absent."""

import pytest
import torch

from gpt2lab.inspections.weight_tying import weight_tying
from gpt2lab.models import Gpt2, is_cached, load_model
from gpt2lab.tokens import decode, encode
from gpt2lab.trace import Trace, trace_text

pytestmark = [
    pytest.mark.hub,
    pytest.mark.skipif(
        not is_cached("gpt2"), reason="OpenAI's gpt2 is not in the local Hugging Face cache"
    ),
]

LOGITS = 1e-3
"""The notebook prints four decimals, from another version of torch."""


@pytest.fixture(scope="module")
def openai() -> Gpt2:
    return load_model("gpt2", device="cpu")


@pytest.fixture(scope="module")
def trace(openai) -> Trace:
    return trace_text(openai, "Today we can go to")


def test_ids(openai):
    assert encode(openai, "Today we can go to") == [8888, 356, 460, 467, 284]


def test_the_five_most_likely_next_tokens(openai, trace):
    logits, ids = trace.logits().topk(5)
    assert ids.tolist() == [262, 257, 670, 1175, 597]
    assert [decode(openai, [id]) for id in ids.tolist()] == [" the", " a", " work", " war", " any"]
    expected = [-80.6499, -81.8221, -82.4964, -82.7054, -82.7398]
    assert logits.tolist() == pytest.approx(expected, abs=LOGITS)


def test_the_five_that_follow_the_likeliest(openai, trace):
    logits, ids = trace.extended([262]).logits().topk(5)
    assert ids.tolist() == [1306, 886, 2003, 966, 9231]
    words = [" next", " end", " future", " point", " polls"]
    assert [decode(openai, [id]) for id in ids.tolist()] == words
    assert logits[:2].tolist() == pytest.approx([-88.4570, -89.5257], abs=LOGITS)


def test_logits_of_the_flag(openai):
    logits = trace_text(openai, "The American flag's colors are red, blue and").logits()
    assert logits[:3].tolist() == pytest.approx([-36.2872, -35.0111, -38.0791], abs=LOGITS)


def test_thirteen_hidden_states(openai, trace):
    assert trace.hidden.shape == (13, 5, 768)
    with torch.no_grad():
        states = openai.model(trace.ids[None], output_hidden_states=True).hidden_states
    assert [tuple(state.shape) for state in states] == [(1, 5, 768)] * 13


def test_tied_weights(trace):
    result = weight_tying(trace)
    assert result.equal
    assert result.same_storage
    assert result.config_says_tied
    assert result.parameters_tied == 124_439_808
    assert result.parameters_untied == 124_439_808 + 50_257 * 768
