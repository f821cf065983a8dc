"""Logits or scores?: what is shown against what transformers' own `generate` returns."""

import copy
import dataclasses
import io
import warnings
from itertools import cycle

import numpy as np
import pytest
import torch
from texts import EVERY_THIRD, TEXTS
from transformers import set_seed

import gpt2lab
from gpt2lab.decoding import Decoding
from gpt2lab.inspections import logits_or_scores
from gpt2lab.outputs import shapes
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

LOGITS = 1e-4
"""Logits and scores: absolute."""
LOG_SOFTMAX = 1e-3
"""compute_transition_scores adds up the vocabulary in another order than torch's log_softmax."""
TEXT = "to be or not to be or"
DECODINGS = (
    Decoding(),
    Decoding(top_k=0),
    Decoding(strategy="greedy", repetition_penalty=1.4),
    Decoding(temperature=0.6, top_k=7, top_p=0.9, repetition_penalty=1.2, seed=5),
    Decoding(strategy="beam", num_beams=3, no_repeat_ngram_size=2),
    Decoding(temperature=1.5, top_k=0, min_p=0.02, min_new_tokens=2),
)
CASES = [
    pytest.param(text, decoding, id=f"{name}-{decoding.strategy}")
    for (name, text), decoding in zip(EVERY_THIRD.items(), cycle(DECODINGS), strict=False)
]


def generated(plain, ids, decoding, steps):
    """What a student's process gets, whose random generator nobody else uses."""
    arguments = decoding.generate_arguments() | {"max_new_tokens": steps}
    set_seed(decoding.seed)
    return plain.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        output_hidden_states=True,
        output_attentions=True,
        **arguments,
    )


@pytest.mark.parametrize(("text", "decoding"), CASES)
def test_everything_shown_is_what_generate_returns(random_gpt2, text, decoding):
    ids = (encode(random_gpt2, text) or [50256])[:120]
    result = gpt2lab.logits_or_scores(trace_ids(random_gpt2, ids), 3, decoding)
    outputs = generated(random_gpt2.model, ids, decoding, 3)
    new = outputs.sequences[0, len(ids) :]
    beam = decoding.strategy == "beam"
    rows = outputs.beam_indices[0] if beam else torch.zeros_like(new)
    rows = rows[rows >= 0].tolist()
    assert result.ids[:, 0].tolist() == new[: len(rows)].tolist()
    plain = random_gpt2.model(outputs.sequences[:1]).logits[0, len(ids) - 1 :]
    for step, row in enumerate(rows):
        logits, scores = outputs.logits[step][row], outputs.scores[step][row]
        listed = torch.tensor(result.ids[step])
        expected = {"listed_logits": logits[listed], "listed_scores": scores[listed]}
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(result, name)[step], values.numpy(), 0, LOGITS)
        assert result.plain[step] == pytest.approx(float(plain[step, new[step]]), abs=LOGITS)
        assert result.removed[step] == int(scores.isneginf().sum())
        assert result.changed[step] == int((scores != logits).sum())
        assert result.forward_difference[step] < LOGITS
        log_p = float(scores.log_softmax(-1)[new[step]])
        assert result.normalized[step] == pytest.approx(log_p, abs=LOG_SOFTMAX)
    for normalize, shown in ((False, result.transition_scores), (True, result.normalized)):
        expected_scores = random_gpt2.model.compute_transition_scores(
            outputs.sequences,
            outputs.scores,
            outputs.beam_indices if beam else None,
            normalize_logits=normalize,
        )
        np.testing.assert_allclose(shown, expected_scores[0, : len(rows)].numpy(), 0, LOGITS)
    for name in ("hidden_states", "attentions"):
        every = getattr(outputs, name)[: len(rows)]
        expected_shapes = [(len(tensors), tuple(tensors[0].shape)) for tensors in every]
        assert list(getattr(result, name)) == expected_shapes


