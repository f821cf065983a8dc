"""Logits or scores?: what is shown against what transformers' own `generate` returns."""

import copy
import dataclasses
import re
from dataclasses import dataclass
from itertools import combinations, cycle, pairwise
from pathlib import Path

import numpy as np
import pytest
import student
import torch
from drawings import save
from matplotlib.figure import Figure
from texts import TEXTS
from torch import Tensor
from transformers import set_seed

import gpt2lab
from gpt2lab.decoding import Decoding
from gpt2lab.figures import label
from gpt2lab.inspections import logits_or_scores
from gpt2lab.output_comparison import LogitsOrScores
from gpt2lab.outputs import shapes
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import describe, encode
from gpt2lab.trace import trace_ids, trace_text

LOGITS = 1e-4
"""Logits and scores: absolute."""
LOG_P = 1e-5
"""Log-probabilities: absolute."""
LOG_SOFTMAX = 1e-3
"""compute_transition_scores adds up the vocabulary in another order than torch's log_softmax."""
DRAWN = 0.005 + LOGITS
"""Numbers are drawn with two decimals."""
TEXT = "to be or not to be or"
STEPS = 2
SETTINGS: tuple[tuple[Decoding, tuple[str, ...]], ...] = (
    (Decoding(), ("top_k",)),
    (Decoding(top_k=0), ()),
    (Decoding("greedy", repetition_penalty=1.4), ("repetition_penalty",)),
    (
        Decoding(temperature=0.6, top_k=7, top_p=0.9, repetition_penalty=1.2, seed=5),
        ("repetition_penalty", "temperature", "top_k", "top_p"),
    ),
    (
        Decoding("beam", num_beams=3, no_repeat_ngram_size=2),
        ("log_softmax", "no_repeat_ngram_size"),
    ),
    (
        Decoding(temperature=1.5, top_k=0, min_p=0.02, min_new_tokens=2),
        ("min_length", "min_new_tokens", "temperature", "min_p"),
    ),
)
"""Settings, and the names of the processors that generate makes of them, in its order."""
DECODINGS = [decoding for decoding, _ in SETTINGS]


@dataclass(frozen=True, eq=False)
class Returned:
    """What transformers says of a run: of each step, and under beam search of the best beam."""

    ids: list[int]
    logits: Tensor
    scores: Tensor
    plain: Tensor
    transition_scores: Tensor
    normalized: Tensor
    hidden_states: list[tuple[int, tuple[int, ...]]]
    attentions: list[tuple[int, tuple[int, ...]]]

    def of_chosen(self, values: Tensor) -> np.ndarray:
        """The chosen tokens' entries."""
        return values[range(len(self.ids)), self.ids].numpy()

    @property
    def removed(self) -> np.ndarray:
        return self.scores.isneginf().sum(-1).numpy()


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


@torch.no_grad()
def returned(model, ids, decoding, steps) -> Returned:
    outputs = generated(model, ids, decoding, steps)
    beams = outputs.beam_indices if decoding.strategy == "beam" else None
    rows = [0] * len(outputs.scores) if beams is None else beams[0][beams[0] >= 0].tolist()
    last = len(ids) + len(rows)
    transition_scores, normalized = (
        model.compute_transition_scores(
            outputs.sequences, outputs.scores, beams, normalize_logits=normalize
        )[0, : len(rows)]
        for normalize in (False, True)
    )
    counted_shapes = (
        [(len(tensors), tuple(tensors[0].shape)) for tensors in every[: len(rows)]]
        for every in (outputs.hidden_states, outputs.attentions)
    )
    return Returned(
        outputs.sequences[0, len(ids) : last].tolist(),
        torch.stack(outputs.logits)[range(len(rows)), rows],
        torch.stack(outputs.scores)[range(len(rows)), rows],
        model(outputs.sequences[:1]).logits[0, len(ids) - 1 : last - 1],
        transition_scores,
        normalized,
        *counted_shapes,
    )


CASES = [
    pytest.param(name, decoding, names, id=f"{name}-{decoding.strategy}")
    for name, (decoding, names) in zip(TEXTS, cycle(SETTINGS), strict=False)
]


@pytest.mark.parametrize(("name", "decoding", "processors"), CASES)
def test_everything_shown_is_what_transformers_returns(request, name, decoding, processors):
    """Record, table, answer, figure and code of every text; each setting has its turn."""
    gpt2 = request.getfixturevalue("wide_gpt2" if name == "1,024 tokens" else "random_gpt2")
    trace = trace_ids(gpt2, (encode(gpt2, TEXTS[name]) or [50256])[: gpt2.n_positions])
    ids = trace.ids.tolist()[: gpt2.n_positions - STEPS]
    assert len(ids) == 1022 or name != "1,024 tokens"
    expected = returned(gpt2.model, ids, decoding, STEPS)
    result = gpt2lab.logits_or_scores(trace, STEPS, decoding)
    assert (result.prompt_length, result.processors) == (len(ids), processors)
    assert_record(result, expected, decoding)
    assert_table(result, expected, gpt2)
    assert_answer(result, expected, gpt2, decoding)
    assert_figure(result, expected)
    assert_code(logits_or_scores.snippet(trace, STEPS, decoding), expected)


