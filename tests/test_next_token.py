"""Next token: every stage against transformers on many texts, the search, the formula, the panels.

Probabilities and masses agree within 1e-5, logits and scores within 1e-4.
"""

import ast
import dataclasses
import functools
import re

import numpy as np
import pytest
import torch
from test_inspections import EVERY_STAGE, save
from texts import TEXTS, long_text
from transformers import GPT2LMHeadModel

from gpt2lab.decoding import Decoding
from gpt2lab.inspections import next_token
from gpt2lab.one_token import one_token
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode, prompt_ids, readable
from gpt2lab.trace import trace_ids, trace_text

VALUES = 1e-5
LOGITS = 1e-4
PROMPT = "The old king said to his daughter, the queen said to his"
SETTINGS = {
    "every stage": EVERY_STAGE,
    "default": Decoding(),
    "nothing": Decoding(top_k=0),
    "greedy": Decoding(strategy="greedy", repetition_penalty=1.4, no_repeat_ngram_size=2),
    "beam": Decoding(strategy="beam", num_beams=2, repetition_penalty=1.4),
}


@functools.cache
def eager(path: str) -> GPT2LMHeadModel:
    """The same weights, loaded as the snippets do."""
    return GPT2LMHeadModel.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def read(gpt2, text: str) -> list[int]:
    """What a short context leaves of the text."""
    return encode(gpt2, text)[: gpt2.n_positions] or prompt_ids(gpt2, "")


def number(text: str) -> float:
    return float(text.replace("−", "-"))


# --- stages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_stages_and_their_masses_are_those_of_transformers(random_gpt2, text):
    ids = read(random_gpt2, text)
    prompt = torch.tensor([ids])
    model = eager(random_gpt2.path)
    with torch.no_grad():
        logits = model(prompt).logits[:, -1]
    config = Decoding(**{**dataclasses.asdict(EVERY_STAGE), "stop": ()}).prepared_config(
        random_gpt2, len(ids)
    )
    processors = model._get_logits_processor(config, len(ids), device="cpu")
    result = next_token.next_token(trace_ids(random_gpt2, ids), decoding=EVERY_STAGE)
    answer = next_token.answer(result)["stages"]
    assert len(result.stages) == len(processors) + 1 == 10

    expected, before = logits, None
    for stage in range(len(result.stages)):
        if stage:
            before, expected = expected, processors[stage - 1](prompt, expected.clone())
        scores = expected[0].double()
        probabilities = scores.softmax(-1).numpy()
        kept = torch.isfinite(scores).numpy()
        mass = 1.0 if before is None else before[0].double().softmax(-1).numpy()[kept].sum()
        np.testing.assert_allclose(result.scores[stage], scores.numpy(), rtol=0, atol=LOGITS)
        np.testing.assert_allclose(result.probabilities(stage), probabilities, rtol=0, atol=VALUES)
        assert answer[stage]["kept"] == kept.sum()
        assert answer[stage]["kept_mass"] == pytest.approx(mass, abs=VALUES)
        bits = -(probabilities[kept] * np.log2(np.maximum(probabilities[kept], 1e-300))).sum()
        assert answer[stage]["entropy_bits"] == pytest.approx(bits, abs=1e-4)


def test_cuts_lose_mass_and_other_stages_do_not(pocket):
    result = next_token.next_token(trace_text(pocket, PROMPT), decoding=EVERY_STAGE)
    masses = {name: result.kept_mass(stage) for stage, name in enumerate(result.stages)}
    for name in ("logits", "repetition_penalty", "temperature"):
        assert masses[name] == pytest.approx(1, abs=1e-6), name
    # "said to his" and "said to his": the word after it may not be "daughter" again.
    assert masses["no_repeat_ngram_size"] < 1
    assert 0.95 <= masses["top_p"] < 1
    assert 0.9 <= masses["typical_p"] < 1


