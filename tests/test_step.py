"""The numbers of a text that is already there, against transformers' own logits and processors."""

import math

import pytest
import torch
from prompts import PROMPTS
from transformers import GPT2LMHeadModel

from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.models import Gpt2
from gpt2lab.step import ALTERNATIVES, POSITIONS_AT_ONCE, Choice, describe_text
from gpt2lab.tokens import encode, prompt_ids
from gpt2lab.trace import trace_ids

WITHIN = 1e-5
"""Log-probabilities, probabilities and bits, absolute."""

EVERYTHING = Decoding(
    max_new_tokens=30,
    min_new_tokens=3,
    temperature=0.8,
    top_k=40,
    top_p=0.95,
    min_p=0.001,
    typical_p=0.98,
    repetition_penalty=1.2,
    no_repeat_ngram_size=3,
)
BEAMS = Decoding("beam", num_beams=2, max_new_tokens=30, repetition_penalty=1.3)
DECODINGS = {"none": None, "everything": EVERYTHING, "beams": BEAMS}


def long_ids(gpt2: Gpt2, count: int) -> list[int]:
    """Tokens of texts of all kinds, repeated until there are enough."""
    ids = [id for text in PROMPTS.values() for id in encode(gpt2, text)]
    return (ids * (count // len(ids) + 1))[:count]


@torch.no_grad()
def expected_logits(model: GPT2LMHeadModel, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0].float()


def expected_scores(
    gpt2: Gpt2, ids: list[int], logits: torch.Tensor, decoding: Decoding | None, prompt: int
) -> torch.Tensor:
    """What transformers' list of processors, made by itself, makes of the logits."""
    if decoding is None:
        return logits
    config = decoding.prepared_config(gpt2, prompt)
    processors = gpt2.model._get_logits_processor(
        config, input_ids_seq_length=prompt, device=torch.device("cpu")
    )
    scores = logits[None].log_softmax(-1) if decoding.strategy == "beam" else logits[None]
    return processors(torch.tensor([ids]), scores.clone())[0]


def assert_numbers(choice: Choice, id: int, logits: torch.Tensor, scores: torch.Tensor) -> None:
    logprobs, probabilities = logits.log_softmax(-1), scores.softmax(-1)
    assert choice.id == id
    assert choice.logprob == pytest.approx(float(logprobs[id]), abs=WITHIN)
    assert choice.probability == pytest.approx(float(probabilities[id]), abs=WITHIN)
    bits = float(torch.distributions.Categorical(logits=logits.double()).entropy()) / math.log(2)
    assert choice.entropy_bits == pytest.approx(bits, abs=10 * WITHIN)
    # A near tie may round the other way.
    fewest, most = (int((logits > logits[id] + margin).sum()) + 1 for margin in (WITHIN, -WITHIN))
    assert fewest <= choice.rank <= most
    listed = [one.id for one in choice.alternatives]
    raw = [one.raw_probability for one in choice.alternatives]
    final = [one.probability for one in choice.alternatives]
    assert raw == pytest.approx(logprobs[listed].exp().tolist(), abs=WITHIN)
    assert final == pytest.approx(probabilities[listed].tolist(), abs=WITHIN)
    best = logprobs.exp().topk(ALTERNATIVES).values.tolist()
    assert raw[:ALTERNATIVES] == pytest.approx(best, abs=WITHIN)
    best = probabilities.topk(ALTERNATIVES).values.tolist()
    assert sorted(final, reverse=True)[:ALTERNATIVES] == pytest.approx(best, abs=WITHIN)


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
@pytest.mark.parametrize("start", [1, 5])
def test_numbers_of_a_text_are_those_of_transformers(gpt2, plain, decoding, start):
    """Over more positions than are computed at once."""
    ids = long_ids(gpt2, POSITIONS_AT_ONCE + 8)
    stages = decoding.stages_from_logits(gpt2, ids[:start]) if decoding else ()
    choices = list(describe_text(trace_ids(gpt2, ids), start, stages))
    assert len(choices) == len(ids) - start
    logits = expected_logits(plain, ids)
    for position, choice in enumerate(choices, start):
        raw = logits[position - 1]
        scores = expected_scores(gpt2, ids[:position], raw, decoding, start)
        assert_numbers(choice, ids[position], raw, scores)


@pytest.mark.parametrize("start", [1, 2, 60])
@pytest.mark.parametrize("count", [POSITIONS_AT_ONCE - 1, POSITIONS_AT_ONCE, POSITIONS_AT_ONCE + 1])
def test_every_position_has_one_choice_in_order(random_gpt2, start, count):
    ids = long_ids(random_gpt2, start + count)
    trace = trace_ids(random_gpt2, ids)
    choices = list(describe_text(trace, start))
    assert [choice.id for choice in choices] == ids[start:]
    for position in (start, start + count - 1):
        logprobs = trace.logits(position - 1).log_softmax(-1)
        logprob = choices[position - start].logprob
        assert logprob == pytest.approx(float(logprobs[ids[position]]), abs=WITHIN)


def test_without_stages_the_probability_is_the_raw_one(random_gpt2):
    for choice in describe_text(trace_ids(random_gpt2, long_ids(random_gpt2, 20)), 1):
        assert choice.probability == pytest.approx(math.exp(choice.logprob), abs=1e-7)
        assert len(choice.alternatives) == ALTERNATIVES
        for one in choice.alternatives:
            assert one.probability == pytest.approx(one.raw_probability, abs=1e-7)


def test_one_token_has_no_numbers_and_a_text_is_read_only_when_asked(random_gpt2, monkeypatch):
    assert list(describe_text(trace_ids(random_gpt2, [464]), 1)) == []
    trace = trace_ids(random_gpt2, long_ids(random_gpt2, 100))
    asked: list[int] = []
    all_logits = type(trace).all_logits

    def counted(self, start, stop):
        asked.append(stop - start)
        return all_logits(self, start, stop)

    monkeypatch.setattr(type(trace), "all_logits", counted)
    choices = describe_text(trace, 1)
    assert asked == []
    next(choices)
    assert asked == [POSITIONS_AT_ONCE]
    assert len(list(choices)) == 98
    assert asked == [POSITIONS_AT_ONCE, 99 - POSITIONS_AT_ONCE]


@pytest.mark.parametrize(
    "decoding",
    [EVERYTHING, Decoding("greedy", max_new_tokens=8), BEAMS],
    ids=["sample", "greedy", "beam"],
)
def test_a_text_read_afterwards_has_the_numbers_that_it_was_written_with(gpt2, decoding):
    prompt = prompt_ids(gpt2, "Today we can go to")
    steps = list(generate(gpt2, prompt, decoding))
    ids = [*prompt, *(step.id for step in steps)]
    stages = decoding.stages_from_logits(gpt2, prompt)
    choices = list(describe_text(trace_ids(gpt2, ids), len(prompt), stages))
    assert len(choices) == len(steps)
    for choice, step in zip(choices, steps, strict=True):
        assert (choice.id, choice.rank) == (step.id, step.rank)
        assert choice.logprob == pytest.approx(step.logprob, abs=WITHIN)
        assert choice.probability == pytest.approx(step.probability, abs=WITHIN)
        assert choice.entropy_bits == pytest.approx(step.choice.entropy_bits, abs=10 * WITHIN)
        known = {one.id: one for one in step.alternatives}
        for one in choice.alternatives:
            if one.id in known:
                assert one.raw_probability == pytest.approx(
                    known[one.id].raw_probability, abs=WITHIN
                )
                assert one.probability == pytest.approx(known[one.id].probability, abs=WITHIN)
        # What one lists and the other does not differs by less than rounding.
        assert len({one.id for one in choice.alternatives} ^ set(known)) <= 2
