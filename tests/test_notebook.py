"""A downloaded notebook runs, writes the text that was on screen, and prints the same numbers."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import student
import torch
from prompts import HOSTILE, PROMPTS
from transformers import GPT2LMHeadModel

from gpt2lab.answer import last_answer
from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.inspections import INSPECTIONS, attention, next_token, weight_tying
from gpt2lab.models import Gpt2, load_model
from gpt2lab.notebook import TEXT_VIEWS, as_notebook
from gpt2lab.refusal import Refusal
from gpt2lab.step import describe_text
from gpt2lab.tokens import decode, encode, prompt_ids
from gpt2lab.trace import trace_ids
from gpt2lab.transcript import Passage, Transcript, Writing

ROOT = Path(__file__).parent.parent
NUMBERS = 1e-5
"""Log-probabilities and probabilities, absolute."""
BEAM_NUMBERS = 5e-5
"""The same for beam search, whose steps are read off one pass over the finished text."""

RUNNER = """
import contextlib, io, json, sys
sys.path.append("tests")
from student import files_read_once
for number, line in enumerate(sys.stdin):
    names, outputs = {"__name__": "__main__"}, []
    for cell in json.load(open(json.loads(line)))["cells"]:
        if cell["cell_type"] == "code":
            output = io.StringIO()
            # The first one reads its files itself.
            reading = files_read_once() if number else contextlib.nullcontext()
            with contextlib.redirect_stdout(output), reading:
                exec("".join(cell["source"]), names)
            outputs.append(output.getvalue())
    print(json.dumps(outputs), flush=True)
"""
"""Runs notebooks, each with names of its own, and prints what their cells print."""


def began(gpt2: Gpt2, ids) -> Transcript:
    ids = tuple(encode(gpt2, ids) or prompt_ids(gpt2, "") if isinstance(ids, str) else ids)
    return Transcript().continued(Passage("you", ids, decode(gpt2, ids)))


def answered(
    gpt2: Gpt2,
    transcript: Transcript,
    decoding: Decoding,
    *,
    behind: tuple[int, int] | None = None,
    forced: tuple[int, ...] = (),
    stopped: int | None = None,
    sample: int = 0,
) -> Transcript:
    """The model goes on behind so many tokens of a passage; one of the samples is active."""
    parent = transcript.active
    parent, at = behind or (parent, len(transcript.passages[parent].ids))
    place = transcript.added(Passage("you", (), "", parent, at))
    before = (*place.ids(), *forced)
    dropped = max(0, len(before) + (decoding.max_new_tokens or 0) - gpt2.n_positions)
    samples: dict[int, list] = {}
    for step in generate(gpt2, before[dropped:], decoding):
        samples.setdefault(step.sequence, []).append(step)
    stages = decoding.stages_from_logits(gpt2, before[dropped : len(before) - len(forced)])
    chosen = ()
    if forced:
        trace = trace_ids(gpt2, before[dropped:])
        chosen = tuple(describe_text(trace, len(trace) - len(forced), stages))
    first = len(transcript.passages)
    for number, steps in sorted(samples.items()):
        reason = steps[-1].finish_reason if stopped is None else None
        steps = steps[:stopped]
        ids = (*forced, *(step.id for step in steps))
        writing = Writing(gpt2.name, decoding, dropped, len(forced), reason, number)
        choices = (*chosen, *(step.choice for step in steps))
        transcript = transcript.added(
            Passage("model", ids, decode(gpt2, ids), parent, at, writing, choices)
        )
    return transcript.at(first + sample)


@pytest.fixture(scope="module")
def ending(random_folder, tmp_path_factory) -> Gpt2:
    """The random model with an end-of-text token that is often likely."""
    folder = tmp_path_factory.mktemp("models") / "ending"
    shutil.copytree(random_folder, folder)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        bias = model.transformer.ln_f.bias
        model.transformer.wte.weight[-1] = 7 * bias / bias.norm() ** 2
    model.save_pretrained(folder)
    return load_model(str(folder), device="cpu")


GREEDY = Decoding(strategy="greedy", max_new_tokens=8)
SAMPLE = Decoding(seed=7, max_new_tokens=8, temperature=0.8, top_p=0.9, repetition_penalty=1.2)
BEAM = Decoding(strategy="beam", num_beams=3, num_return_sequences=2, max_new_tokens=6)
TEXT = PROMPTS["ordinary"]


def go_on(gpt2: Gpt2) -> Transcript:
    """A passage, its continuation, a branch off behind its third token by the reader's choice."""
    transcript = answered(gpt2, began(gpt2, TEXT), SAMPLE)
    transcript = answered(gpt2, transcript, replace(SAMPLE, seed=8))
    return answered(gpt2, transcript, replace(SAMPLE, seed=9), behind=(1, 3), forced=(1110, 13))