def test_ranks_are_the_places_in_the_order(random_gpt2):
    result = next_token.next_token(trace_text(random_gpt2, PROMPT), decoding=EVERY_STAGE)
    for stage in range(len(result.stages)):
        order, kept = result.order(stage), result.kept(stage)
        for place in {0, 1, kept // 2, kept - 1}:
            assert result.rank(stage, int(order[place])) == place + 1
        for id in order[kept : kept + 3]:
            assert result.rank(stage, int(id)) is None


def test_the_lower_id_comes_first_among_equals(random_gpt2):
    result = next_token.next_token(trace_text(random_gpt2, PROMPT))
    equal = dataclasses.replace(result, scores=np.zeros_like(result.scores))
    assert [equal.rank(0, id) for id in (0, 7, 50256)] == [1, 8, 50257]


# --- search --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [" the", "Ġthe"])
def test_a_token_is_found_by_its_text_and_by_its_vocabulary_string(random_gpt2, text):
    assert one_token(random_gpt2, "token", text) == 262


@pytest.mark.parametrize("place", range(0, 50257, 997))
def test_every_token_of_the_vocabulary_can_be_searched_for(random_gpt2, place):
    token = random_gpt2.tokenizer.convert_ids_to_tokens(place)
    found = one_token(random_gpt2, "token", token)
    # A vocabulary string may be a text of its own, which then comes first: "the" is one.
    assert found == place or encode(random_gpt2, token) == [found]


def test_pieces_of_a_character_and_control_characters_can_be_searched_for(random_gpt2):
    for text, id in (("ðŁ", 8582), ("\n", 198), ("\x07", 195), ("<|endoftext|>", 50256)):
        assert one_token(random_gpt2, "token", text) == id
    assert one_token(random_gpt2, "token", "") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "playground",
            "this is 2: play · ground; search for ␣playground, with a blank before it, or ",
        ),
        ("zebra", "this is 2: z · ebra; search for one of these."),
        ("🎉", r"this is 3: \xf0\x9f · \x8e · \x89; search for one of these."),
        ("a b c d e f g h i j", "a · ␣b · ␣c · ␣d · ␣e · ␣f · ␣g · ␣h and more; search"),
        ("<script>", "this is 3: < · script · >;"),
        ("a\x1b", "this is 2: a · ‹U+001B›;"),
        ("a\0", "null character at position 1"),
        ("\ud83d", "lone surrogate U+D83D"),
        ("x" * 200_000, "200,000 characters"),
        (5, "token is 5, but must be a text."),
        (None, "token is None, but must be a text."),
    ],
)
def test_what_is_not_one_token_is_refused_with_its_pieces(random_gpt2, text, sentence):
    with pytest.raises(Refusal) as refusal:
        next_token.next_token(trace_text(random_gpt2, PROMPT), token=text)
    message = str(refusal.value)
    assert sentence in message
    assert message.endswith(".")
    assert len(message) < 400
    assert "\n" not in message


@pytest.mark.parametrize("scale", ["", "LOG", 1, None, ["log"]])
def test_an_unknown_scale_is_refused(random_gpt2, scale):
    with pytest.raises(Refusal, match=r"^scale is .*, but must be one of linear, log\.$"):
        next_token.next_token(trace_text(random_gpt2, PROMPT), scale=scale)


@pytest.mark.parametrize("decoding", SETTINGS.values(), ids=SETTINGS)
def test_a_searched_token_is_followed_in_answer_table_and_figure(pocket, decoding):
    trace = trace_text(pocket, PROMPT)
    result = next_token.next_token(trace, show=3, token=" horse", decoding=decoding)
    id = encode(pocket, " horse")[0]
    assert result.searched == id
    answers = [stage["searched"] for stage in next_token.answer(result)["stages"]]
    table = next_token.table(result)
    assert all(len(row) == len(table.headers) for row in table.rows)
    row = dict(zip(table.headers, next(one for one in table.rows if one[1] == id), strict=True))
    panels = next_token.figure(result).axes
    assert row["token"] == "▸ ␣horse"
    for stage, name in enumerate(result.stages):
        scores = result.scores[stage]
        one = answers[stage]
        title = panels[stage].get_title(loc="left")
        assert (one["id"], one["token"]) == (id, "Ġhorse")
        probability = float(torch.tensor(scores).softmax(-1)[id])
        assert one["probability"] == row[f"p after {name}"] == probability
        if np.isfinite(scores[id]):
            rank = int((scores > scores[id]).sum()) + 1
            assert (one["logit"], one["rank"]) == (float(scores[id]), rank)
            assert f"▸ ␣horse: rank {rank:,} · score " in title
        else:
            assert (one["logit"], one["rank"], one["probability"]) == (None, None, 0)
            assert "▸ ␣horse: dropped" in title
        if stage:
            cells = (row[f"score after {name}"], row[f"rank after {name}"])
            dropped = one["rank"] is None
            assert cells == (("dropped",) * 2 if dropped else (one["logit"], one["rank"]))
    assert (row["logit"], row["rank"]) == (answers[0]["logit"], answers[0]["rank"])