def close(shown, expected, tolerance=LOGITS):
    np.testing.assert_allclose(np.asarray(shown), np.asarray(expected), rtol=0, atol=tolerance)


def assert_record(result: LogitsOrScores, expected: Returned, decoding: Decoding) -> None:
    listed = torch.tensor(result.ids)
    assert listed[:, 0].tolist() == expected.ids
    close(result.listed_logits, expected.logits.gather(1, listed))
    close(result.listed_scores, expected.scores.gather(1, listed))
    close(result.plain, expected.of_chosen(expected.plain))
    close(result.transition_scores, expected.transition_scores)
    close(result.normalized, expected.normalized, LOG_P)
    close(result.log_softmax, expected.of_chosen(expected.scores.log_softmax(-1)), LOG_P)
    close(result.log_softmax, expected.normalized, LOG_SOFTMAX)
    close(result.forward_difference, (expected.logits - expected.plain).abs().amax(-1))
    assert result.removed.tolist() == expected.removed.tolist()
    assert result.changed.tolist() == (expected.scores != expected.logits).sum(-1).tolist()
    by = removed_by(expected.removed, decoding)
    assert {name: counts.tolist() for name, counts in result.removed_by.items()} == by
    assert list(result.hidden_states) == expected.hidden_states
    assert list(result.attentions) == expected.attentions
    for step, (chosen, *others) in enumerate(result.ids.tolist()):
        best = [id for id in expected.logits[step].topk(4).indices.tolist() if id != chosen][:3]
        gone = expected.logits[step].where(expected.scores[step].isneginf(), -torch.inf)
        if gone.max() > -torch.inf and int(gone.argmax()) not in best:
            best[-1] = int(gone.argmax())
        assert others == best


def removed_by(removed: np.ndarray, decoding: Decoding) -> dict[str, list[int]]:
    """Of one that may remove any number, what the others do not remove."""
    by = {}
    if decoding.min_new_tokens:
        by["min_length"] = [int(step < decoding.min_new_tokens) for step in range(len(removed))]
    if decoding.strategy == "sample" and decoding.top_k:
        by["top_k"] = [50257 - decoding.top_k] * len(removed)
    last = {"min_p": decoding.min_p, "top_p": decoding.top_p < 1}
    last["no_repeat_ngram_size"] = decoding.no_repeat_ngram_size
    for name in (name for name, at_work in last.items() if at_work):
        by[name] = (removed - sum(map(np.array, by.values()))).tolist()
    return {name: counts for name, counts in by.items() if any(counts)}


def assert_table(result: LogitsOrScores, expected: Returned, gpt2) -> None:
    table = logits_or_scores.table(result)
    columns = dict(zip(table.headers, zip(*table.rows, strict=True), strict=True))
    assert columns.pop("step") == tuple(range(len(expected.ids)))
    assert columns.pop("chosen") == describe(gpt2, expected.ids).shown
    assert list(columns.pop("id")) == expected.ids
    close(columns.pop("logits"), expected.of_chosen(expected.logits))
    close(columns.pop("plain forward"), expected.of_chosen(expected.plain))
    close(columns.pop("scores"), expected.of_chosen(expected.scores))
    close(columns.pop("transition score"), expected.transition_scores)
    close(columns.pop("normalized"), expected.normalized, LOG_P)
    assert list(columns.pop("−inf entries")) == expected.removed.tolist()
    logits = expected.logits.scatter(1, torch.tensor(expected.ids)[:, None], -torch.inf)
    best = logits.argmax(-1).tolist()
    assert columns.pop("best other") == describe(gpt2, best).shown
    steps = range(len(best))
    close(columns.pop("its logit"), expected.logits[steps, best])
    scores = [-np.inf if one == "−inf" else one for one in columns.pop("its score")]
    close(scores, expected.scores[steps, best])
    for name in ("hidden_states", "attentions"):
        shown = [f"{count} × {shape}" for count, shape in getattr(expected, name)]
        assert list(columns.pop(name)) == shown
    assert columns == {}


