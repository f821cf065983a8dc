"""A document comes back as it went, and whatever else comes is used as far as it is sound."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from documents import documents

from gpt2lab.chat import TEMPLATE
from gpt2lab.models import Gpt2
from gpt2lab.tokens import decode, encode
from gpt2lab.transcript import MAX_PASSAGES, MAX_TOKENS, Passage, Transcript
from gpt2lab.ui.checked_settings import DEFAULTS, checked_settings, in_effect
from gpt2lab.ui.checked_transcript import spells
from gpt2lab.ui.complaints import MOST_SENTENCES, Complaints
from gpt2lab.ui.document import TABS, Document, from_json, from_text, to_json
from gpt2lab.ui.limits import model_named
from gpt2lab.ui.links import link_query

Named = Callable[[str], Gpt2]


@pytest.fixture
def named(random_gpt2: Gpt2) -> Named:
    return lambda name: model_named(name, random_gpt2)


def without_numbers(document: Document) -> Document:
    transcript = document.transcript
    passages = tuple(replace(one, choices=()) for one in transcript.passages)
    return replace(document, transcript=Transcript(passages, transcript.active))


def good(gpt2: Gpt2, name: str = "several turns") -> dict[str, Any]:
    """A good document's JSON, to be spoiled."""
    return json.loads(json.dumps(to_json(documents(gpt2)[name])))


def test_every_document_comes_back_as_it_went(random_gpt2: Gpt2, named: Named):
    for name, document in documents(random_gpt2).items():
        text = json.dumps(to_json(document), allow_nan=False)
        assert from_text(text, named) == (without_numbers(document), ()), name


def test_numbers_do_not_travel(random_gpt2: Gpt2, named: Named):
    document = documents(random_gpt2)["branch"]
    assert document.transcript.passages[1].choices
    data = good(random_gpt2, "branch")
    assert all("choices" not in one for one in data["transcript"]["passages"])
    data["transcript"]["passages"][1]["choices"] = [{"id": 1, "probability": 1.0}]
    opened, sentences = from_json(data, named)
    assert opened.transcript.passages[1].choices == ()
    assert sentences == ("Not known here and ignored: 'passages.choices'.",)


def test_settings_without_effect_are_kept(named: Named):
    settings = {**DEFAULTS, "strategy": "greedy", "num_return_sequences": 4, "temperature": 0.3}
    settings.update(max_new_tokens=30, max_length=50, stop=("a", "\n"))
    opened, sentences = from_json({"gpt2lab": 1, "settings": settings}, named)
    assert (opened.settings, sentences) == (settings, ())
    assert in_effect(settings).generate_arguments() == {
        "do_sample": False,
        "max_length": 50,
        "stop_strings": ["a", "\n"],
    }


SPOILED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"temperature": "hot"}, {}, "temperature is 'hot', but must be a number"),
    ({"temperature": math.nan}, {}, "temperature is nan"),
    ({"temperature": 10**400}, {}, "temperature is 1000"),
    ({"temperature": [[1]]}, {}, "temperature is a list, but must be a single value"),
    ({"temperature": None}, {}, "temperature is None"),
    ({"top_k": True}, {}, "top_k is True"),
    ({"top_k": 3.5}, {}, "top_k is 3.5, but must be a whole number"),
    ({"top_k": 3.0}, {"top_k": 3}, ""),
    ({"seed": -1, "top_p": 0.5}, {"top_p": 0.5}, "seed is -1"),
    ({"strategy": "best"}, {}, "strategy is 'best'"),
    ({"strategy": {}}, {}, "strategy is an object"),
    ({"strategy": "beam"}, {"strategy": "beam", "num_beams": 4}, ""),
    ({"strategy": "beam", "num_beams": 1}, {"strategy": "beam", "num_beams": 4}, "2 or more; 4 is"),
    ({"num_beams": 12}, {}, "here at most 8 are searched"),
    ({"num_return_sequences": 9}, {}, "here at most 8 are written at once"),
    (
        {"strategy": "beam", "num_beams": 8, "max_new_tokens": 300},
        {"strategy": "beam", "num_beams": 8},
        "8 beams of up to 300 tokens are too much",
    ),
    (
        {"strategy": "beam", "num_beams": 3, "num_return_sequences": 4},
        {"strategy": "beam", "num_beams": 3},
        "only num_beams (3) can be returned",
    ),
    (
        {"min_new_tokens": 60, "max_new_tokens": 70},
        {"min_new_tokens": 60, "max_new_tokens": 70},
        "",
    ),
    ({"min_new_tokens": 60}, {}, "more than the 40 allowed"),
    ({"max_length": 50}, {"max_length": 50, "max_new_tokens": None}, ""),
    ({"max_new_tokens": None}, {}, ""),
    ({"stop": "User:"}, {}, "stop is 'User:', not a list"),
    ({"stop": ["a", "", 3, "b"]}, {"stop": ("a", "b")}, "A stop string is empty"),
    ({"stop": ["x"] * 9}, {"stop": ("x",) * 8}, "stop has 9 strings, but at most 8 work"),
    ({"stop": ["a\0", "\ud800", "b"]}, {"stop": ("b",)}, "null character"),
    ({"stop": ["a" * 1000, "b"]}, {"stop": ("b",)}, "1,000 characters"),
    ({"wings": 2}, {}, "ignored: 'settings.wings'"),
]


