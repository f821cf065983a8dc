"""Beam search is transformers' own: what is observed of it is all there, and changes nothing."""

import math
import shutil

import pytest
import torch
from transformers import GPT2LMHeadModel

from gpt2lab.beam_tree import BeamTree
from gpt2lab.beams import beam_tree
from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text, generate
from gpt2lab.models import Gpt2, load_model
from gpt2lab.refusal import Refusal
from gpt2lab.stopping import finish_reasons, stopping_criteria
from gpt2lab.tokens import describe, encode

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


# --- the tree ------------------------------------------------------------------------------------

TEXT = "Today we can go to"
SETTINGS = {
    "2 beams": {"num_beams": 2},
    "all returned": {"num_beams": 4, "num_return_sequences": 4},
    "6 beams": {"num_beams": 6, "num_return_sequences": 2, "max_new_tokens": 14},
    "penalty": {"num_beams": 3, "num_return_sequences": 3, "repetition_penalty": 1.3},
    "n-grams": {"num_beams": 3, "no_repeat_ngram_size": 2, "num_return_sequences": 2},
    "all stages": {
        "num_beams": 5,
        "num_return_sequences": 5,
        "repetition_penalty": 0.8,
        "no_repeat_ngram_size": 1,
        "min_new_tokens": 4,
    },
    "stop strings": {"num_beams": 4, "num_return_sequences": 4, "stop": ["e", ","]},
    "minimum": {"num_beams": 4, "num_return_sequences": 3, "min_new_tokens": 5},
    "one token": {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 1},
    "whole length": {"num_beams": 2, "max_length": 9},
}
EXACT = 1e-5
"""A log-probability or a final score, absolute."""


def decoding_with(settings: dict) -> Decoding:
    room = {} if "max_length" in settings else {"max_new_tokens": 8}
    return Decoding(strategy="beam", **{**room, **settings})


def plainly(gpt2: Gpt2, ids: list[int], decoding: Decoding):
    """The same model without our observer, with all numbers that transformers can give."""
    prompt = torch.tensor([ids])
    return gpt2.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        tokenizer=gpt2.tokenizer,
        return_dict_in_generate=True,
        output_scores=True,
        **decoding.generate_arguments(),
    )


def total(value: float):
    """A sum of log-probabilities: float32 keeps about seven digits of it."""
    return pytest.approx(value, abs=EXACT, rel=1e-6)


@pytest.fixture(scope="module")
def ending(random_folder, tmp_path_factory) -> Gpt2:
    """The random model with an end-of-text token that is often likely, and a length penalty."""
    folder = tmp_path_factory.mktemp("models") / "ending"
    shutil.copytree(random_folder, folder)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        bias = model.transformer.ln_f.bias
        model.transformer.wte.weight[-1] = 3 * bias / bias.norm() ** 2
    model.save_pretrained(folder)
    gpt2 = load_model(str(folder), device="cpu")
    gpt2.model.generation_config.length_penalty = 0.5
    return gpt2


def assert_hypotheses(gpt2: Gpt2, tree: BeamTree, expected) -> None:
    """Compare what is returned with transformers' sequences, scores and beam indices."""
    start, end = len(tree.prompt), gpt2.tokenizer.eos_token_id
    width = expected.beam_indices.shape[1]
    transitions = gpt2.model.compute_transition_scores(
        expected.sequences, expected.scores, expected.beam_indices
    )
    scores = [one.score for one in tree.hypotheses]
    assert scores == pytest.approx(expected.sequences_scores.tolist(), abs=EXACT)
    assert len(tree.hypotheses) == tree.decoding.num_return_sequences
    for number, one in enumerate(tree.hypotheses):
        missing = width - len(one.ids)
        assert expected.sequences[number, start:].tolist() == [*one.ids, *[end] * missing]
        assert expected.beam_indices[number].tolist() == [*one.beam_indices, *[-1] * missing]
        way = tree.way(len(one.ids) - 1, one.path[-1])
        assert tuple(beam.id for beam in way) == one.ids
        assert (None, *one.path[:-1]) == tuple(beam.parent for beam in way)
        assert tuple(beam.row for beam in way[:-1]) == one.beam_indices[1:]
        assert [beam.logprob for beam in way] == pytest.approx(
            transitions[number, : len(way)].tolist(), abs=EXACT
        )
        assert one.total == way[-1].score == total(math.fsum(transitions[number].tolist()))
        assert one.score == way[-1].final_score
        assert one.finish_reason == way[-1].ended
        assert all(beam.survived for beam in way[:-1])