def read_in_part(gpt2: Gpt2) -> Transcript:
    """The reader goes on in the middle of what the model wrote."""
    transcript = answered(gpt2, began(gpt2, TEXT), SAMPLE)
    return transcript.added(Passage("you", (290, 788), " and then", transcript.active, 4))


def only_forced(gpt2: Gpt2) -> Transcript:
    """Stopped before the model has written a token behind the one that the reader chose."""
    transcript = answered(gpt2, began(gpt2, TEXT), SAMPLE, forced=(1110,), stopped=0)
    assert transcript.passages[-1].ids == (1110,)
    return transcript


CASES = {
    "pocket greedy": lambda pocket, random, ending: (
        pocket,
        answered(pocket, began(pocket, TEXT), GREEDY),
    ),
    "pocket sample": lambda pocket, random, ending: (
        pocket,
        answered(pocket, began(pocket, PROMPTS["emoji"]), replace(SAMPLE, max_new_tokens=40)),
    ),
    "pocket beam": lambda pocket, random, ending: (
        pocket,
        answered(pocket, began(pocket, TEXT), BEAM),
    ),
    "second sample": lambda pocket, random, ending: (
        random,
        answered(random, began(random, TEXT), replace(SAMPLE, num_return_sequences=2), sample=1),
    ),
    "second beam": lambda pocket, random, ending: (
        random,
        answered(random, began(random, TEXT), BEAM, sample=1),
    ),
    "beam stopped": lambda pocket, random, ending: (
        random,
        answered(random, began(random, TEXT), BEAM, stopped=2),
    ),
    "stop string": lambda pocket, random, ending: (
        random,
        answered(random, began(random, TEXT), replace(SAMPLE, max_new_tokens=60, stop=("e", "'"))),
    ),
    "stopped": lambda pocket, random, ending: (
        random,
        answered(random, began(random, TEXT), SAMPLE, stopped=3),
    ),
    "second sample stopped": lambda pocket, random, ending: (
        random,
        answered(
            random,
            began(random, TEXT),
            replace(SAMPLE, num_return_sequences=3, min_new_tokens=6),
            stopped=3,
            sample=1,
        ),
    ),
    "max_length stopped": lambda pocket, random, ending: (
        random,
        answered(
            random, began(random, TEXT), Decoding(max_length=30, min_new_tokens=20), stopped=5
        ),
    ),
    "max_length": lambda pocket, random, ending: (
        random,
        answered(random, began(random, TEXT), Decoding(max_length=12)),
    ),
    "forced token": lambda pocket, random, ending: (
        random,
        answered(random, began(random, TEXT), SAMPLE, forced=(1110,)),
    ),
    "branch": lambda pocket, random, ending: (random, go_on(random)),
    "branch of pocket": lambda pocket, random, ending: (pocket, go_on(pocket)),
    "read in part": lambda pocket, random, ending: (random, read_in_part(random)),
    "only forced": lambda pocket, random, ending: (random, only_forced(random)),
    "dropped window": lambda pocket, random, ending: (
        random,
        answered(random, began(random, TEXT + " the town" * 80), SAMPLE, forced=(1110,)),
    ),
    "sample that ended": lambda pocket, random, ending: (
        ending,
        answered(
            ending,
            began(ending, TEXT),
            Decoding(top_k=0, num_return_sequences=6, max_new_tokens=12),
            sample=2,
        ),
    ),
    "beam that ended": lambda pocket, random, ending: (
        ending,
        answered(
            ending,
            began(ending, TEXT),
            Decoding(strategy="beam", num_beams=4, num_return_sequences=4, max_new_tokens=12),
            sample=1,
        ),
    ),
    "other ids": lambda pocket, random, ending: (
        random,
        answered(random, began(random, [83, 68, 82, 83, 12520, 236]), SAMPLE),
    ),
    "hostile": lambda pocket, random, ending: (
        random,
        answered(random, began(random, "".join(HOSTILE.values())[:150]), SAMPLE),
    ),
    **{
        name: lambda pocket, random, ending, name=name: (
            random,
            answered(random, began(random, PROMPTS[name]), SAMPLE),
        )
        for name in ("empty", "emoji", "arabic", "chinese", "code", "blank runs", "end of text")
    },
}

LOOKED_INTO = ("pocket greedy", "other ids")
"""Those whose inspections are run too."""


