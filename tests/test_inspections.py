"""Each inspection: its figure draws, its snippet, table and JSON give the numbers it shows."""

import dataclasses
import io
import itertools
import json
import shutil
import warnings
import xml.etree.ElementTree as xml
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from prompts import HOSTILE, PROMPTS
from student import run
from transformers import GPT2LMHeadModel, set_seed

from gpt2lab.decoding import Decoding
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.inspections import INSPECTIONS, next_token, weight_tying
from gpt2lab.models import Gpt2, load_model
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import Trace, trace_ids, trace_text

ROOT = Path(__file__).parent.parent
VALUES = 1e-5
"""Attention weights, probabilities, counts: absolute."""
LOGITS = 1e-4
"""Logits and scores: absolute."""
LONGEST_SNIPPET = 18
"""Lines that are not blank, without the one that each stage of the decoding has to itself."""

EVERY_STAGE = Decoding(
    max_new_tokens=8,
    repetition_penalty=1.3,
    no_repeat_ngram_size=2,
    min_new_tokens=3,
    temperature=0.8,
    top_k=500,
    top_p=0.95,
    min_p=0.001,
    typical_p=0.9,
)
DECODINGS = [
    {"decoding": EVERY_STAGE},
    {"decoding": EVERY_STAGE, "prompt_length": 2},
    {"decoding": EVERY_STAGE, "prompt_length": 7, "position": 3},
    {"decoding": Decoding(top_k=0, max_new_tokens=8)},
    {"decoding": Decoding("greedy", repetition_penalty=1.5, top_k=5, max_new_tokens=8)},
    {"decoding": Decoding("beam", num_beams=2, repetition_penalty=1.5, max_new_tokens=8)},
]
TEXT = "to be or not to be or"


def values(control: Control, gpt2: Gpt2, length: int) -> list:
    """Both ends of a control, and something between."""
    if control.kind == "choice":
        return list(control.choices)
    if control.kind == "switch":
        return [True, False]
    if control.name == "heads":
        return [control.default, "0.1", " 1.MLP 2.3, 0.0"]
    if control.name == "endings":
        return [control.default, " the", f"{HOSTILE['html']}\n."]
    if control.name == "key":
        return [length - 1, 0, control.default]
    if control.kind == "text" and control.name == "token":
        return [control.default, " the", "Ġbe"]
    if control.kind == "text":
        return [control.default, "", " the", HOSTILE["html"]]
    if control.kind == "position":
        return [0, -1, length // 2]
    low, high = control.lowest(gpt2), control.highest(gpt2)
    return [control.type(low), control.type(high), control.type((low + high) / 2)]


def settings(inspection: Inspection, gpt2: Gpt2, length: int) -> list[dict]:
    """Defaults; the lowest, highest and middle of all controls; and every kind of decoding."""
    choices = [values(control, gpt2, length) for control in inspection.controls]
    names = [control.name for control in inspection.controls]
    every: list[dict] = [{}]
    for place in range(max(map(len, choices), default=0)):
        chosen = [of_one[place % len(of_one)] for of_one in choices]
        every.append(dict(zip(names, chosen, strict=True)))
    if not inspection.uses_decoding:
        return every
    known = {*names, "decoding", "prompt_length"}
    return every + [one for one in DECODINGS if one.keys() <= known]


def few_settings(inspection: Inspection, gpt2: Gpt2, length: int) -> list[dict]:
    """All settings on the small random model, the first ones on the larger one."""
    every = settings(inspection, gpt2, length)
    return every if gpt2.name == "random" else every[:2]


def assert_reproduced(inspection: Inspection, trace: Trace, controls: dict, result: Any) -> None:
    code = inspection.snippet(trace, **controls)
    assert "import gpt2lab" not in code
    assert "from gpt2lab" not in code
    stages = [line for line in code.splitlines() if line.endswith("),") and "Logits" in line]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) - len(stages) <= LONGEST_SNIPPET
    assert max(map(len, code.splitlines())) < 300
    names = run(code)
    assert names["printed"].strip()
    assert inspection.reproduces
    for name in inspection.reproduces:
        shown, printed = getattr(result, name), names[name]
        if isinstance(shown, np.ndarray):
            printed = printed.detach().numpy()
            assert printed.shape == shown.shape
            tolerance = LOGITS if name in {"scores", "logits"} else VALUES
            # GPT-2's first token has norms of some thousands, where float32 has no fifth decimal.
            relative = VALUES if name == "norms" else 0
            np.testing.assert_allclose(printed, shown, relative, tolerance, err_msg=name)
        elif isinstance(shown, tuple):
            assert tuple(printed) == shown, name
        else:
            assert printed == pytest.approx(shown, abs=VALUES), name


