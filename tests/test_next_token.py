"""Next token: every number on many texts against transformers, the search, the panels.

The reference is a plain forward pass and transformers' own logits processors, made here by hand.
Probabilities and masses agree within 1e-5, and within a thousandth where they are small; entropies
within 1e-4 bits, logits and scores within 1e-4. What is printed is rounded besides.

The processors begin with the logits that the lab has: else the seventh digit, which depends on how
many tokens are computed at once, would decide on which side of a cut a token falls. That these are
the logits of the forward pass is tested first.
"""

import ast
import dataclasses
import functools
import re
from typing import Any

import numpy as np
import pytest
import student
import torch
from test_inspections import EVERY_STAGE, save
from texts import TEXTS, long_text
from transformers import (
    GPT2LMHeadModel,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from gpt2lab.decoding import Decoding
from gpt2lab.figures import label
from gpt2lab.inspections import next_token
from gpt2lab.models import Gpt2
from gpt2lab.one_token import one_token
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode, readable
from gpt2lab.trace import Trace, trace_ids, trace_text

VALUES = 1e-5
LOGITS = 1e-4
BITS = 1e-4
END_OF_TEXT = 50256
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


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("∞", "inf"))


each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


@pytest.fixture
def reader(request, random_gpt2, text) -> Gpt2:
    """A small model that reads the whole text, even if it has 1,024 tokens."""
    if len(encode(random_gpt2, text)) <= random_gpt2.n_positions:
        return random_gpt2
    return request.getfixturevalue("wide_gpt2")


def temper(gpt2: Gpt2) -> float:
    """A temperature at which cuts keep some tokens, not half of all: both models are undecided."""
    return 0.25 if gpt2.name == "random" else 0.8


@dataclasses.dataclass
class Asked:
    """A place in a text.

    chosen: the token that follows there. logits: the lab's; plain: those of a plain forward pass
    over what comes before; (vocab_size,).
    """

    trace: Trace
    position: int
    chosen: int | None

    def __post_init__(self) -> None:
        prompt = self.trace.ids[: self.position + 1]
        self.ids = prompt[None]
        self.logits = self.trace.logits(self.position)
        self.plain = _logits(self.trace.gpt2.path, tuple(prompt.tolist()))
        np.testing.assert_allclose(self.logits, self.plain, rtol=0, atol=LOGITS)
        assert_close(softmax(self.logits), softmax(self.plain))

    def candidate(self) -> tuple[int, str]:
        """A token that is no winner, and how it is searched for."""
        tokenizer = self.trace.gpt2.tokenizer
        for id in self.plain.topk(100).indices[15:].tolist():
            if tokenizer.encode(tokenizer.decode(id)) == [id]:
                return id, tokenizer.decode(id)
        pytest.fail("none of the most probable tokens can be written")

    def listed(self, show: int, searched: int) -> list[int]:
        """The most probable tokens, and after them the one that follows and the searched one."""
        ids = dict.fromkeys([*self.plain.topk(show).indices.tolist(), self.chosen, searched])
        return [id for id in ids if id is not None]


@functools.cache
def _logits(path: str, ids: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return eager(path)(torch.tensor([ids])).logits[0, -1].clone()


def asked(gpt2: Gpt2, text: str) -> Asked:
    """The place before the last token, or behind it if there is but one."""
    trace = trace_text(gpt2, text)
    ids = gpt2.tokenizer(text, verbose=False).input_ids or [END_OF_TEXT]
    assert trace.ids.tolist() == ids
    position = max(len(ids) - 2, 0)
    return Asked(trace, position, ids[-1] if len(ids) > 1 else None)


def at_the_end(gpt2: Gpt2, text: str) -> Asked:
    trace = trace_text(gpt2, text)
    return Asked(trace, len(trace) - 1, None)


def stages(
    place: Asked, logits: torch.Tensor, processors: LogitsProcessorList
) -> list[torch.Tensor]:
    """The logits, and what each of the processors makes of them."""
    every = [logits[None]]
    for processor in processors:
        every.append(processor(place.ids, every[-1].clone()))
    return [scores[0] for scores in every]


def every_processor(asked: Asked) -> LogitsProcessorList:
    """What `every_stage` asks for, in the order of `generate`."""
    length = asked.ids.shape[1]
    return LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.3),
            NoRepeatNGramLogitsProcessor(2),
            MinLengthLogitsProcessor(length + 3, END_OF_TEXT),
            MinNewTokensLengthLogitsProcessor(length, 3, END_OF_TEXT),
            TemperatureLogitsWarper(temper(asked.trace.gpt2)),
            TopKLogitsWarper(500),
            TopPLogitsWarper(0.95),
            MinPLogitsWarper(0.001),
            TypicalLogitsWarper(0.9),
        ]
    )


