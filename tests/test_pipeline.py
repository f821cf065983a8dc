"""Pipeline or generate?: what is shown against transformers' own pipeline under `set_seed`."""

import copy
import dataclasses
import functools
import json
import warnings
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import student
import torch
from drawings import save
from prompts import HOSTILE
from texts import TEXTS
from transformers import TextGenerationPipeline, set_seed
from transformers import pipeline as transformers_pipeline

import gpt2lab
from gpt2lab.decoding import Decoding
from gpt2lab.figures import drawable, label
from gpt2lab.inspections import pipeline
from gpt2lab.inspections.pipeline import PipelineOrGenerate
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import describe, encode
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
STEPS = 2
DEFAULTS = {
    "do_sample": ("False", "True"),
    "temperature": ("1.0", "0.7"),
    "top_k": ("50", "50"),
    "max_new_tokens": ("20", "256"),
}
"""What generate and the pipeline take if nothing is said; a test below asks them."""
FILLED_IN = {
    "": {},
    "temperature": {"temperature": 0.7},
    "do_sample": {"do_sample": True, "temperature": 0.7},
}
"""What the pipeline adds if this setting is left out; greedy decoding says no temperature."""


@functools.cache
def pipe_of(gpt2: Gpt2) -> TextGenerationPipeline:
    """A pipeline as a student makes it, of a model and a tokenizer that are nobody else's."""
    return transformers_pipeline(
        "text-generation",
        model=copy.deepcopy(gpt2.model),
        tokenizer=copy.deepcopy(gpt2.tokenizer),
        device=-1,
    )


@pytest.fixture(scope="module")
def pipe(random_gpt2) -> TextGenerationPipeline:
    return pipe_of(random_gpt2)


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


@dataclass(frozen=True)
class Returned:
    """What transformers returns for a text, in the order in which the figure draws it.

    unsaid_ids: what the pipeline returns without the setting `left_out`, if any is.
    """

    text: str
    prompt_ids: list[int]
    ids: list[int]
    full: list[dict[str, str]]
    new: list[dict[str, str]]
    tensors: list[dict[str, list[int]]]
    left_out: str
    unsaid_ids: list[int]
    settings: dict[str, Any]

    @property
    def pipeline_ids(self) -> list[int]:
        return self.tensors[0]["generated_token_ids"]

    @property
    def calls(self) -> list[tuple[str, str]]:
        return [
            ("model.generate(ids, …)", f"tensor([{self.ids}])"),
            ("pipe(text, …)", repr(self.full)),
            ("pipe(text, return_full_text=False, …)", repr(self.new)),
            ("pipe(text, return_tensors=True, …)", repr(self.tensors)),
        ]


def returned(pipe: TextGenerationPipeline, text: str, decoding: Decoding) -> Returned:
    settings = said(decoding, STEPS)
    ids = pipe.tokenizer(text, return_tensors="pt")["input_ids"]
    mask = torch.ones_like(ids)
    call = functools.partial(seeded, pipe, text, decoding)
    left_out = {"sample": "temperature", "greedy": "do_sample", "beam": ""}[decoding.strategy]
    rest = {name: value for name, value in settings.items() if name != left_out}
    unsaid = call(return_tensors=True, **rest)[0]["generated_token_ids"] if left_out else []
    generated = seeded(pipe.model.generate, ids, decoding, attention_mask=mask, **settings)
    return Returned(
        text=text,
        prompt_ids=ids[0].tolist(),
        ids=generated[0].tolist(),
        full=call(**settings),
        new=call(return_full_text=False, **settings),
        tensors=call(return_tensors=True, **settings),
        left_out=left_out,
        unsaid_ids=unsaid,
        settings=settings,
    )


CASES = [
    pytest.param(name, decoding, id=f"{name}-{decoding.strategy}")
    for name, decoding in zip(TEXTS, cycle(DECODINGS), strict=False)
]


@pytest.mark.parametrize(("name", "decoding"), CASES)
def test_everything_shown_is_what_transformers_returns(request, name, decoding):
    """Record, table, answer, figure and code of every text; each setting has its turn.

    All are ids and texts, so nothing but equality will do.
    """
    gpt2 = request.getfixturevalue("wide_gpt2" if name == "1,024 tokens" else "random_gpt2")
    trace = trace_ids(gpt2, (encode(gpt2, TEXTS[name]) or [50256])[: gpt2.n_positions])
    # The part that leaves room; where it ends in half a character, the text that it stands for.
    text = gpt2.tokenizer.decode(trace.ids.tolist()[: gpt2.n_positions - STEPS])
    expected = returned(pipe_of(gpt2), text, decoding)
    assert len(expected.prompt_ids) == 1022 or name != "1,024 tokens"
    result = gpt2lab.pipeline_or_generate(trace, STEPS, decoding)
    assert_record(result, expected)
    assert_table(result, expected)
    assert_answer(result, expected)
    assert_figure(result, expected, gpt2)
    names = student.run(pipeline.snippet(trace, STEPS, decoding))
    assert list(names["generated_ids"]) == expected.ids
    assert list(names["pipeline_ids"]) == expected.pipeline_ids
    assert names["full_text"] == expected.full[0]["generated_text"]
    assert list(names.get("unsaid_ids", ())) == expected.unsaid_ids