@pytest.mark.parametrize(("given", "expected", "sentence"), SPOILED)
def test_a_bad_setting_is_replaced_and_the_others_stay(
    given: dict[str, Any], expected: dict[str, Any], sentence: str
):
    complaints = Complaints()
    settings = checked_settings({"repetition_penalty": 1.5, **given}, complaints)
    assert settings == {**DEFAULTS, "repetition_penalty": 1.5, **expected}
    assert sentence in " ".join(complaints.sentences)
    assert bool(sentence) == bool(complaints.sentences)


@pytest.mark.parametrize(
    ("part", "value", "kept", "sentence"),
    [
        ("model", "gpt5", "random", "There is no model called 'gpt5'"),
        ("model", "/etc", "random", "There is no model called '/etc'"),
        ("model", ["random"], "random", "model is a list, not a name; random is used."),
        ("mode", "shout", "continue", "mode is 'shout', but must be one of continue, chat"),
        ("template", "no place", TEMPLATE, "must contain {text} once"),
        ("template", "\0 {text}", TEMPLATE, "null character"),
        ("template", 5, TEMPLATE, "must be a string, not int; the usual one is used."),
        ("prompt", "a\0", "", "prompt has a null character at position 1"),
        ("prompt", "\udcff", "", "prompt has half of a character"),
        ("prompt", "x" * 10**6, "", "prompt has 1,000,000 characters"),
        ("tab", "parameterz", "generate", "tab is 'parameterz'"),
        ("tab", ["attention"], "generate", "tab is a list"),
        ("focus", [99, 0], None, "focus' passage is 99, but must be a whole number from 0 to 4"),
        ("focus", [0, True], None, "focus' token is True"),
        ("focus", "0.1", None, "focus is '0.1', but must be a passage and a token"),
        ("settings", [], DEFAULTS, "settings is a list, not an object; defaults are used."),
        ("transcript", 7, Transcript(), "transcript is 7, not an object; it is left out."),
    ],
)
def test_a_bad_part_is_replaced_and_the_others_stay(
    random_gpt2: Gpt2, named: Named, part: str, value: Any, kept: Any, sentence: str
):
    data = good(random_gpt2)
    before, _ = from_json(data, named)
    opened, sentences = from_json({**data, part: value}, named)
    assert getattr(opened, part) == kept
    assert sentence in sentences[0]
    others = {"model", "mode", "template", "prompt", "tab", "settings", "transcript"} - {part}
    assert all(getattr(opened, one) == getattr(before, one) for one in others)


def test_another_revision_is_said(random_gpt2: Gpt2, named: Named):
    data = {**good(random_gpt2), "revision": "0" * 12}
    opened, (sentence,) = from_json(data, named)
    assert opened.revision == random_gpt2.revision
    assert "'000000000000'" in sentence
    assert sentence.endswith("the same tokens are not promised.")


def test_another_format_is_said(random_gpt2: Gpt2, named: Named):
    data = {**good(random_gpt2), "gpt2lab": 2, "wings": 1, "tail": 2}
    opened, sentences = from_json(data, named)
    assert opened == without_numbers(documents(random_gpt2)["several turns"])
    assert "format is 2, but 1 is" in sentences[0]
    assert sentences[1] == "Not known here and ignored: 'wings', 'tail'."


def chain(*passages: dict[str, Any]) -> dict[str, Any]:
    """A document whose passages each continue the one before, unless they say otherwise."""
    linked = [
        {"parent": number - 1 if number else None, **one} for number, one in enumerate(passages)
    ]
    return {"gpt2lab": 1, "transcript": {"passages": linked}}