def every_name() -> list[str]:
    return [
        "repetition_penalty", "no_repeat_ngram_size", "min_length", "min_new_tokens", "temperature",
        "top_k", "top_p", "min_p", "typical_p",
    ]  # fmt: skip


def every_stage(asked: Asked) -> Decoding:
    return dataclasses.replace(EVERY_STAGE, temperature=temper(asked.trace.gpt2))


def assert_close(actual: Any, expected: Any) -> None:
    """Within 1e-5, and where the expected values are small, within a thousandth of them."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    difference = np.abs(actual - expected)
    assert np.all(difference <= np.minimum(VALUES, 1e-3 * expected + 1e-12)), difference.max()


def assert_rank(rank: int | None, scores: torch.Tensor, id: int) -> None:
    """Among equal scores any order will do."""
    if scores[id].isinf():
        assert rank is None
    else:
        above, reached = (scores > scores[id]).sum(), (scores >= scores[id]).sum()
        assert above + 1 <= rank <= reached


def softmax(scores: torch.Tensor) -> np.ndarray:
    return scores.double().softmax(-1).numpy()


def mass(before: np.ndarray, after: torch.Tensor) -> float:
    """How much of the probability before a stage its scores leave."""
    return float(before[after.isfinite().numpy()].sum())


def entropy_bits(probabilities: np.ndarray) -> float:
    drawable = probabilities[probabilities > 0]
    return float(-(drawable * np.log2(drawable)).sum())


# --- every text ----------------------------------------------------------------------------------


@each_text
def test_record_answer_and_code_give_the_numbers_of_transformers(reader, text):
    assert_numbers(asked(reader, text))


def test_the_numbers_after_1024_tokens_are_those_of_transformers(wide_gpt2):
    place = at_the_end(wide_gpt2, long_text())
    assert place.ids.shape == (1, 1024)
    assert_numbers(place)


def assert_numbers(place: Asked) -> None:
    expected = stages(place, place.logits, every_processor(place))
    searched, token = place.candidate()
    arguments = (place.trace, place.position, 5, token)
    result = next_token.next_token(*arguments, decoding=every_stage(place))
    np.testing.assert_allclose(result.scores, torch.stack(expected), rtol=0, atol=LOGITS)
    distributions = [softmax(scores) for scores in expected]
    assert_close([result.probabilities(stage) for stage in range(10)], distributions)
    assert_answer(next_token.answer(result), place, expected, distributions, searched)
    code = next_token.snippet(*arguments, decoding=every_stage(place))
    plain = stages(place, place.plain, every_processor(place))
    assert_printed(student.run(code), plain, searched)


def assert_answer(
    answer: dict[str, Any],
    place: Asked,
    expected: list[torch.Tensor],
    distributions: list[np.ndarray],
    searched: int,
) -> None:
    assert answer["position"] == place.position
    names = [stage["name"] for stage in answer["stages"]]
    assert names == ["logits", *every_name()]
    assert_formula(answer["formula"], names, expected, place, searched)
    before = distributions[0]
    for stage, scores, probabilities in zip(answer["stages"], expected, distributions, strict=True):
        kept = int(scores.isfinite().sum())
        assert stage["kept"] == kept
        assert_close(stage["kept_mass"], mass(before, scores))
        assert stage["entropy_bits"] == pytest.approx(entropy_bits(probabilities), abs=BITS)
        before = probabilities

        top = scores.topk(min(5, kept)).indices.tolist()
        assert [one["id"] for one in stage["top"]] == top
        assert [one["rank"] for one in stage["top"]] == [*range(1, len(top) + 1)]
        named = {"searched": searched, "chosen": place.chosen}
        for name, id in named.items():
            assert (stage[name] and stage[name]["id"]) == id
        for one in (*stage["top"], *(stage[name] for name in named if stage[name])):
            id = one["id"]
            assert one["token"] == place.trace.gpt2.tokenizer.convert_ids_to_tokens(id)
            assert_close(one["probability"], probabilities[id])
            assert_rank(one["rank"], scores, id)
            score = None if scores[id].isinf() else pytest.approx(float(scores[id]), abs=LOGITS)
            assert one["logit"] == score
        listed = [*{*top, *named.values()} - {None}]
        assert stage["others"]["count"] == 50257 - len(listed)
        assert_close(stage["others"]["probability"], np.delete(probabilities, listed).sum())


def assert_printed(names: dict[str, Any], expected: list[torch.Tensor], searched: int) -> None:
    """The scores that the code binds, the top of the last stage, and a line for each stage."""
    np.testing.assert_allclose(names["scores"], torch.stack(expected), rtol=0, atol=LOGITS)
    lines = names["printed"].splitlines()
    for line, value, id in zip(lines[:5], *expected[-1].softmax(-1).topk(5), strict=True):
        probability, shown = line.split()[:2]
        assert int(shown) == id
        assert float(probability) == pytest.approx(float(value), abs=6e-5)
    for line, scores in zip(lines[5:], expected, strict=True):
        score, probability, _, rank = line.split()
        assert float(score) == pytest.approx(float(scores[searched]), abs=2 * LOGITS)
        assert float(probability) == pytest.approx(float(scores.softmax(-1)[searched]), rel=1e-3)
        if scores[searched].isfinite():
            assert_rank(int(rank), scores, searched)


@each_text
def test_the_table_gives_the_numbers_of_transformers(reader, text):
    place = asked(reader, text)
    processors = [TemperatureLogitsWarper(temper(reader)), TopKLogitsWarper(7)]
    scores = logits, warmed, cut = stages(place, place.logits, LogitsProcessorList(processors))
    searched, token = place.candidate()
    decoding = Decoding(temperature=temper(reader), top_k=7)
    result = next_token.next_token(place.trace, place.position, 5, token, decoding=decoding)
    table = next_token.table(result)
    assert table.headers == (
        "token", "id", "rank", "logit", "p after logits", "p after temperature", "p after top_k",
        "score after temperature", "rank after temperature", "score after top_k",
        "rank after top_k",
    )  # fmt: skip
    listed = place.listed(5, searched)
    *rows, others = table.rows
    assert [row[1] for row in rows] == listed
    for row in rows:
        shown, id, rank, logit, *cells = row
        marks = "✓ " * (id == place.chosen) + "▸ " * (id == searched)
        assert shown == marks + readable(reader.tokenizer.convert_ids_to_tokens(id))
        assert_rank(rank, logits, id)
        assert logit == pytest.approx(float(logits[id]), abs=LOGITS)
        assert_close(cells[:3], [softmax(stage)[id] for stage in scores])
        assert cells[3] == pytest.approx(float(warmed[id]), abs=LOGITS)
        assert_rank(cells[4], warmed, id)
        if cut[id].isinf():
            assert cells[5:] == ["dropped", "dropped"]
        else:
            assert cells[5] == pytest.approx(float(cut[id]), abs=LOGITS)
            assert_rank(cells[6], cut, id)
    assert others[:4] == ("all other tokens", "", "", "")
    assert_close(others[4:7], [np.delete(softmax(stage), listed).sum() for stage in scores])
    assert others[7:] == ("",) * 4


@each_text
def test_the_figure_shows_the_numbers_of_transformers(reader, text):
    place = asked(reader, text)
    expected = stages(place, place.logits, LogitsProcessorList([TopKLogitsWarper(12)]))
    searched, token = place.candidate()
    decoding = Decoding(top_k=12)
    result = next_token.next_token(place.trace, place.position, 3, token, decoding=decoding)
    drawing = next_token.figure(result)
    assert_formula(drawing.get_suptitle(), ["logits", "top_k"], expected, place, searched)
    listed = place.listed(3, searched)
    *labels, rest = (one.get_text() for one in drawing.axes[0].get_yticklabels())
    for written, id in zip(labels, listed, strict=True):
        marks = "✓ " * (id == place.chosen) + "▸ " * (id == searched)
        token = readable(reader.tokenizer.convert_ids_to_tokens(id))
        assert written == f"{marks}{label(token)}  {id}"
    assert rest == f"all other tokens ({50257 - len(listed):,})"
    before = softmax(expected[0])
    for name, scores, axes in zip(result.stages, expected, drawing.axes, strict=True):
        probabilities = softmax(scores)
        values = [*probabilities[listed], np.delete(probabilities, listed).sum()]
        assert_close([bar.get_width() for bar in axes.patches], values)
        for id, value, written in zip([*listed, None], values, axes.texts, strict=True):
            if id is not None and scores[id].isinf():
                assert written.get_text() == "dropped"
            else:
                assert float(written.get_text()) == pytest.approx(value, rel=6e-3)
        first, facts, followed = axes.get_title(loc="left").split("\n")
        assert first == name
        pattern = r"(\S+) kept · mass (\S+) · entropy (\S+) bits"
        kept, shown_mass, bits = re.fullmatch(pattern, facts).groups()
        assert kept == f"{int(scores.isfinite().sum()):,}"
        assert float(shown_mass) == pytest.approx(mass(before, scores), rel=6e-3)
        assert float(bits) == pytest.approx(entropy_bits(probabilities), abs=0.006)
        before = probabilities
        if scores[searched].isinf():
            assert followed.endswith(": dropped")
        else:
            rank, score = re.search(r": rank (\S+) · score (\S+)$", followed).groups()
            assert_rank(int(rank.replace(",", "")), scores, searched)
            assert number(score) == pytest.approx(float(scores[searched]), abs=6e-4)


def assert_formula(
    text: str, names: list[str], scores: list[torch.Tensor], place: Asked, id: int
) -> None:
    """The formula's numbers, printed with three decimals or four digits."""
    first, second, *after = text.splitlines()
    token = re.escape(label(readable(place.trace.gpt2.tokenizer.convert_ids_to_tokens(id))))
    pattern = rf"z\({token}\) = x(\S+) · E\[(\d+)\] = (\S+?)(?:,   after (\w+): z = (\S+))?"
    position, shown, logit, name, changed = re.fullmatch(pattern, first).groups()
    subscripts = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
    assert (int(position.translate(subscripts)), int(shown)) == (place.position, id)
    assert number(logit) == pytest.approx(float(scores[0][id]), abs=6e-4)
    divided = names.index("temperature") if "temperature" in names else 0
    before = scores[max(divided - 1, 0)]
    assert name == (names[divided - 1] if divided > 1 else None)
    if name:
        assert number(changed) == pytest.approx(float(before[id]), abs=6e-4)
    over = f" / {temper(place.trace.gpt2):g}" if divided else ""
    softmaxed = rf"p\({token}\) = softmax\(z{over}\)"
    pattern = rf"{softmaxed} = exp\((.*?){over}\) / Σ = (.*?),   Σ = exp\((.*?)\)"
    score, probability, total = map(number, re.fullmatch(pattern, second).groups())
    assert score == pytest.approx(float(before[id]), abs=6e-4)
    assert probability == pytest.approx(softmax(scores[divided])[id], rel=1e-3)
    assert total == pytest.approx(float(scores[divided].double().logsumexp(-1)), abs=6e-4)
    dropping = [name for name, one in zip(names, scores, strict=True) if one[id].isinf()]
    if dropping:
        assert after == [f"dropped by {dropping[0]}: 0 in the end"]
    else:
        assert after[0].startswith(f"after {names[-1]}: ")
        assert float(after[0].split()[-1]) == pytest.approx(softmax(scores[-1])[id], rel=1e-3)


# --- stages --------------------------------------------------------------------------------------


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
        for count in (1, kept - 1, kept, kept + 3):
            assert result.top(stage, count) == order[: min(count, kept)].tolist()
        for id in order[kept : kept + 3]:
            assert result.rank(stage, int(id)) is None


def test_the_lower_id_comes_first_among_equals(random_gpt2):
    result = next_token.next_token(trace_text(random_gpt2, PROMPT))
    equal = dataclasses.replace(result, scores=np.zeros_like(result.scores))
    assert [equal.rank(0, id) for id in (0, 7, 50256)] == [1, 8, 50257]
    assert equal.top(0, 3) == [0, 1, 2]


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


@pytest.mark.parametrize(
    ("name", "scale"), [*((name, "log") for name in SETTINGS), ("every stage", "linear")]
)
def test_bars_of_every_panel_sum_to_one_and_share_rows_and_axis(pocket, name, scale):
    trace, decoding = trace_text(pocket, PROMPT), SETTINGS[name]
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