def assert_record(result: PipelineOrGenerate, expected: Returned) -> None:
    assert result.text == expected.text
    assert list(result.prompt_ids) == expected.prompt_ids
    assert list(result.generated_ids) == expected.ids
    assert list(result.pipeline_ids) == expected.pipeline_ids
    assert [{"generated_text": result.full_text}] == expected.full
    assert [{"generated_text": result.new_text}] == expected.new
    assert result.settings == expected.settings
    assert result.left_out == expected.left_out
    assert list(result.unsaid_ids) == expected.unsaid_ids
    assert result.equal


def assert_table(result: PipelineOrGenerate, expected: Returned) -> None:
    settings = []
    for name, (own, pipelines) in DEFAULTS.items():
        here = (
            f"here: {expected.settings[name]!r}" if name in expected.settings else "not said here"
        )
        settings.append((f"{name} ({here})", f"if not said: generate {own}, pipeline {pipelines}"))
    assert list(pipeline.table(result).rows) == [*expected.calls, *settings]


def assert_answer(result: PipelineOrGenerate, expected: Returned) -> None:
    filled_in = FILLED_IN[expected.left_out]
    verdict = (
        "With the same settings and the same seed, "
        if expected.settings["do_sample"]
        else "With the same settings, "
    ) + "pipeline and generate return the same ids."
    if expected.left_out:
        filled = ", ".join(f"{name}={value!r}" for name, value in filled_in.items())
        same = expected.unsaid_ids == expected.pipeline_ids
        verdict += f" Leave {expected.left_out} out, and the pipeline fills in {filled}: "
        verdict += "the same ids even so." if same else "other ids."
    answer = pipeline.answer(result)
    assert json.loads(json.dumps(answer)) == answer
    assert answer == {
        "equal": True,
        "prompt_ids": expected.prompt_ids,
        "generate_ids": expected.ids,
        "pipeline_ids": expected.pipeline_ids,
        "full_text": expected.full[0]["generated_text"],
        "new_text": expected.new[0]["generated_text"],
        "settings": expected.settings,
        "left_out": expected.left_out,
        "filled_in": filled_in,
        "ids_without_it": expected.unsaid_ids,
        "defaults": {
            name: {"generate": own, "pipeline": pipelines}
            for name, (own, pipelines) in DEFAULTS.items()
        },
        "verdict": verdict,
    }


def assert_figure(result: PipelineOrGenerate, expected: Returned, gpt2: Gpt2) -> None:
    above, below = pipeline.figure(result).axes
    assert above.get_title(loc="left").split() == result.verdict.split()
    start = len(expected.prompt_ids)
    runs = {"model.generate": expected.ids[start:], "pipeline": expected.pipeline_ids[start:]}
    if expected.left_out:
        runs[f"pipeline,\nno {expected.left_out}"] = expected.unsaid_ids[start:]
    assert [tick.get_text() for tick in above.get_yticklabels()] == [*runs]
    tokens = {text.get_position(): text.get_text() for text in above.texts}
    assert tokens == {
        (column + 0.5, row + 0.5): label(describe(gpt2, [id]).shown[0])
        for row, ids in enumerate(runs.values())
        for column, id in enumerate(ids)
    }
    colours = {(int(one.get_x()), int(one.get_y())): one.get_facecolor() for one in above.patches}
    assert len(colours) == len(tokens)
    as_generate = colours[0, 0]
    for row, ids in enumerate(runs.values()):
        for column, id in enumerate(ids):
            same = runs["model.generate"][column : column + 1] == [id]
            assert (colours[column, row] == as_generate) == same
    written = [text.get_text() for text in below.texts]
    assert written[::2] == [call for call, _ in expected.calls]
    for shown, (_, value) in zip(written[1::2], expected.calls, strict=True):
        whole = "".join(one if drawable(one) else f"‹U+{ord(one):04X}›" for one in value)
        assert shown[:2] == "→ "
        if len(whole) <= 92:
            assert shown[2:] == whole
        else:
            beginning, end = shown[2:46], shown[49:]
            assert (len(shown), shown[46:49]) == (93, " … ")
            assert (beginning, end) == (whole[:44], whole[-44:])


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
    assert defaults == DEFAULTS


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


@pytest.mark.parametrize("text", ["", HOSTILE["quoted injection"]])
@pytest.mark.parametrize("decoding", [Decoding(), Decoding(strategy="greedy")])
def test_the_snippet_prints_the_same(random_gpt2, text, decoding):
    trace = trace_text(random_gpt2, text)
    result = gpt2lab.pipeline_or_generate(trace, 3, decoding)
    names = student.run(pipeline.snippet(trace, 3, decoding))
    for name in ("generated_ids", "pipeline_ids", "full_text", "unsaid_ids"):
        assert names[name] == getattr(result, name)
    assert names["printed"].startswith("True\n")


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


@pytest.mark.parametrize(
    ("name", "dark"),
    [("math", True), ("html", False), ("arabic", True), ("emoji", False), ("line ends", False)],
)
def test_the_figure_shows_every_text_as_it_is(random_gpt2, name, dark):
    result = gpt2lab.pipeline_or_generate(trace_text(random_gpt2, HOSTILE[name]), 2)
    drawing = pipeline.figure(result, dark=dark)
    save(drawing, "png")
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