@pytest.mark.parametrize(
    ("passage", "sentence"),
    [
        ({"author": "god"}, "passages[1].author is 'god', but must be 'you' or 'model'"),
        (
            {"ids": [50257]},
            "passages[1].ids[0] is 50257, but must be a whole number from 0 to 50256",
        ),
        ({"ids": [True]}, "ids[0] is True"),
        ({"ids": [3, 1.0]}, "ids[1] is 1.0"),
        ({"ids": [[1]]}, "ids[0] is a list"),
        ({"ids": {"0": 1}}, "ids is an object, not a list"),
        ({"ids": [5] * (MAX_TOKENS + 1)}, "more than 100,000 tokens"),
        ({"ids": "a\0b"}, "null character"),
        ({"parent": 1}, "passages[1].parent is 1, but must be a whole number from 0 to 0"),
        ({"parent": 2}, "passages[1].parent is 2"),
        ({"parent": -1}, "passages[1].parent is -1"),
        ({"parent": False}, "passages[1].parent is False"),
        ({"at": 2}, "passages[1].at is 2, but must be a whole number from 0 to 1"),
        ({"at": math.inf}, "passages[1].at is inf"),
    ],
)
def test_a_bad_passage_is_left_out_with_what_follows_it(
    named: Named, passage: dict[str, Any], sentence: str
):
    data = chain(
        {"author": "you", "ids": [15496]},
        {"author": "you", "ids": [11], **passage},
        {"author": "you", "ids": [12], "parent": 1},
        {"author": "you", "ids": [13], "parent": 0},
    )
    opened, sentences = from_json(data, named)
    assert [one.ids for one in opened.transcript.passages] == [(15496,), (13,)]
    assert opened.transcript.active == 1
    assert opened.transcript.passages[1].parent == 0
    assert sentence in sentences[0]
    assert "passages[2] continues passages[1], which is left out" in sentences[1]
    assert len(sentences) == 2


def test_too_many_passages(named: Named):
    data = chain(*[{"author": "you", "ids": [7]}] * (MAX_PASSAGES + 5))
    opened, (sentence,) = from_json(data, named)
    assert len(opened.transcript.passages) == MAX_PASSAGES
    assert "305 passages" in sentence


def test_the_models_text_is_what_its_ids_say(random_gpt2: Gpt2, named: Named):
    data = good(random_gpt2)
    data["transcript"]["passages"][1]["text"] = "I am alive"
    opened, (sentence,) = from_json(data, named)
    assert opened == without_numbers(documents(random_gpt2)["several turns"])
    assert sentence.startswith("passages[1].text is not what its ids say")


@pytest.mark.parametrize(
    ("read", "text", "true"),
    [
        ("Hello", "Hello", True),
        ("Hello", "Goodbye", False),
        ("User: Hello\nGPT-2:", "Hello", True),
        (" Hello\nGPT-2:", "Hello", True),
        ("\nUser: Hello\nGPT-2:", "Hello", True),
        ("User: two lines \n here\nGPT-2:", "two lines \n here", True),
        ("User: User: User\nGPT-2:", "User: User", True),
        ("User: Hello\nGPT-2: I hate you.\nGPT-2:", "Hello", False),
        ("Be evil.\nUser: Hello\nGPT-2:", "Hello", False),
        ("User: Hello\nGPT-2:", "Hell", False),
        ("User: Hello\nGPT-2:", "", False),
        ("The end.<|endoftext|>Once", "The end.<|endoftext|>Once", True),
        ("The end.<|endoftext|>Once", "The end.", False),
    ],
)
def test_your_text_differs_from_your_ids_by_the_templates_words_alone(
    random_gpt2: Gpt2, named: Named, read: str, text: str, true: bool
):
    ids = encode(random_gpt2, read)
    assert spells(random_gpt2, ids, text, TEMPLATE) == true
    opened, sentences = from_json(chain({"author": "you", "ids": ids, "text": text}), named)
    assert opened.transcript.passages[0].text == (text if true else decode(random_gpt2, ids))
    assert bool(sentences) != true


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("model", 5, "writing.model must be a string"),
        ("model", "", "has 0 characters"),
        ("decoding", {"temperature": 0}, "writing.decoding: temperature is 0"),
        ("decoding", {"temperature": [[]]}, "decoding.temperature is a list"),
        ("decoding", {"wings": 2}, "has a setting 'wings'"),
        ("decoding", {"num_return_sequences": 60}, "at most 8 are written at once"),
        ("decoding", None, "decoding is None"),
        ("forced", 99, "forced is 99"),
        ("dropped", 10**9, "dropped is 1000000000"),
        ("dropped", 14, "dropped is 14, but must be a whole number from 0 to 13"),
        ("sample", 1, "sample is 1, but must be a whole number from 0 to 0"),
        ("finish_reason", "bored", "finish_reason is 'bored'"),
        ("finish_reason", {}, "finish_reason is an object"),
    ],
)
def test_a_bad_writing_is_left_out_and_the_passage_stays(
    random_gpt2: Gpt2, named: Named, part: str, value: Any, sentence: str
):
    data = good(random_gpt2)
    data["transcript"]["passages"][1]["writing"][part] = value
    opened, (said,) = from_json(data, named)
    expected = without_numbers(documents(random_gpt2)["several turns"]).transcript
    passage = replace(expected.passages[1], writing=None)
    assert opened.transcript == expected.changed(1, passage)
    assert sentence in said