def save(drawing: Figure, *kinds: str) -> None:
    """Render as these kinds of file, which the page offers, with every warning an error."""
    assert isinstance(drawing, Figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = {kind: io.BytesIO() for kind in kinds}
        for kind, file in files.items():
            drawing.savefig(file, format=kind, facecolor=drawing.get_facecolor())
    if "png" in kinds:
        assert files["png"].getvalue().startswith(b"\x89PNG")
    if "svg" in kinds:
        root = xml.fromstring(files["svg"].getvalue())
        tags = {element.tag.split("}")[-1] for element in root.iter()}
        assert "path" in tags
        assert "script" not in tags


def texts(drawing: Figure) -> list[str]:
    return [
        tick.get_text()
        for axes in drawing.axes
        for tick in (*axes.get_xticklabels(), *axes.get_yticklabels())
    ]


@pytest.fixture(autouse=True)
def in_the_projects_folder(monkeypatch):
    monkeypatch.chdir(ROOT)


each = pytest.mark.parametrize("inspection", INSPECTIONS, ids=lambda one: one.name)


# --- all of them ---------------------------------------------------------------------------------


@each
def test_code_answer_and_table_give_the_numbers_shown_and_no_weight_changes(gpt2, inspection):
    before = {name: tensor.clone() for name, tensor in gpt2.model.state_dict().items()}
    trace = trace_text(gpt2, TEXT)
    for controls in few_settings(inspection, gpt2, len(trace)):
        try:
            result = inspection.compute(trace, **controls)
            assert_reproduced(inspection, trace, controls, result)
            assert_readable(inspection.answer(result), inspection.table(result))
        except (Exception, SystemExit) as error:
            pytest.fail(f"{controls}: {type(error).__name__}: {error}")
    for name, tensor in gpt2.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def assert_readable(answer: Mapping[str, Any], table: Table) -> None:
    """The one is JSON, the other a rectangle of plain texts and numbers."""
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert isinstance(table, Table)
    assert table.rows
    for row in table.rows:
        assert len(row) == len(table.headers)
        assert all(type(cell) in {str, float, int, bool} for cell in row)


@each
def test_snippets_of_hard_texts_give_the_numbers_shown(random_gpt2, inspection):
    """As much hostile text at once as the model can read, nothing, and parts of characters."""
    hostile = [*HOSTILE.values()]
    texts = ["\n".join(hostile[third::3]) for third in range(3)]
    traces = [trace_text(random_gpt2, text) for text in (*texts, "")]
    for trace in (*traces, trace_ids(random_gpt2, [464, 12520, 236, 188])):
        assert_reproduced(inspection, trace, {}, inspection.compute(trace))


@each
def test_figures_draw(random_gpt2, inspection):
    """In light and dark by turns; those of the first two settings as both kinds of file."""
    trace = trace_text(random_gpt2, TEXT)
    first, *others = settings(inspection, random_gpt2, len(trace))[:3]
    for number, controls in enumerate([first, *(others or [first])]):
        result = inspection.compute(trace, **controls)
        drawing = inspection.figure(result, dark=number % 2 == 1)
        save(drawing, *(("png", "svg") if number < 2 else ("png",)))


@each
def test_declarations_are_complete(random_gpt2, inspection):
    assert inspection.name.isidentifier()
    assert inspection.title
    assert len(inspection.idea) > 300
    defaults = {control.name: control.default for control in inspection.controls}
    trace = trace_text(random_gpt2, TEXT)
    result, again = inspection.compute(trace), inspection.compute(trace, **defaults)
    assert inspection.answer(result) == inspection.answer(again)
    for control in inspection.controls:
        assert control.help
        if control.kind not in {"choice", "switch", "text"}:
            assert control.lowest(random_gpt2) <= control.default <= control.highest(random_gpt2)
    assert dataclasses.is_dataclass(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.noise = 1


@each
def test_what_a_control_cannot_be_is_refused(random_gpt2, inspection):
    trace = trace_text(random_gpt2, TEXT)
    for control in inspection.controls:
        for wrong in (float("nan"), float("inf"), 10**400, -(10**6), True, "1", None, [1]):
            if isinstance(wrong, {"switch": bool, "text": str}.get(control.kind, ())):
                continue
            with pytest.raises(Refusal, match=f"^{control.name} is .* but must be "):
                inspection.compute(trace, **{control.name: wrong})


# --- next_token ----------------------------------------------------------------------------------

STAGE_NAMES = (
    "logits",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "min_length",
    "min_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
)


@pytest.mark.parametrize("controls", DECODINGS, ids=str)
def test_each_stage_is_a_distribution(gpt2, controls):
    result = next_token.next_token(trace_text(gpt2, TEXT), **controls)
    assert result.scores.shape == (len(result.stages), gpt2.vocab_size)
    for stage in range(len(result.stages)):
        scores = result.scores[stage].astype(np.float64)
        weights = np.exp(scores - scores.max())
        expected = weights / weights.sum()
        probabilities = result.probabilities(stage)
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=VALUES)
        assert float(probabilities.sum(dtype=np.float64)) == pytest.approx(1, abs=VALUES)
        kept = expected[expected > 0]
        assert result.kept(stage) == np.isfinite(scores).sum()
        bits = float(-(kept * np.log2(kept)).sum())
        assert result.entropy_bits(stage) == pytest.approx(bits, abs=VALUES)
        assert np.all(np.diff(scores[result.order(stage)][: result.kept(stage)]) <= 0)


def test_every_active_setting_is_a_stage_in_transformers_order(gpt2):
    result = next_token.next_token(trace_text(gpt2, TEXT), decoding=EVERY_STAGE)
    assert result.stages == STAGE_NAMES
    kept = [result.kept(stage) for stage in range(len(STAGE_NAMES))]
    assert kept[0] == gpt2.vocab_size
    assert kept == sorted(kept, reverse=True)
    assert kept[STAGE_NAMES.index("top_k")] == 500
    # "to be or not to be or": one pair of tokens after "or" has been seen.
    assert kept[STAGE_NAMES.index("no_repeat_ngram_size")] == gpt2.vocab_size - 1
    assert kept[STAGE_NAMES.index("min_length")] == gpt2.vocab_size - 2


def test_end_of_text_is_forbidden_only_until_enough_is_written(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    decoding = Decoding(min_new_tokens=3, top_k=0)
    for prompt_length, allowed in ((7, False), (5, False), (4, True), (3, True), (None, False)):
        result = next_token.next_token(trace, decoding=decoding, prompt_length=prompt_length)
        assert np.isfinite(result.scores[-1][50256]) == allowed, prompt_length


@pytest.mark.parametrize(
    "decoding",
    [
        EVERY_STAGE,
        Decoding(strategy="greedy", repetition_penalty=1.5, no_repeat_ngram_size=2),
        Decoding(strategy="beam", num_beams=3, repetition_penalty=1.5, no_repeat_ngram_size=2),
        Decoding(strategy="beam", num_beams=3),
    ],
    ids=lambda decoding: decoding.strategy,
)
def test_the_last_stage_is_what_generate_scores_first(gpt2, plain, decoding):
    prompt = torch.tensor([encode(gpt2, TEXT)])
    set_seed(decoding.seed)
    expected = plain.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        return_dict_in_generate=True,
        output_scores=True,
        **decoding.generate_arguments(),
    ).scores[0][0]
    result = next_token.next_token(trace_text(gpt2, TEXT), decoding=decoding)
    np.testing.assert_allclose(result.scores[-1], expected.numpy(), rtol=0, atol=LOGITS)
    probabilities = expected.softmax(-1).numpy()
    last = len(result.stages) - 1
    np.testing.assert_allclose(result.probabilities(last), probabilities, rtol=0, atol=VALUES)


@pytest.mark.parametrize("controls", [{}, {"show": 3}, *DECODINGS], ids=str)
def test_the_answer_and_the_table_show_the_record(gpt2, controls):
    result = next_token.next_token(trace_text(gpt2, TEXT), **controls)
    answer = next_token.answer(result)
    assert answer["position"] == result.position
    assert [stage["name"] for stage in answer["stages"]] == list(result.stages)
    for number, stage in enumerate(answer["stages"]):
        assert stage["kept"] == result.kept(number)
        assert stage["entropy_bits"] == result.entropy_bits(number)
        assert len(stage["top"]) == min(result.show, stage["kept"])
        assert [one["rank"] for one in stage["top"]] == list(range(1, len(stage["top"]) + 1))
        for one in stage["top"]:
            scores = result.scores[number]
            assert one["token"] == gpt2.tokenizer.convert_ids_to_tokens(one["id"])
            assert one["logit"] == float(scores[one["id"]])
            assert one["probability"] == float(result.probabilities(number)[one["id"]])
            assert (scores > one["logit"]).sum() < one["rank"]

    table = next_token.table(result)
    assert table.headers == (
        "token", "id", "rank", "logit", *(f"p after {name}" for name in result.stages)
    )  # fmt: skip
    *rows, others = table.rows
    for _, id, rank, logit, *probabilities in rows:
        assert logit == float(result.scores[0][id])
        assert (result.scores[0] > logit).sum() < rank
        for stage, probability in enumerate(probabilities):
            assert probability == float(result.probabilities(stage)[id])
    assert [row[2] for row in rows[: result.show]] == list(range(1, result.show + 1))
    for stage, rest in enumerate(others[4:]):
        listed = sum(row[4 + stage] for row in rows)
        assert listed + rest == pytest.approx(1, abs=VALUES)


def test_hostile_tokens_can_be_drawn_as_next_tokens(random_gpt2):
    """No text gives such a top ten, so the scores are raised by hand."""
    result = next_token.next_token(trace_text(random_gpt2, TEXT), show=50)
    ids = sorted({id for text in HOSTILE.values() for id in encode(random_gpt2, text)})
    tokens = dict(enumerate(random_gpt2.tokenizer.convert_ids_to_tokens(range(50257))))
    for start, kind in zip(range(0, len(ids), 50), itertools.cycle(["png", "svg"]), strict=False):
        scores = result.scores.copy()
        scores[:, ids[start : start + 50]] += 50
        raised = dataclasses.replace(result, scores=scores, tokens=tokens)
        save(next_token.figure(raised, dark=bool(start)), kind)
        json.dumps(next_token.answer(raised), allow_nan=False)


# --- weight_tying --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untied(random_folder, tmp_path_factory) -> Gpt2:
    """The random model with a head of its own."""
    folder = tmp_path_factory.mktemp("models") / "untied"
    shutil.copytree(random_folder, folder)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    model.config.tie_word_embeddings = False
    torch.manual_seed(2)
    head = model.transformer.wte.weight.detach().clone()
    model.lm_head.weight = torch.nn.Parameter(head + 0.1 * torch.randn_like(head))
    model.save_pretrained(folder)
    return load_model(str(folder), device="cpu")


def test_tied_weights_are_counted_once(gpt2):
    result = weight_tying.weight_tying(trace_text(gpt2, TEXT))
    assert result.equal
    assert result.same_storage
    assert result.config_says_tied
    assert result.parameters_tied == gpt2.parameters
    assert result.parameters_untied == gpt2.parameters + gpt2.vocab_size * gpt2.n_embd
    assert weight_tying.answer(result) == {
        "equal": True,
        "same_storage": True,
        "config_says_tied": True,
        "parameters_tied": result.parameters_tied,
        "parameters_untied": result.parameters_untied,
        "noise": 0.0,
    }
    cells = dict(weight_tying.table(result).rows)
    assert cells["parameters if tied"] == f"{result.parameters_tied:,}"
    assert cells["parameters if untied"] == f"{result.parameters_untied:,}"
    assert cells["they are one piece of memory"] == "yes"


def test_untied_weights_are_reported_as_not_tied(untied):
    trace = trace_text(untied, TEXT)
    result = weight_tying.weight_tying(trace)
    assert not result.equal
    assert not result.same_storage
    assert not result.config_says_tied
    assert result.parameters_untied == untied.parameters == 1_650_496 + 50257 * 32
    assert_reproduced(weight_tying.INSPECTION, trace, {}, result)
    assert "no" in dict(weight_tying.table(result).rows)["they are one piece of memory"]


@pytest.mark.parametrize("noise", [1e-4, 0.02, 1.0])
def test_the_noise_experiment_is_that_of_the_snippet(gpt2, noise):
    trace = trace_text(gpt2, PROMPTS["ordinary"])
    result = weight_tying.weight_tying(trace, noise)
    names = run(weight_tying.snippet(trace, noise))
    for name in ("largest_change_tied", "largest_change_untied"):
        change = getattr(result, name)
        assert change == pytest.approx(names[name], rel=VALUES, abs=LOGITS)
        assert weight_tying.answer(result)[name] == change
        assert change > 0
    drawn = texts(weight_tying.figure(result))
    assert drawn.count("tied") == drawn.count("untied") == 2


def test_without_noise_there_is_no_experiment(gpt2):
    result = weight_tying.weight_tying(trace_text(gpt2, TEXT), 0)
    assert result.largest_change_tied is None
    assert result.largest_change_untied is None