@pytest.fixture(scope="module")
def runs(pocket, random_gpt2, ending) -> dict[str, tuple[Gpt2, Transcript]]:
    return {name: case(pocket, random_gpt2, ending) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def printed(runs, tmp_path_factory) -> dict[str, list[str]]:
    """What each cell of each notebook prints in a fresh process in the project's folder."""
    folder = tmp_path_factory.mktemp("notebooks")
    files = []
    for number, (name, (gpt2, transcript)) in enumerate(runs.items()):
        files.append(str(folder / f"{number}.ipynb"))
        views = TEXT_VIEWS if name in LOOKED_INTO else ()
        Path(files[-1]).write_text(as_notebook(gpt2, transcript, views), encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input="".join(json.dumps(file) + "\n" for file in files),
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return dict(zip(runs, map(json.loads, process.stdout.splitlines()), strict=True))


def test_the_cases_end_in_every_way(runs):
    active = {
        name: transcript.passages[transcript.active] for name, (_, transcript) in runs.items()
    }
    reasons = {name: one.writing and one.writing.finish_reason for name, one in active.items()}
    assert {reasons["pocket greedy"], reasons["max_length"]} == {"length"}
    assert reasons["stop string"] == "stop"
    assert {reasons["sample that ended"], reasons["beam that ended"]} == {"eos"}
    assert reasons["stopped"] is None
    _, transcript = runs["sample that ended"]
    samples = transcript.samples(transcript.active)
    longest = max(len(transcript.passages[number].ids) for number in samples)
    assert len(active["sample that ended"].ids) < longest  # so generate has padded it
    assert active["dropped window"].writing.dropped > 30
    gpt2, transcript = runs["other ids"]
    assert encode(gpt2, decode(gpt2, transcript.ids())) != list(transcript.ids())


def shown(gpt2: Gpt2, transcript: Transcript) -> str:
    """What the page shows of the last answer."""
    *_, (_, passage, length) = (
        piece for piece in transcript.path() if piece.passage.author == "model"
    )
    return passage.text if length == len(passage.ids) else decode(gpt2, passage.ids[:length])


@pytest.mark.parametrize("name", CASES)
def test_the_notebook_writes_the_text_that_was_shown(runs, printed, name):
    gpt2, transcript = runs[name]
    text = shown(gpt2, transcript)
    own = f"{text}\nthe text that was taken along: True\n"
    output = printed[name][1]
    if transcript.samples(transcript.active)[1:]:
        assert output.endswith(f"\n{own}")
        for number in transcript.samples(transcript.active):
            assert transcript.passages[number].text in output
    else:
        assert output == own


@pytest.mark.parametrize("name", CASES)
def test_the_notebook_prints_the_numbers_of_the_tokens(runs, printed, name):
    gpt2, transcript = runs[name]
    answer = last_answer(gpt2, transcript)
    choices = answer.passage.choices[answer.forced : len(answer.ids)]
    assert len(choices) == answer.written
    if not choices:
        assert name == "only forced"
        return
    header, *lines = printed[name][2].splitlines()
    assert header.split() == ["id", "logprob", "rank", "probability"]
    within = BEAM_NUMBERS if answer.decoding.strategy == "beam" else NUMBERS
    for line, choice in zip(lines, choices, strict=True):
        id, logprob, rank, probability = line.split(maxsplit=4)[:4]
        assert int(id) == choice.id
        assert float(logprob) == pytest.approx(choice.logprob, abs=within)
        assert float(probability) == pytest.approx(choice.probability, abs=within)
        # In beam search the numbers are read in another pass, so that a near tie may go either way.
        assert abs(int(rank) - choice.rank) <= (within == BEAM_NUMBERS)


FRACTION = re.compile(r"-?\d+\.\d*(?:e[-+]?\d+)?")


@pytest.mark.parametrize("name", LOOKED_INTO)
def test_the_cells_of_the_inspections_print_what_their_snippets_print(
    runs, printed, name, monkeypatch
):
    """Without loading the model again, and on the text that the model could read."""
    monkeypatch.chdir(ROOT)
    gpt2, transcript = runs[name]
    answer = last_answer(gpt2, transcript)
    trace = trace_ids(gpt2, [*answer.prompt, *answer.ids[answer.forced :]])
    expected = [
        standing_alone(inspection, trace, answer.decoding, len(answer.prompt))
        for inspection, _ in TEXT_VIEWS
    ]
    assert all(expected)
    assert [FRACTION.sub("#", one) for one in printed[name][3:]] == [
        FRACTION.sub("#", one) for one in expected
    ]
    for one, other in zip(printed[name][3:], expected, strict=True):
        fractions = [[float(number) for number in FRACTION.findall(text)] for text in (one, other)]
        # Integrated gradients sum hundreds of passes, whose last digits depend on the threads.
        assert fractions[0] == pytest.approx(fractions[1], rel=1e-5, abs=1e-5)
    notebook = as_notebook(gpt2, transcript)
    assert notebook.count("GPT2LMHeadModel.from_pretrained") == 1


def standing_alone(inspection, trace, decoding: Decoding, prompt_length: int, **values) -> str:
    if inspection.uses_decoding:
        values |= {"decoding": decoding, "prompt_length": prompt_length}
    return run(inspection.snippet(trace, **values))


def run(*cells: str) -> str:
    """What cells print, one after the other."""
    return student.run(*cells)["printed"]


def code_cells(notebook: str) -> list[str]:
    cells = json.loads(notebook)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_inspections_are_those_that_look_at_a_text():
    names = [inspection.name for inspection, _ in TEXT_VIEWS]
    assert names == [one.name for one in INSPECTIONS if one.of_model is None and not one.writes]
    assert not {"parameters", "batch", "pipeline", "ablate"} & set(names)
    assert {"tokens", "next_token", "attention", "logit_lens"} <= set(names)


def test_views_have_the_values_that_are_on_screen(random_gpt2, runs):
    _, transcript = runs["branch"]
    views = [(attention.INSPECTION, {"layer": 2, "head": 1})]
    cell = code_cells(as_notebook(random_gpt2, transcript, views))[-1]
    assert "attentions[2][0, 1]" in cell


def test_a_cell_that_changes_weights_leaves_the_model_of_the_others_alone(random_gpt2, runs):
    _, transcript = runs["forced token"]
    views = [
        (weight_tying.INSPECTION, {"noise": 0.5}),
        (next_token.INSPECTION, {}),
    ]
    setup, *_, changing, after = code_cells(as_notebook(random_gpt2, transcript, views))
    assert "wte += 0.5" in changing
    assert run(setup, changing, after) == run(setup, changing) + run(setup, after)
    assert run(setup, changing + "\nprint(model is untouched)").endswith("True\n")


# --- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_file_has_the_structure_of_nbformat_4_5(runs, name):
    text = as_notebook(*runs[name])
    notebook = json.loads(text)
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert set(notebook["metadata"]["kernelspec"]) == {"display_name", "language", "name"}
    assert notebook["metadata"]["language_info"]["name"] == "python"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", cell["id"])
        assert cell["metadata"] == {}
        assert all(isinstance(line, str) for line in cell["source"])
        keys = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            assert set(cell) == {*keys, "execution_count", "outputs"}
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
            compile("".join(cell["source"]), name, "exec")
        else:
            assert cell["cell_type"] == "markdown"
            assert set(cell) == keys
    assert [cell["cell_type"] for cell in notebook["cells"][:2]] == ["markdown", "code"]


def introduction(gpt2: Gpt2, transcript: Transcript) -> str:
    return "".join(json.loads(as_notebook(gpt2, transcript))["cells"][0]["source"])


def test_the_first_cell_says_what_it_is(runs):
    text = introduction(*runs["pocket sample"])
    assert "`pocket`" in text
    assert "not OpenAI's GPT-2" in text
    assert "the folder with `app.py`" in text
    assert f"torch {torch.__version__}" in text
    assert "set_seed(7)" in text
    assert "temperature=0.8" in text
    assert "OpenAI" not in introduction(*runs["stopped"])
    assert "stopped or cut after 3 new tokens" in introduction(*runs["stopped"])
    gpt2, transcript = runs["dropped window"]
    dropped = transcript.passages[-1].writing.dropped
    assert dropped > 30
    assert f"oldest {dropped} tokens" in introduction(gpt2, transcript)
    assert "first 2 of the answer's tokens" in introduction(*runs["branch"])


def test_a_name_is_no_markdown(random_gpt2):
    named = replace(random_gpt2, name="a`b``<script>\n# c")
    text = introduction(named, answered(named, began(named, TEXT), GREEDY))
    assert "``` 'a`b``<script>\\n# c' ```" in text


def test_text_that_no_call_writes_is_only_looked_into(random_gpt2, runs):
    """An answer whose beginning was edited afterwards was not written behind what stands there."""
    edited = began(random_gpt2, TEXT).continued(Passage("model", (262, 640), " the time"))
    for transcript in (began(random_gpt2, TEXT), edited):
        notebook = as_notebook(random_gpt2, transcript)
        assert len(code_cells(notebook)) == 1 + len(TEXT_VIEWS)
        assert "nothing is generated" in introduction(random_gpt2, transcript)
        assert "model.generate" not in notebook
    setup, first, *_ = code_cells(as_notebook(random_gpt2, edited))
    assert f"{TEXT} the time" in run(setup, first)


def test_what_cannot_be_taken_along_is_refused(random_gpt2, pocket, runs):
    with pytest.raises(Refusal, match="nothing to take along yet"):
        as_notebook(random_gpt2, Transcript())
    with pytest.raises(Refusal, match=r"written by 'pocket', but .* 'random'; choose 'pocket'"):
        as_notebook(random_gpt2, runs["pocket greedy"][1])
    with pytest.raises(Refusal, match="token id is 50257"):
        as_notebook(pocket, Transcript().continued(Passage("you", (50257,), "?")))