def assert_answer(result: LogitsOrScores, expected: Returned, gpt2, decoding: Decoding) -> None:
    answer = logits_or_scores.answer(result)
    steps = answer.pop("steps")
    assert len(steps) == len(expected.ids)
    tokens = gpt2.tokenizer.convert_ids_to_tokens(expected.ids)
    log_p = expected.normalized
    for step, (shown, id, token) in enumerate(zip(steps, expected.ids, tokens, strict=True)):
        logits, scores = expected.logits[step], expected.scores[step]
        assert (shown.pop("id"), shown.pop("token")) == (id, token)
        close(shown.pop("logit"), logits[id])
        close(shown.pop("forward_logit"), expected.plain[step, id])
        close(shown.pop("score"), scores[id])
        close(shown.pop("transition_score"), expected.transition_scores[step])
        close(shown.pop("transition_score_normalized"), log_p[step], LOG_P)
        assert shown.pop("removed") == expected.removed[step]
        assert shown.pop("changed") == int((scores != logits).sum())
        others = shown.pop("others")
        assert [one["id"] for one in others] == result.ids[step, 1:].tolist()
        for one in others:
            assert one["token"] == gpt2.tokenizer.convert_ids_to_tokens(one["id"])
            close(one["logit"], logits[one["id"]])
            close(-np.inf if one["score"] is None else one["score"], scores[one["id"]])
        for name in ("hidden_states", "attentions"):
            count, shape = getattr(expected, name)[step]
            assert shown.pop(name) == {"count": count, "shape": list(shape)}
        assert shown == {}
    difference = (expected.logits - expected.plain).abs().max()
    close(answer.pop("largest_forward_difference"), difference)
    assert_verdict(answer.pop("verdict"), expected, decoding)
    assert answer.pop("processors") == list(result.processors)
    assert answer.pop("prompt_length") == result.prompt_length
    assert answer == {}


def assert_verdict(verdict: str, expected: Returned, decoding: Decoding) -> None:
    """Its numbers; the words that follow from them have a test of their own."""
    difference = re.search(
        r"equal those of a plain forward pass \(largest difference (\S+)\)", verdict
    )
    assert difference
    close(float(difference[1]), (expected.logits - expected.plain).abs().max())
    touched = int((expected.scores != expected.logits).any(-1).sum())
    where = "every step" if touched == len(expected.ids) else f"{touched} of {len(expected.ids)}"
    assert (f"The scores are not the logits at {where}: " in verdict) == (touched > 0)
    assert ("−inf: " in verdict) == bool(expected.removed.any())
    for name, counts in removed_by(expected.removed, decoding).items():
        least, most = min(filter(None, counts)), max(counts)
        span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        assert f"{name} removed {span}" in verdict
    assert "The transition score is the chosen token's score; " in verdict
    gap = re.search(r"normalized it is its log softmax \(within ([^,)]+)", verdict)
    assert gap
    log_softmax = expected.of_chosen(expected.scores.log_softmax(-1))
    close(float(gap[1]), np.abs(expected.normalized.numpy() - log_softmax).max(), LOGITS)


def assert_figure(result: LogitsOrScores, expected: Returned) -> None:
    drawing = logits_or_scores.figure(result)
    assert drawing.get_suptitle().split() == result.verdict.split()
    assert_lines(drawing, result, expected)
    assert_numbers(drawing, result, expected)


def assert_lines(drawing: Figure, result: LogitsOrScores, expected: Returned) -> None:
    """One from each listed logit to its score; -inf has a place of its own on the axis."""
    axes = drawing.axes[0]
    floor = axes.get_yticks()[0]
    assert axes.get_yticklabels()[0].get_text() == "−inf"
    lines = [np.array(line.get_xydata()) for line in axes.lines]
    for step, ids in enumerate(result.ids.tolist()):
        drawn = [one[:, 1] for one in lines if np.allclose(one[:, 0], [step - 0.22, step + 0.22])]
        scores = expected.scores[step, ids].clone()
        scores[scores.isneginf()] = floor
        assert scores.min() >= floor
        wanted = torch.stack([expected.logits[step, ids], scores], dim=1)
        close(drawn[::-1], wanted)
    names = [label(row[0]) for row in result.shown]
    ticks = [tick.get_text().partition("\n") for tick in axes.get_xticklabels()]
    assert [(step, name) for step, _, name in ticks] == [*zip("012", names, strict=False)]


