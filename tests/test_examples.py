"""Every example suits its model, and the heads do what is said of them."""

from dataclasses import replace

import pytest
import torch

from gpt2lab.examples import GPT2, POCKET, REPEATED, Example, heads, prompts, revealing
from gpt2lab.models import Gpt2
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_text


@pytest.mark.parametrize("examples", [POCKET, GPT2])
def test_examples_are_different_texts_that_leave_room_for_an_answer(
    pocket: Gpt2, examples: tuple[Example, ...]
) -> None:
    assert len({one.shows for one in examples}) == len({one.text for one in examples})
    assert len(examples) >= 5
    for one in examples:
        ids = encode(pocket, one.text)
        assert 2 <= len(ids) <= 40
        assert one.text == one.text.strip()


def test_each_model_has_its_own(pocket: Gpt2, random_gpt2: Gpt2) -> None:
    assert prompts(pocket) == POCKET
    assert prompts(random_gpt2) == prompts(replace(random_gpt2, source="hub")) == GPT2
    assert heads(random_gpt2) == ()


def test_the_repetition_repeats_token_by_token(pocket: Gpt2) -> None:
    ids = encode(pocket, REPEATED.removeprefix("seven"))
    period = 9
    assert ids[period : 2 * period - 1] == ids[: period - 1]
    assert len(ids) == 2 * period + 1
    assert ids[-1] == ids[0]


def test_heads_exist_and_have_names_of_their_own(pocket: Gpt2) -> None:
    found = heads(pocket)
    assert len({one.shows for one in found}) == len(found)
    for one in found:
        assert 0 <= one.controls["layer"] < pocket.n_layer
        assert 0 <= one.controls["head"] < pocket.n_head
        layer, head = one.controls["layer"], one.controls["head"]
        assert one.shows.startswith(f"layer {layer}, head {head}: ")
        assert one.text == REPEATED
    assert any("induction head" in one.shows for one in found)


@torch.no_grad()
def test_on_the_example_the_heads_can_be_seen_to_do_what_is_said_of_them(pocket: Gpt2) -> None:
    """On average far more attention there than an even spread gives, and than most heads give."""
    trace = trace_text(pocket, REPEATED)
    ids = trace.ids.tolist()
    behind = {
        query: [key for key in range(1, query + 1) if ids[key - 1] == ids[query]]
        for query in range(1, len(ids))
        if ids[query] in ids[:query]
    }
    before = {query: [query - 1] for query in range(1, len(ids))}
    assert len(behind) >= 9
    weights = torch.stack([trace.attention(layer) for layer in range(pocket.n_layer)])
    for one in heads(pocket):
        looked_at = behind if "induction" in one.shows else before
        shares = torch.stack(
            [weights[:, :, query, keys].sum(-1) for query, keys in looked_at.items()]
        ).mean(0)
        evenly = sum(len(keys) / (query + 1) for query, keys in looked_at.items()) / len(looked_at)
        share = shares[one.controls["layer"], one.controls["head"]]
        assert share > 2 * evenly, one.shows
        assert int((shares > share).sum()) < shares.numel() // 6, one.shows


@torch.no_grad()
def test_what_the_model_says_next_stands_before_or_closes_what_does(pocket: Gpt2) -> None:
    """Each token is likely, and most of them can be copied from the text."""
    expected = {
        "a repetition: what followed the first time?": " horses",
        "a name repeated": " Brown",
        "a thing repeated": " ball",
        "a bracket to close": ")",
        "a colour that is missing": " blue",
    }
    found = revealing(pocket)
    assert {one.shows for one in found} == {*expected}
    for one in found:
        probabilities = trace_text(pocket, one.text).logits().softmax(-1)
        (id,) = encode(pocket, expected[one.shows])
        assert int(probabilities.argmax()) == id
        assert float(probabilities[id]) > 0.2
        assert expected[one.shows] in one.text or "(" in one.text


def test_other_models_get_those_of_the_prompts_that_reveal_something(random_gpt2: Gpt2) -> None:
    found = revealing(random_gpt2)
    assert len(found) == 4
    assert all(one in GPT2 for one in found)
