"""Beam search is transformers' own; its steps are read off afterwards, and add up to its scores."""

import pytest
import torch

from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text, generate
from gpt2lab.tokens import encode

SCORES = 1e-4
"""A sum of a few log-probabilities, absolute."""


@pytest.mark.parametrize("sequences", [1, 4])
def test_sequences_come_best_first_with_the_score_of_their_steps(gpt2, plain, sequences):
    decoding = Decoding(
        strategy="beam", num_beams=4, num_return_sequences=sequences, max_new_tokens=6
    )
    prompt = torch.tensor([encode(gpt2, "Today we can go to")])
    expected = plain.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        return_dict_in_generate=True,
        output_scores=True,
        **decoding.generate_arguments(),
    )
    continuations = continue_text(gpt2, "Today we can go to", decoding)
    assert [list(one.ids) for one in continuations] == expected.sequences[:, 5:].tolist()
    means = [sum(one.logprobs) / len(one.ids) for one in continuations]
    assert means == sorted(means, reverse=True)
    assert means == pytest.approx(expected.sequences_scores.tolist(), abs=SCORES)
    assert {one.finish_reason for one in continuations} == {"length"}


def test_steps_come_sequence_by_sequence(random_gpt2):
    decoding = Decoding(strategy="beam", num_beams=3, num_return_sequences=2, max_new_tokens=4)
    steps = list(generate(random_gpt2, "Today", decoding))
    assert [(step.sequence, step.index) for step in steps] == [
        (sequence, index) for sequence in range(2) for index in range(4)
    ]
    for step in steps:
        assert len(step.trace) == 1 + step.index


def test_a_stop_string_ends_a_beam(random_gpt2):
    decoding = Decoding(
        strategy="beam", num_beams=4, num_return_sequences=4, max_new_tokens=6, stop=["e"]
    )
    continuations = continue_text(random_gpt2, "Today we can go to", decoding)
    assert "stop" in {one.finish_reason for one in continuations}
    for one in continuations:
        assert (one.finish_reason == "stop") == ("e" in one.text)