def assert_every_step(gpt2: Gpt2, tree: BeamTree, expected) -> None:
    """Find every beam again in the scores, (num_beams, vocab_size) a step, that generate kept."""
    criteria = stopping_criteria(gpt2, tree.decoding, len(tree.prompt))
    count = tree.decoding.num_beams
    assert len(tree.steps) == len(expected.scores)
    texts: dict[int, tuple[int, ...]] = {0: tree.prompt}
    sums = {0: 0.0}
    places: dict[int, int | None] = {0: None}
    for step, (beams, scores) in enumerate(zip(tree.steps, expected.scores, strict=True)):
        reached = torch.tensor([sums.get(row, -torch.inf) for row in range(count)])
        candidates = (reached[:, None] + scores).flatten().topk(2 * count)
        found, running = [], 0
        ranked = zip(candidates.values.tolist(), candidates.indices.tolist(), strict=True)
        for number, (score, index) in enumerate(ranked):
            row, id = divmod(index, gpt2.vocab_size)
            reason = finish_reasons(criteria, torch.tensor([[*texts[row], id]]))[0]
            # What ends must be among the best num_beams; of what does not, as many run on.
            if number < count if reason else running < count:
                found.append((row, id, score, float(scores[row, id]), reason))
                running += not reason
        assert len(beams) == len(found)
        for beam, (row, id, score, logprob, reason) in zip(beams, found, strict=True):
            assert (beam.id, beam.parent, beam.ended) == (id, places[row], reason or None)
            assert beam.logprob == pytest.approx(logprob, abs=EXACT)
            assert beam.score == total(score)
            if reason:
                final = beam.score / (step + 1) ** tree.length_penalty
                assert beam.final_score == pytest.approx(final, abs=EXACT)
        assert [beam.score for beam in beams] == sorted((one.score for one in beams), reverse=True)
        assert [beam.row for beam in beams if not beam.ended] == list(range(running))
        assert all((beam.row is None) == (beam.final_score is not None) for beam in beams)
        before = tree.steps[step - 1] if step else ()
        extended = {beam.parent for beam in beams}
        assert [beam.survived for beam in before] == [n in extended for n in range(len(before))]
        texts = {
            beam.row: (*texts[row], beam.id)
            for beam, (row, *_) in zip(beams, found, strict=True)
            if beam.row is not None
        }
        sums = {beam.row: beam.score for beam in beams if beam.row is not None}
        places = {beam.row: place for place, beam in enumerate(beams) if beam.row is not None}
    assert not any(beam.survived for beam in tree.steps[-1])


def assert_tree(gpt2: Gpt2, ids: list[int], decoding: Decoding) -> BeamTree:
    tree = beam_tree(gpt2, ids, decoding)
    expected = plainly(gpt2, ids, decoding)
    assert_hypotheses(gpt2, tree, expected)
    assert_every_step(gpt2, tree, expected)
    best = tree.hypotheses[0]
    winners = [
        (step, place)
        for step, beams in enumerate(tree.steps)
        for place, beam in enumerate(beams)
        if beam.winner
    ]
    assert winners == list(enumerate(best.path))
    finals = [beam.final_score for beams in tree.steps for beam in beams if beam.ended]
    best_finals = sorted(finals, reverse=True)[: decoding.num_return_sequences]
    assert [one.score for one in tree.hypotheses] == best_finals
    assert tree.prompt == tuple(ids)
    assert tree.decoding == decoding
    return tree


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_tree_is_the_search_that_transformers_made(gpt2, settings):
    tree = assert_tree(gpt2, encode(gpt2, TEXT), decoding_with(settings))
    assert tree.length_penalty == 1
    ids = [beam.id for beams in tree.steps for beam in beams]
    shown = [beam.shown for beams in tree.steps for beam in beams]
    assert shown == list(describe(gpt2, ids).shown)


@pytest.mark.parametrize(
    ("settings", "reasons"),
    [
        ({"num_beams": 4, "num_return_sequences": 4}, {"eos"}),
        ({"num_beams": 3, "num_return_sequences": 2, "min_new_tokens": 3}, {"eos", "length"}),
        ({"num_beams": 6, "num_return_sequences": 6, "stop": ["e", "a"]}, {"eos", "stop"}),
        ({"num_beams": 2, "repetition_penalty": 1.5, "max_new_tokens": 20}, {"eos"}),
    ],
    ids=lambda one: str(sorted(one) if isinstance(one, set) else one),
)
def test_beams_that_end_early_wait_with_their_final_score(ending, settings, reasons):
    tree = assert_tree(ending, encode(ending, TEXT), decoding_with(settings))
    assert tree.length_penalty == 0.5
    ended = [{beam.ended for beam in beams if beam.ended} for beams in tree.steps]
    assert set().union(*ended) == reasons
    assert not any("eos" in one for one in ended[: settings.get("min_new_tokens", 0)])


def test_a_search_in_which_nearly_every_candidate_ends(random_gpt2):
    """More candidates end at a step than others are left to fill the batch."""
    decoding = Decoding(
        strategy="beam",
        num_beams=4,
        num_return_sequences=4,
        max_new_tokens=8,
        stop=["a", "e", "i", "o", "u", "s", "t", "n"],
    )
    tree = assert_tree(random_gpt2, encode(random_gpt2, TEXT), decoding)
    running = [sum(beam.row is not None for beam in beams) for beams in tree.steps[:-1]]
    assert running
    assert max(running) < 4
    assert {one.finish_reason for one in tree.hypotheses} <= {"stop", "length"}


def test_every_step_knows_its_search_and_there_was_one_search_only(random_gpt2, monkeypatch):
    searches = []
    generate_once = GPT2LMHeadModel.generate
    monkeypatch.setattr(
        GPT2LMHeadModel,
        "generate",
        lambda *values, **named: searches.append(1) or generate_once(*values, **named),
    )
    decoding = Decoding(strategy="beam", num_beams=3, num_return_sequences=2, max_new_tokens=4)
    steps = list(generate(random_gpt2, TEXT, decoding))
    assert len(searches) == 1
    (tree,) = {step.beams for step in steps}
    assert [tuple(step.id for step in steps if step.sequence == number) for number in (0, 1)] == [
        one.ids for one in tree.hypotheses
    ]
    assert "BeamTree" not in repr(steps[0])
    (step, *_) = generate(random_gpt2, TEXT, Decoding(strategy="greedy", max_new_tokens=1))
    assert step.beams is None


def test_a_tree_of_what_has_no_beams_or_no_room_is_refused(random_gpt2):
    with pytest.raises(Refusal, match="strategy is 'sample', but only 'beam'"):
        beam_tree(random_gpt2, TEXT, Decoding())
    with pytest.raises(Refusal, match="max_new_tokens"):
        beam_tree(random_gpt2, [464] * 126, decoding_with({"num_beams": 2}))
