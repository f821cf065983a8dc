"""Pipeline or generate?: what is shown against transformers' own pipeline under `set_seed`."""

import contextlib
import copy
import dataclasses
import io
import json
import warnings
from itertools import cycle
from pathlib import Path

import pytest
import torch
from prompts import HOSTILE
from texts import EVERY_THIRD
from transformers import TextGenerationPipeline, set_seed
from transformers import pipeline as transformers_pipeline

import gpt2lab
from gpt2lab.decoding import Decoding
from gpt2lab.inspections import pipeline
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

TEXT = "to be or not to be or"
SPLIT = [464, 12520, 236, 188]
"""The, and three tokens that are not a whole character; the last one is a null character."""
DECODINGS = (
    Decoding(),
    Decoding(temperature=0.6, top_k=7, top_p=0.9, repetition_penalty=1.2, seed=5),
    Decoding(strategy="greedy", repetition_penalty=1.4),
    Decoding(top_k=0, min_p=0.02, typical_p=0.9, no_repeat_ngram_size=2, min_new_tokens=2),
    Decoding(strategy="beam", num_beams=3),
)
CASES = [
    pytest.param(text, decoding, id=f"{name}-{decoding.strategy}")
    for (name, text), decoding in zip(EVERY_THIRD.items(), cycle(DECODINGS), strict=False)
]


@pytest.fixture(scope="module")
def pipe(random_gpt2) -> TextGenerationPipeline:
    """A pipeline as a student makes it, of a model and a tokenizer that are nobody else's."""
    return transformers_pipeline(
        "text-generation",
        model=copy.deepcopy(random_gpt2.model),
        tokenizer=copy.deepcopy(random_gpt2.tokenizer),
        device=-1,
    )


def seeded(call, prompt, decoding, **more):
    """One call in a process whose random generator nobody else uses."""
    set_seed(decoding.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(prompt, **more)


def said(decoding, steps):
    arguments = decoding.generate_arguments() | {"max_new_tokens": steps}
    if decoding.strategy == "sample":
        arguments["temperature"] = decoding.temperature
    return arguments


@pytest.mark.parametrize(("text", "decoding"), CASES)
def test_both_give_what_transformers_gives_after_set_seed(random_gpt2, pipe, text, decoding):
    if not encode(random_gpt2, text):
        text = "<|endoftext|>"
    ids = encode(random_gpt2, text)[:120]
    text = random_gpt2.tokenizer.decode(ids)
    ids = encode(random_gpt2, text)
    result = gpt2lab.pipeline_or_generate(trace_ids(random_gpt2, ids), 2, decoding)
    arguments = said(decoding, 2)
    mask = torch.ones(1, len(ids), dtype=torch.long)
    expected = seeded(
        pipe.model.generate, torch.tensor([ids]), decoding, attention_mask=mask, **arguments
    )
    assert result.prompt_ids == tuple(ids)
    assert list(result.generated_ids) == expected[0].tolist()
    tensors = seeded(pipe, text, decoding, return_tensors=True, **arguments)
    assert tensors == [{"generated_token_ids": list(result.pipeline_ids)}]
    assert seeded(pipe, text, decoding, **arguments) == [{"generated_text": result.full_text}]
    assert result.full_text == text + result.new_text
    assert result.settings == arguments
    if decoding.strategy == "beam":
        assert result.left_out == ""
        assert result.unsaid_ids == ()
        return
    arguments.pop(result.left_out)
    unsaid = seeded(pipe, text, decoding, return_tensors=True, **arguments)
    assert unsaid == [{"generated_token_ids": list(result.unsaid_ids)}]


def test_the_defaults_are_those_that_a_bare_call_uses(random_gpt2, pipe, monkeypatch):
    """What reaches the decoding loop if nothing is said."""
    seen = []
    monkeypatch.setattr(
        type(pipe.model),
        "_sample",
        lambda model, input_ids, *_, generation_config, **__: (
            seen.append((generation_config, input_ids.shape[1])) or input_ids
        ),
    )
    ids = torch.tensor([encode(random_gpt2, TEXT)])
    pipe.model.generate(ids)
    pipe(TEXT)
    monkeypatch.undo()
    defaults = gpt2lab.pipeline_or_generate(trace_text(random_gpt2, TEXT)).defaults
    assert set(defaults) == {"do_sample", "temperature", "top_k", "max_new_tokens"}
    for place, (config, length) in enumerate(seen):
        for name in ("do_sample", "temperature", "top_k"):
            assert defaults[name][place] == repr(getattr(config, name))
        # generate never writes beyond the positions; 256 new tokens reach the pipeline as they are.
        assert defaults["max_new_tokens"][place] == repr(config.max_length - length)
    assert defaults["temperature"] == ("1.0", "0.7")
    assert defaults["max_new_tokens"] == ("20", "256")
    assert defaults["do_sample"] == ("False", "True")


def test_nothing_that_is_shared_changes(random_gpt2):
    def shared():
        model = random_gpt2.model
        return copy.deepcopy(
            (
                model.config.to_dict(),
                model.generation_config.to_dict(),
                random_gpt2.tokenizer.padding_side,
                random_gpt2.tokenizer.pad_token_id,
                str(model.device),
                model.training,
            )
        )

    state, before = torch.get_rng_state(), shared()
    for decoding in DECODINGS:
        gpt2lab.pipeline_or_generate(trace_text(random_gpt2, TEXT), 2, decoding)
    assert torch.equal(torch.get_rng_state(), state)
    assert shared() == before


@pytest.mark.parametrize("text", ["", TEXT, HOSTILE["html"], HOSTILE["quoted injection"]])
@pytest.mark.parametrize("decoding", [Decoding(), Decoding(strategy="greedy")])
def test_the_snippet_prints_the_same(random_gpt2, text, decoding):
    trace = trace_text(random_gpt2, text)
    result = gpt2lab.pipeline_or_generate(trace, 3, decoding)
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(pipeline.snippet(trace, 3, decoding), "snippet", "exec"), names)
    for name in ("generated_ids", "pipeline_ids", "full_text", "unsaid_ids"):
        assert names[name] == getattr(result, name)
    assert printed.getvalue().startswith("True\n")