def assert_numbers(drawing: Figure, result: LogitsOrScores, expected: Returned) -> None:
    """What stands below each step, its sign, and which cells have one colour."""
    below = drawing.axes[1]
    names = [tick.get_text() for tick in below.get_yticklabels()]
    written: dict[str, list[str]] = {name: [] for name in names}
    for text in below.texts:
        written[names[int(text.get_position()[1])]].append(text.get_text())
    logits, scores = (expected.of_chosen(one) for one in (expected.logits, expected.scores))
    log_p = expected.normalized.numpy()
    lines = {
        "outputs.logits (z)": (logits, None),
        "plain forward pass: z?": (expected.of_chosen(expected.plain), logits),
        "outputs.scores (s): z?": (scores, logits),
        "transition score: s?": (expected.transition_scores.numpy(), scores),
        "normalized: log softmax(s)?": (log_p, log_p),
    }
    for name, (values, others) in lines.items():
        cells = written.pop(name)
        if others is not None:
            signs = ["=" if equal else "≠" for equal in np.abs(values - others) < LOGITS]
            assert [cell[:2] for cell in cells] == [f"{sign} " for sign in signs]
            cells = [cell[2:] for cell in cells]
        close([float(cell) for cell in cells], values, DRAWN)
    changed = (expected.scores != expected.logits).sum(-1).tolist()
    assert written.pop("of 50,257 scores not z") == [f"{count:,}" for count in changed]
    for name in ("hidden_states", "attentions"):
        (told,) = written.pop(name)
        shown = [f"{count} × {shape}" for count, shape in getattr(expected, name)]
        assert re.findall(r"\d+ × \([\d, ]+\)", told) == shown
    gone = [[int(cell.replace(",", "")) for cell in cells] for cells in written.values()]
    assert np.sum(gone, axis=0).tolist() == expected.removed.tolist()
    by = [f"−inf by {name}" for name in result.removed_by]
    assert [*written] == (by or ["−inf"])
    for name, cells in zip(result.removed_by, gone, strict=False):
        assert cells == result.removed_by[name].tolist()
    assert_colours(drawing, len(expected.ids), [values for values, _ in lines.values()])


def assert_colours(drawing: Figure, steps: int, lines: list[np.ndarray]) -> None:
    """Two cells of a step have one colour if and only if they show the same number."""
    colours = {
        (round(one.get_x() + 0.47), int(one.get_y())): one.get_facecolor()
        for one in drawing.axes[1].patches
    }
    for step in range(steps):
        for one, other in combinations(range(len(lines)), 2):
            same = abs(lines[one][step] - lines[other][step]) < (
                LOG_SOFTMAX if other == len(lines) - 1 else LOGITS
            )
            pair = colours.get((step, one)), colours.get((step, other))
            assert (pair[0] is not None and pair[0] == pair[1]) == same


def assert_code(code: str, expected: Returned) -> None:
    names = student.run(code)
    close(names["logits"], expected.of_chosen(expected.logits))
    close(names["scores"], expected.of_chosen(expected.scores))
    close(names["plain"], expected.of_chosen(expected.plain))
    close(names["transition_scores"], expected.transition_scores)
    close(names["normalized"], expected.normalized, LOG_P)
    assert names["removed"].tolist() == expected.removed.tolist()


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


def test_a_difference_to_the_plain_forward_pass_would_be_seen(random_gpt2, monkeypatch):
    true = logits_or_scores.plain_logits
    trace = trace_text(random_gpt2, TEXT)
    monkeypatch.setattr(logits_or_scores, "plain_logits", lambda *given: true(*given) + 0.25)
    result = gpt2lab.logits_or_scores(trace, 2)
    answer = logits_or_scores.answer(result)
    assert answer["largest_forward_difference"] == pytest.approx(0.25, abs=LOGITS)
    assert "do not equal those of a plain forward pass (largest" in answer["verdict"]
    written = [text.get_text() for text in logits_or_scores.figure(result).axes[1].texts]
    assert written[2] == f"≠ {result.plain[0]:.2f}"


@pytest.mark.parametrize(("steps", "dark"), [(1, False), (12, True)], ids=["light", "dark"])
def test_the_figure_draws_whatever_the_number_of_steps(random_gpt2, steps, dark):
    result = gpt2lab.logits_or_scores(trace_text(random_gpt2, TEXT), steps, DECODINGS[3])
    drawing = logits_or_scores.figure(result, dark=dark)
    save(drawing, "png")
    # No number reaches into the next step's.
    boxes = [text.get_window_extent() for text in drawing.axes[1].texts[: 7 * steps]]
    for one, other in pairwise(boxes):
        assert one.x1 < other.x0 or one.y0 != other.y0
    states, attentions = (text.get_text() for text in drawing.axes[1].texts[-2:])
    assert states.startswith("step 0: 4 × (1, 7, 32), a row for each token")
    assert attentions.startswith("step 0: 3 × (1, 4, 7, 7), each token to each")
    assert ("then 4 × (1, 1, 32), the newest token" in states) == (steps > 1)
    assert ("then 3 × (1, 4, 1, 8) to (1, 4, 1, 18), " in attentions) == (steps > 1)


@pytest.fixture(autouse=True)
def in_the_projects_folder(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
