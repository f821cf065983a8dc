"""A snippet is plain transformers that gives the same numbers; what a person wrote stays data."""

import ast
import contextlib
import io
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import student
import torch
from prompts import HOSTILE, PROMPTS
from transformers import set_seed

from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.models import load_model
from gpt2lab.snippets import call, generation, preamble
from gpt2lab.tokens import encode, prompt_ids
from gpt2lab.ui.presets import PRESETS

ROOT = Path(__file__).parent.parent
LONGEST = 18
"""Lines of a snippet that are not blank."""
TEXTS = {**PROMPTS, **HOSTILE, "everything": " ".join(HOSTILE.values())}


def run(code: str) -> dict:
    """Names that the code binds when a student runs it in a new process."""
    namespace: dict = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "snippet", "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def in_the_projects_folder(monkeypatch):
    monkeypatch.chdir(ROOT)


def ids_of(gpt2, code: str) -> list[int]:
    """Ids that the line `ids = …` of a snippet binds, with the tokenizer already loaded."""
    (line,) = (line for line in code.splitlines() if line.startswith("ids = "))
    namespace = {"torch": torch, "tokenizer": gpt2.tokenizer}
    exec(line, namespace)
    (ids,) = namespace["ids"].tolist()
    return ids


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_is_data_in_one_line_and_gives_its_own_ids(random_gpt2, text):
    ids = encode(random_gpt2, text) or [random_gpt2.tokenizer.bos_token_id]
    code = preamble(random_gpt2, ids)
    assert ids_of(random_gpt2, code) == ids
    assert code.isprintable() or code.replace("\n", "").isprintable()
    statements = [type(node).__name__ for node in ast.parse(code).body]
    assert statements == ["Import", "ImportFrom", "Assign", "Assign", "Assign"]
    if text:
        assert f"tokenizer({text!r}, " in code


@pytest.mark.parametrize(
    "ids",
    [
        [50256],
        [50256, 50256],
        [188],
        [464, 188, 464],
        [8582],
        [12520, 236],
        [83, 68, 82, 83],
        [29690] * 128,
    ],
    ids=lambda ids: str(ids)[:24],
)
def test_ids_that_no_text_gives_are_written_as_ids(random_gpt2, ids):
    """A null character, half an emoji, a word in single letters: a model can write all of these."""
    assert ids_of(random_gpt2, preamble(random_gpt2, ids)) == ids


def test_the_name_of_the_folder_is_data_too(random_folder, tmp_path):
    folder = tmp_path / 'it\'s "a" {model}'
    shutil.copytree(random_folder, folder)
    gpt2 = load_model(str(folder), device="cpu")
    names = run(preamble(gpt2, [8888]))
    assert names["ids"].tolist() == [[8888]]
    assert names["model"].num_parameters() == gpt2.parameters


def test_the_preamble_loads_the_same_weights_in_the_same_dtype(gpt2):
    names = run(preamble(gpt2, [8888]))
    model = names["model"]
    assert model.dtype == gpt2.model.dtype
    assert model.config._attn_implementation == "eager"
    assert not model.training
    for name, tensor in gpt2.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


# --- generation ----------------------------------------------------------------------------------

DECODINGS = {
    "greedy": {"strategy": "greedy"},
    "sample": {"seed": 3, "num_return_sequences": 3, "top_p": 0.9, "temperature": 0.8},
    "sample everything": {"top_k": 0, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2},
    "beam": {"strategy": "beam", "num_beams": 3, "num_return_sequences": 2},
    "stop": {"stop": ["e", '\'\n"""', "\\"], "max_new_tokens": 20},
}


def sequences_of(gpt2, ids: list[int], decoding: Decoding) -> list[list[int]]:
    """Ids of the generated sequences, padded as `generate` pads them."""
    rows: dict[int, list[int]] = {}
    for step in generate(gpt2, ids, decoding):
        rows.setdefault(step.sequence, list(ids)).append(step.id)
    width = max(map(len, rows.values()))
    end = gpt2.tokenizer.eos_token_id
    return [row + [end] * (width - len(row)) for _, row in sorted(rows.items())]