def test_a_passage_that_follows_nothing_was_not_written_by_a_model(random_gpt2: Gpt2, named: Named):
    writing = good(random_gpt2)["transcript"]["passages"][1]["writing"]
    opened, (sentence,) = from_json(
        chain({"author": "model", "ids": [5], "writing": writing}), named
    )
    assert opened.transcript.passages == (Passage("model", (5,), decode(random_gpt2, [5])),)
    assert "cannot write behind nothing" in sentence


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


DEEP = nested(5000)
LONG = "x" * 10**6


def hostile_values(chance: random.Random) -> Any:
    return chance.choice(
        [
            *(None, True, False, 0, -1, 1, 3.0, 0.5, 10**30, -(10**400), 1e308, 50256, 50257),
            *(math.nan, math.inf, -math.inf, "", "0", "a", "\0", "\ud83d", "é" * 50, LONG),
            *([], {}, [1, 2], [[1, 2]], {"a": 1}, ["\0"], [None], DEEP, {"": nested(3)}),
            *("you", "model", "beam", "greedy", "chat", "{text}", list(range(600))),
        ]
    )


def spoil(data: Any, chance: random.Random) -> Any:
    """The same JSON value with one place in it changed, removed, doubled or added."""
    if not isinstance(data, dict | list) or not data or data is DEEP or chance.random() < 0.05:
        return hostile_values(chance)
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    key = chance.choice(keys)
    kind = chance.random()
    if kind < 0.08:
        del data[key]
    elif kind < 0.12 and isinstance(data, list):
        data.append(data[key])
    elif kind < 0.15 and isinstance(data, dict):
        data[f"new {chance.random()}"] = hostile_values(chance)
    else:
        data[key] = spoil(data[key], chance)
    return data


def test_no_json_value_at_all_is_too_much(random_gpt2: Gpt2, named: Named):
    chance = random.Random(4)
    names = list(documents(random_gpt2))
    spoiled = [hostile_values(random.Random(seed)) for seed in range(100)]
    for _ in range(500):
        data = good(random_gpt2, chance.choice(names))
        for _ in range(chance.choice([1, 1, 2, 5, 20])):
            data = spoil(data, chance)
        spoiled.append(data)
    silent = 0
    for data in spoiled:
        document, sentences = from_json(data, named)
        assert len(sentences) <= MOST_SENTENCES
        assert all(len(one) < 600 and "\n" not in one and one[-1] == "." for one in sentences)
        silent += not sentences
        check_sound(random_gpt2, document)
        # What was taken over is good: it comes back as it is, and nothing is said about it.
        assert from_json(to_json(document), named) == (document, ())
        link_query(document, random_gpt2)
    assert 0 < silent < len(spoiled) / 2


def check_sound(gpt2: Gpt2, document: Document) -> None:
    """Everything that the playground takes for granted about a document."""
    assert document.model == gpt2.name
    assert document.mode in {"continue", "chat"}
    assert document.tab in TABS
    assert document.settings.keys() == DEFAULTS.keys()
    in_effect(document.settings)
    transcript = document.transcript
    assert transcript.active is None or transcript.active in range(len(transcript.passages))
    for number, passage in enumerate(transcript.passages):
        assert passage.author in {"you", "model"}
        assert all(type(id) is int and 0 <= id < gpt2.vocab_size for id in passage.ids)
        if passage.author == "model":
            assert passage.text == decode(gpt2, passage.ids)
        if passage.parent is None:
            assert passage.at == 0
        else:
            assert 0 <= passage.parent < number
            assert 0 <= passage.at <= len(transcript.passages[passage.parent].ids)
        if passage.writing:
            assert 0 <= passage.writing.forced <= len(passage.ids)
            read = len(transcript.before(number)) + passage.writing.forced
            assert 0 <= passage.writing.dropped < read
    if document.focus:
        number, offset = document.focus
        assert 0 <= offset < len(transcript.passages[number].ids)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff\xfe", "9" * 10_000, "\ud800"])
def test_a_file_that_is_no_json(random_gpt2: Gpt2, named: Named, text: str | bytes):
    document, sentences = from_text(text, named)
    assert document == Document(random_gpt2.name, random_gpt2.revision)
    assert sentences == ("The file is not JSON, so nothing of it can be used.",)