@pytest.mark.parametrize("decoding", DECODINGS[2:5], ids=lambda one: one.strategy)
def test_a_long_prompt_is_not_read_again_and_gives_the_same(wide_gpt2, decoding):
    ids = encode(wide_gpt2, TEXTS["1,024 tokens"])
    result = gpt2lab.logits_or_scores(trace_ids(wide_gpt2, ids), 3, decoding)
    assert result.prompt_length == 1021
    outputs = generated(wide_gpt2.model, ids[:1021], decoding, 3)
    assert result.ids[:, 0].tolist() == outputs.sequences[0, 1021:].tolist()
    rows = outputs.beam_indices[0] if decoding.strategy == "beam" else [0, 0, 0]
    for name, values in (("listed_logits", outputs.logits), ("listed_scores", outputs.scores)):
        expected = [one[row][ids] for one, row, ids in zip(values, rows, result.ids, strict=True)]
        np.testing.assert_allclose(getattr(result, name), torch.stack(expected), 0, LOGITS)
    assert result.attentions[0] == (1, (result.attentions[0][1][0], 1, 1021, 1021))
    both = gpt2lab.pipeline_or_generate(trace_ids(wide_gpt2, ids), 3, decoding)
    assert list(both.generated_ids) == outputs.sequences[0].tolist() == list(both.pipeline_ids)


def test_the_first_step_has_a_state_for_each_token_and_later_steps_have_one(random_gpt2):
    hidden_states, attentions = shapes(random_gpt2, Decoding(), 7, 3)
    assert hidden_states == ((4, (1, 7, 32)), (4, (1, 1, 32)), (4, (1, 1, 32)))
    assert attentions == ((3, (1, 4, 7, 7)), (3, (1, 4, 1, 8)), (3, (1, 4, 1, 9)))


def test_shapes_are_worked_out_without_a_word_to_others(random_gpt2, monkeypatch):
    """torch's default dtype is one for all threads: somebody else may be computing."""
    set_to = []
    monkeypatch.setattr(torch, "set_default_dtype", set_to.append)
    monkeypatch.setattr(random_gpt2.model.config, "dtype", torch.bfloat16)
    shapes(random_gpt2, Decoding(), 3, 2)
    assert set(set_to) <= {torch.float32}


def test_the_listed_tokens_are_the_chosen_the_best_and_a_removed_one(random_gpt2):
    result = gpt2lab.logits_or_scores(trace_text(random_gpt2, TEXT), 4, Decoding(top_k=20))
    outputs = generated(random_gpt2.model, encode(random_gpt2, TEXT), Decoding(top_k=20), 4)
    for step, row in enumerate(result.ids.tolist()):
        order = outputs.logits[step][0].argsort(descending=True).tolist()
        best = [id for id in order if id != row[0]]
        assert row[1:3] == best[:2]
        assert row[3] == order[20]  # the most probable of those that top_k removes
        assert result.listed_scores[step, 3] == -np.inf
        assert result.listed_logits[step, 3] > -np.inf


def test_what_each_processor_removed_adds_up(random_gpt2):
    decoding = Decoding(temperature=0.8, top_k=500, top_p=0.9, min_p=0.001, min_new_tokens=3)
    result = gpt2lab.logits_or_scores(trace_text(random_gpt2, TEXT), 5, decoding)
    assert set(result.removed_by) >= {"min_length", "top_k", "top_p"}
    # min_new_tokens removes one token, which min_length has removed already, at the first steps.
    assert result.removed_by["min_length"].tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_array_equal(sum(result.removed_by.values()), result.removed)