def test_without_a_search_there_is_nothing_about_one(random_gpt2):
    result = next_token.next_token(trace_text(random_gpt2, PROMPT))
    assert {stage["searched"] for stage in next_token.answer(result)["stages"]} == {None}
    assert not any("score" in header for header in next_token.table(result).headers)
    assert "rank" not in next_token.figure(result).axes[0].get_title(loc="left")


def test_the_snippet_follows_the_searched_token(random_gpt2, capsys):
    trace = trace_text(random_gpt2, PROMPT)
    decoding = Decoding(temperature=0.7, top_k=0)
    code = next_token.snippet(trace, token="Ġthe", decoding=decoding)
    names: dict = {}
    exec(code, names)
    result = next_token.next_token(trace, token="Ġthe", decoding=decoding)
    *_, first, second = capsys.readouterr().out.strip().splitlines()
    for stage, line in enumerate((first, second)):
        logit, probability, _, rank = line.split()
        assert float(logit) == pytest.approx(result.scores[stage][262], abs=1e-3)
        assert float(probability) == pytest.approx(result.probabilities(stage)[262], rel=1e-2)
        assert int(rank) == result.rank(stage, 262)


# --- formula -------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", " the", " horse"])
@pytest.mark.parametrize("decoding", SETTINGS.values(), ids=SETTINGS)
def test_the_formula_says_how_the_probability_comes_about(pocket, token, decoding):
    trace = trace_text(pocket, PROMPT)
    result = next_token.next_token(trace, position=4, token=token, decoding=decoding)
    id = result.explained
    assert id == (result.searched if token else int(trace.ids[5]))
    first, second, *after = result.formula.splitlines()

    state = trace.hidden[-1][4].double()
    logit = float(state @ pocket.model.transformer.wte.weight[id].double())
    shown = readable(result.tokens[id])
    begin = f"z({shown}) = x₄ · E[{id}] = "
    assert first.startswith(begin)
    assert number(first.removeprefix(begin).split(",")[0]) == pytest.approx(logit, abs=2e-3)

    sampled = decoding.strategy == "sample" and decoding.temperature != 1
    temperature = decoding.temperature if sampled else 1.0
    stage = result.stages.index("temperature") if sampled else 0
    over = f" / {temperature:g}" if sampled else ""
    pattern = rf"p\(.*\) = softmax\(z{over}\) = exp\((.*?){over}\) / Σ = (.*?),   Σ = exp\((.*?)\)"
    score, probability, total = map(number, re.fullmatch(pattern, second).groups())
    assert score == pytest.approx(float(result.scores[max(0, stage - 1)][id]), abs=1e-3)
    scores = torch.tensor(result.scores[stage])
    assert total == pytest.approx(float(scores.double().logsumexp(-1)), abs=1e-3)
    expected = float(scores.softmax(-1)[id])
    assert probability == pytest.approx(expected, rel=1e-3)
    assert np.exp(score / temperature - total) == pytest.approx(expected, rel=5e-3)
    last = float(result.probabilities(len(result.stages) - 1)[id])
    if stage == len(result.stages) - 1:
        assert not after
    elif last == 0:
        assert re.fullmatch(r"dropped by \w+: 0 in the end", after[0])
    else:
        name, value = after[0].removeprefix("after ").split(": ")
        assert name == result.stages[-1]
        assert float(value) == pytest.approx(last, rel=1e-3)


def test_the_formula_of_a_forbidden_token(pocket):
    trace = trace_text(pocket, PROMPT)
    decoding = Decoding(min_new_tokens=5, temperature=0.5)
    result = next_token.next_token(trace, token="<|endoftext|>", decoding=decoding)
    first, second, last = result.formula.splitlines()
    assert first.endswith("after min_new_tokens: z = −∞")
    assert "exp(−∞ / 0.5) / Σ = 0, " in second
    assert last == "dropped by min_length: 0 in the end"


def test_at_the_end_of_the_text_the_formula_explains_the_most_probable(pocket):
    result = next_token.next_token(trace_text(pocket, PROMPT))
    assert result.explained == int(np.argmax(result.scores[-1]))