@pytest.mark.parametrize("settings", DECODINGS.values(), ids=DECODINGS)
def test_the_generation_snippet_gives_the_same_sequences(gpt2, settings):
    ids = prompt_ids(gpt2, PROMPTS["code"])
    decoding = Decoding(**{"max_new_tokens": 6, **settings})
    code = generation(gpt2, ids, decoding)
    assert "gpt2lab." not in code
    assert "import gpt2lab" not in code
    assert sum(bool(line.strip()) for line in code.splitlines()) <= LONGEST
    assert student.run(code)["sequences"].tolist() == sequences_of(gpt2, ids, decoding)


def test_a_folders_own_sampling_defaults_are_left_out_of_the_snippet_too(random_folder, tmp_path):
    folder = tmp_path / "opinionated"
    shutil.copytree(random_folder, folder)
    file = folder / "generation_config.json"
    own = {"do_sample": True, "temperature": 0.1, "top_k": 3, "repetition_penalty": 2.0}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    gpt2 = load_model(str(folder), device="cpu")
    decoding = Decoding(max_new_tokens=8, num_return_sequences=2)
    code = generation(gpt2, [8888], decoding)
    assert run(code)["sequences"].tolist() == sequences_of(gpt2, [8888], decoding)


# --- the call in one line ------------------------------------------------------------------------


def called(gpt2, ids: list[int], line: str) -> list[list[int]]:
    """What the line returns to somebody who has loaded model and tokenizer and has the ids."""
    names = {
        "ids": torch.tensor([ids]),
        "model": gpt2.model,
        "tokenizer": gpt2.tokenizer,
        "set_seed": set_seed,
    }
    *before, last = ast.parse(line).body
    exec(compile(ast.Module(before, []), "line", "exec"), names)
    return eval(compile(ast.Expression(last.value), "line", "eval"), names).tolist()


def random_settings(number: int) -> dict:
    """Settings of one kind or another, quick enough to try many of them."""
    draw = random.Random(number)
    strategy = draw.choice(["greedy", "sample", "beam"])
    settings = {"strategy": strategy, "seed": draw.randrange(2**32)}
    settings[draw.choice(["max_new_tokens", "max_length"])] = draw.randint(15, 25)
    if strategy == "beam":
        settings["num_beams"] = draw.randint(2, 4)
    if strategy != "greedy":
        settings["num_return_sequences"] = draw.randint(1, 2)
    others = {
        "min_new_tokens": draw.randint(1, 3),
        "temperature": draw.uniform(0.3, 2.0),
        "top_k": draw.randint(0, 60),
        "top_p": draw.uniform(0.3, 1.0),
        "min_p": draw.uniform(0.0, 0.2),
        "typical_p": draw.uniform(0.3, 1.0),
        "repetition_penalty": draw.uniform(0.8, 1.5),
        "no_repeat_ngram_size": draw.randint(1, 3),
        "stop": tuple(draw.sample(["e", "'\n\"", "\\", "ing", "\u202e"], 2)),
    }
    chosen = draw.sample(sorted(others), draw.randint(0, 5))
    return settings | {name: others[name] for name in chosen}


@pytest.mark.parametrize(
    "decoding",
    [
        *(preset.decoding for preset in PRESETS.values() if preset.decoding.max_length),
        *(
            replace(preset.decoding, max_new_tokens=20)
            for preset in PRESETS.values()
            if not preset.decoding.max_length
        ),
        *(Decoding(**random_settings(number)) for number in range(24)),
    ],
    ids=call,
)
def test_the_line_is_the_very_call(random_gpt2, decoding):
    ids = prompt_ids(random_gpt2, "The cat sat on the mat.")
    line = call(decoding)
    assert line.isprintable()
    assert called(random_gpt2, ids, line) == sequences_of(random_gpt2, ids, decoding)


def test_the_line_says_what_has_an_effect_and_no_more():
    assert call(Decoding(top_k=5, max_length=50)) == (
        "set_seed(42); model.generate(ids, do_sample=True, max_length=50, top_k=5)"
    )
    greedy = Decoding(strategy="greedy", temperature=0.3, stop=("User:", "\n"))
    assert call(greedy) == (
        "model.generate(ids, do_sample=False, max_new_tokens=40, "
        "stop_strings=['User:', '\\n'], tokenizer=tokenizer)"
    )