def test_the_verdict_follows_the_numbers(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    said = {
        name: gpt2lab.logits_or_scores(trace, 4, decoding).verdict
        for name, decoding in {
            "nothing": Decoding(top_k=0),
            "top_k": Decoding(top_k=9),
            "temperature": Decoding(top_k=0, temperature=0.5),
            "idle": Decoding(strategy="greedy", no_repeat_ngram_size=7),
        }.items()
    }
    assert "No processor is at work, so the scores are the logits." in said["nothing"]
    assert "−inf" not in said["nothing"]
    assert "−inf: top_k removed 50,248 of 50,257 tokens a step." in said["top_k"]
    assert "temperature came between. No token was removed" in said["temperature"]
    assert "no_repeat_ngram_size changed nothing, so the scores are the logits" in said["idle"]
    result = gpt2lab.logits_or_scores(trace, 4)
    wrong = dataclasses.replace(
        result,
        forward_difference=result.forward_difference + 1,
        normalized=result.normalized + 1,
        transition_scores=result.transition_scores + 1,
    )
    assert "The raw logits do not equal" in wrong.verdict
    assert "is not the score; normalized it is not its" in wrong.verdict


def test_only_the_prompt_is_continued_and_there_is_always_room(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    whole = gpt2lab.logits_or_scores(trace, 3, Decoding(max_length=9), prompt_length=5)
    short = gpt2lab.logits_or_scores(trace.prefix(5), 3, Decoding(max_length=9))
    assert whole.prompt_length == 5
    assert logits_or_scores.answer(whole) == logits_or_scores.answer(short)
    assert gpt2lab.logits_or_scores(trace, 12, Decoding(max_length=9)).steps == 2
    full = gpt2lab.logits_or_scores(trace_ids(random_gpt2, [464] * 128), 4, Decoding(top_k=0))
    assert (full.prompt_length, full.steps) == (124, 4)
    with pytest.raises(Refusal, match="max_length is 5, but the prompt alone has 7"):
        gpt2lab.logits_or_scores(trace, 3, Decoding(max_length=5))


def test_a_run_that_ends_early_has_fewer_steps(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    first = int(gpt2lab.logits_or_scores(trace, 3).ids[0, 0])
    stop = Decoding(stop=(random_gpt2.tokenizer.decode([first]),))
    assert gpt2lab.logits_or_scores(trace, 3, stop).steps == 1


def test_nothing_that_is_shared_changes(random_gpt2):
    state = torch.get_rng_state()
    before = copy.deepcopy(
        (random_gpt2.model.config.to_dict(), random_gpt2.model.generation_config.to_dict())
    )
    for decoding in DECODINGS:
        gpt2lab.logits_or_scores(trace_text(random_gpt2, TEXT), 2, decoding)
    assert torch.equal(torch.get_rng_state(), state)
    after = (random_gpt2.model.config.to_dict(), random_gpt2.model.generation_config.to_dict())
    assert after == before


def test_the_table_and_the_answer_show_the_record(random_gpt2):
    result = gpt2lab.logits_or_scores(trace_text(random_gpt2, TEXT), 3, Decoding(top_k=2))
    answer = logits_or_scores.answer(result)
    assert answer["processors"] == ["top_k"]
    for step, row in enumerate(logits_or_scores.table(result).rows):
        shown = answer["steps"][step]
        assert row[2] == shown["id"] == result.ids[step, 0]
        numbers = (shown["logit"], shown["forward_logit"], shown["score"])
        assert row[3:6] == numbers == (result.logits[step], result.plain[step], row[5])
        assert row[8] == shown["removed"] == 50255
        assert row[10] == shown["others"][0]["logit"]
        assert shown["others"][2]["score"] is None
        count, shape = result.hidden_states[step]
        assert shown["hidden_states"] == {"count": count, "shape": list(shape)}
        assert row[12] == f"{count} × {shape}"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_figure_has_a_line_from_each_logit_to_its_score(random_gpt2, dark):
    result = gpt2lab.logits_or_scores(trace_text(random_gpt2, TEXT), 4, Decoding(top_k=5))
    drawing = logits_or_scores.figure(result, dark=dark)
    lines = [line.get_ydata() for line in drawing.axes[0].lines if len(line.get_ydata()) == 2]
    pairs = {(round(float(one), 4), round(float(other), 4)) for one, other in lines}
    for step in range(result.steps):
        pair = (round(float(result.logits[step]), 4), round(float(result.scores[step]), 4))
        assert pair in pairs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.savefig(io.BytesIO(), format="png")