def test_the_new_text_is_what_the_pipeline_returns_without_the_prompt(random_gpt2, pipe):
    result = gpt2lab.pipeline_or_generate(trace_text(random_gpt2, TEXT), 3)
    new = seeded(pipe, TEXT, Decoding(), return_full_text=False, **said(Decoding(), 3))
    assert new == [{"generated_text": result.new_text}]


def test_ids_that_no_text_has_are_read_as_the_text_they_stand_for(random_gpt2):
    result = gpt2lab.pipeline_or_generate(trace_ids(random_gpt2, SPLIT), 3)
    assert result.text == random_gpt2.tokenizer.decode(SPLIT)
    assert result.prompt_ids == tuple(random_gpt2.tokenizer.encode(result.text))
    assert result.equal


def test_stop_strings_end_both(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    first = gpt2lab.pipeline_or_generate(trace, 3).generated_ids[len(trace)]
    stop = Decoding(stop=(random_gpt2.tokenizer.decode([first]),))
    result = gpt2lab.pipeline_or_generate(trace, 3, stop)
    assert result.generated_ids == result.pipeline_ids == (*trace.ids.tolist(), first)


def test_only_the_prompt_is_continued_and_there_is_always_room(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    whole = gpt2lab.pipeline_or_generate(trace, 3, Decoding(max_length=9), prompt_length=5)
    assert whole == gpt2lab.pipeline_or_generate(trace.prefix(5), 3, Decoding(max_length=9))
    full = gpt2lab.pipeline_or_generate(trace_ids(random_gpt2, [464] * 128), 4)
    assert (len(full.prompt_ids), len(full.generated_ids)) == (124, 128)
    with pytest.raises(Refusal, match="max_length is 5, but the prompt alone has 7"):
        gpt2lab.pipeline_or_generate(trace, 3, Decoding(max_length=5))


def test_the_verdict_follows_the_ids(random_gpt2):
    result = gpt2lab.pipeline_or_generate(trace_text(random_gpt2, TEXT), 5)
    assert result.unsaid_ids != result.pipeline_ids
    assert result.verdict == (
        "With the same settings and the same seed, pipeline and generate return the same ids. "
        "Leave temperature out, and the pipeline fills in temperature=0.7: other ids."
    )
    wrong = dataclasses.replace(result, generated_ids=(1,), unsaid_ids=result.pipeline_ids)
    assert not wrong.equal
    assert "return DIFFERENT ids" in wrong.verdict
    assert "the same ids even so" in wrong.verdict


def test_the_table_and_the_answer_show_the_record(random_gpt2):
    result = gpt2lab.pipeline_or_generate(trace_text(random_gpt2, TEXT), 3, Decoding(top_k=9))
    rows = dict(pipeline.table(result).rows)
    assert rows["model.generate(ids, …)"] == f"tensor([{list(result.generated_ids)}])"
    assert rows["pipe(text, …)"] == repr([{"generated_text": result.full_text}])
    assert rows["top_k (here: 9)"] == "if not said: generate 50, pipeline 50"
    assert rows["temperature (here: 1.0)"] == "if not said: generate 1.0, pipeline 0.7"
    answer = pipeline.answer(result)
    assert json.loads(json.dumps(answer)) == answer
    assert answer["pipeline_ids"] == list(result.pipeline_ids)
    assert answer["filled_in"] == {"temperature": 0.7}


@pytest.mark.parametrize(
    ("name", "dark"),
    [("math", True), ("html", False), ("arabic", True), ("emoji", False), ("line ends", False)],
)
def test_the_figure_shows_every_text_as_it_is(random_gpt2, name, dark):
    result = gpt2lab.pipeline_or_generate(trace_text(random_gpt2, HOSTILE[name]), 2)
    drawing = pipeline.figure(result, dark=dark)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.savefig(io.BytesIO(), format="png")
    above, below = drawing.axes
    assert len(above.patches) == len(above.texts) == 6
    assert not any(one.get_parse_math() for one in (*above.texts, *below.texts))
    written = [one.get_text() for one in below.texts]
    assert written[1].startswith(f"→ tensor([[{result.prompt_ids[0]}, ")
    if name == "math":
        assert written[3].startswith("→ [{'generated_text': '$x_1$ and $")


@pytest.fixture(autouse=True)
def in_the_projects_folder(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