# --- figure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("decoding", SETTINGS.values(), ids=SETTINGS)
def test_bars_of_every_panel_sum_to_one_and_share_rows_and_axis(pocket, decoding, scale):
    trace = trace_text(pocket, PROMPT)
    result = next_token.next_token(
        trace, position=6, token=" horse", scale=scale, decoding=decoding
    )
    drawing = next_token.figure(result)
    panels = [axes for axes in drawing.axes if axes.get_visible()]
    assert len(panels) == len(result.stages)
    assert len({axes.get_xlim() for axes in panels}) == 1
    assert {axes.get_xscale() for axes in panels} == {scale}
    labels = [one.get_text() for one in panels[0].get_yticklabels()]
    listed = len(labels) - 1
    assert labels[-1] == f"all other tokens ({50257 - listed:,})"
    assert sum(text.startswith("✓ ") for text in labels) == 1
    assert sum(text.startswith("▸ ") for text in labels) == 1
    ids = [int(text.rsplit(maxsplit=1)[1]) for text in labels[:-1]]
    for stage, axes in enumerate(panels):
        probabilities = torch.tensor(result.scores[stage]).softmax(-1)
        low, high = axes.get_xlim()
        ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
        assert all(end <= high for end in ends)
        for id, end in zip(ids, ends, strict=False):
            assert end == pytest.approx(max(float(probabilities[id]), low), abs=VALUES)
        values = [text.get_text() for text in axes.texts]
        dropped = [value == "dropped" for value in values]
        assert dropped[:-1] == [bool(np.isinf(result.scores[stage][id])) for id in ids]
        written = [0.0 if value == "dropped" else float(value) for value in values]
        assert sum(written) == pytest.approx(1, abs=5e-3)
        if scale == "linear":
            # Float32 probabilities, as transformers computes them, add up to 1 only nearly.
            assert sum(ends) == pytest.approx(1, abs=1e-4)
        name, facts, _ = axes.get_title(loc="left").split("\n")
        assert name == result.stages[stage]
        assert facts.startswith(f"{result.kept(stage):,} kept · mass ")
        mass, bits = re.findall(r"mass (\S+) · entropy (\S+) bits", facts)[0]
        assert float(mass) == pytest.approx(result.kept_mass(stage), abs=1e-3)
        assert float(bits) == pytest.approx(result.entropy_bits(stage), abs=0.01)


def test_only_the_searched_bar_has_its_colour(pocket):
    result = next_token.next_token(trace_text(pocket, PROMPT), token=" the")
    axes = next_token.figure(result).axes[0]
    labels = [one.get_text() for one in axes.get_yticklabels()]
    colours = [bar.get_facecolor() for bar in axes.patches]
    place = next(row for row, text in enumerate(labels) if text.startswith("▸ ␣the"))
    assert colours.count(colours[place]) == 1
    assert len(set(colours[:place] + colours[place + 1 : -1])) == 1


def test_the_tokens_of_all_texts_can_be_drawn(random_gpt2):
    """No position has such a top list, so the scores are raised by hand."""
    result = next_token.next_token(trace_text(random_gpt2, PROMPT), decoding=Decoding(top_k=0))
    every = {id for text in TEXTS.values() for id in encode(random_gpt2, text)}
    ids = sorted(id for id in every if not random_gpt2.tokenizer.decode(id).strip().isalnum())
    assert len(ids) > 200
    names = random_gpt2.tokenizer.convert_ids_to_tokens(ids)
    for start in range(0, len(ids), 100):
        part = ids[start : start + 100]
        scores = result.scores.copy()
        scores[:, part] += 50
        raised = dataclasses.replace(
            result,
            scores=scores,
            show=len(part),
            searched=part[0],
            tokens=dict(zip(ids, names, strict=True)),
        )
        save(next_token.figure(raised, dark=bool(start)))


def test_the_longest_text_has_the_same_picture_and_numbers(pocket):
    ids = encode(pocket, long_text())[: pocket.n_positions]
    result = next_token.next_token(trace_ids(pocket, ids), -2, token=" large", scale="log")
    assert result.position == len(ids) - 2
    with torch.no_grad():
        logits = eager(pocket.path)(torch.tensor([ids[:-1]])).logits[0, -1]
    np.testing.assert_allclose(result.scores[0], logits.numpy(), rtol=0, atol=LOGITS)
    drawing = next_token.figure(result)
    save(drawing)
    assert len(drawing.axes[0].get_yticklabels()) <= 13


@pytest.mark.parametrize("token", ["'", '"', "\\", "{", "\n", "\x0b", "$"])
def test_a_hostile_search_does_not_break_the_code(random_gpt2, token):
    trace = trace_text(random_gpt2, PROMPT)
    id = one_token(random_gpt2, "token", token)
    tree = ast.parse(next_token.snippet(trace, token=token))
    plain = ast.parse(next_token.snippet(trace, token=" the"))
    assert ast.dump(tree) == ast.dump(plain).replace("value=262", f"value={id}")
