"""Settings are checked when a `Decoding` is made, and its stages are those of `generate`."""

import dataclasses
import math

import pytest
import torch
from transformers import set_seed

from gpt2lab.decoding import (
    DEFAULT_NEW_TOKENS,
    MAX_STOP_CHARACTERS,
    MAX_STOP_STRINGS,
    Decoding,
    processed,
)
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode

SCORES = 1e-5
TEXT = "to be or not to be or"

NUMBERS = {
    setting.name: setting.metadata
    for setting in dataclasses.fields(Decoding)
    if "low" in setting.metadata
}
EVERY_STAGE = {
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "min_new_tokens": 3,
    "temperature": 0.8,
    "top_k": 500,
    "top_p": 0.95,
    "min_p": 0.001,
    "typical_p": 0.9,
}


def refusal(**settings) -> str:
    with pytest.raises(Refusal) as caught:
        Decoding(**settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def whole(name: str) -> bool:
    return isinstance(NUMBERS[name]["low"], int)


# --- what is accepted ----------------------------------------------------------------------------


def test_defaults_are_those_of_the_design():
    decoding = Decoding()
    assert decoding.generate_arguments() == {
        "do_sample": True,
        "max_new_tokens": DEFAULT_NEW_TOKENS,
        "top_k": 50,
    }
    assert (decoding.strategy, decoding.seed, DEFAULT_NEW_TOKENS) == ("sample", 42, 40)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("end", ["low", "high"])
def test_a_bound_itself_is_accepted(name, end):
    value = NUMBERS[name][end]
    room = {} if name in {"max_new_tokens", "max_length"} else {"max_new_tokens": 100_000}
    decoding = Decoding(**{**room, name: value})
    assert getattr(decoding, name) == value
    assert type(getattr(decoding, name)) is (int if whole(name) else float)


@pytest.mark.parametrize("name", [name for name in NUMBERS if whole(name)])
def test_whole_numbers_may_be_written_as_floats(name):
    value = getattr(Decoding(**{name: 2.0}), name)
    assert value == 2
    assert type(value) is int


def test_numbers_of_real_settings_may_be_written_as_ints():
    decoding = Decoding(temperature=2, top_p=1, min_p=0)
    for value in (decoding.temperature, decoding.top_p, decoding.min_p):
        assert type(value) is float


def test_stop_strings_become_a_tuple_so_that_a_decoding_can_be_a_key():
    decoding = Decoding(stop=["a", "b"])
    assert decoding.stop == ("a", "b")
    assert hash(decoding) == hash(Decoding(stop=("a", "b")))


def test_arguments_name_only_what_the_strategy_uses():
    settings = {**EVERY_STAGE, "max_new_tokens": 9, "seed": 5, "stop": ["x"]}
    common = {
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 3,
        "max_new_tokens": 9,
        "stop_strings": ["x"],
    }
    greedy = Decoding(strategy="greedy", **settings).generate_arguments()
    assert greedy == {**common, "do_sample": False}
    beam = Decoding(strategy="beam", num_beams=3, num_return_sequences=2, **settings)
    assert beam.generate_arguments() == {
        **common,
        "do_sample": False,
        "num_beams": 3,
        "num_return_sequences": 2,
    }
    sample = Decoding(strategy="sample", **settings).generate_arguments()
    assert sample == {**common, **EVERY_STAGE, "do_sample": True}


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "wrong",
    ["below", "above", math.nan, math.inf, -math.inf, True, False, "3", [3], {}, 3j],
    ids=repr,
)
def test_a_refused_number_is_named_with_value_and_bounds(name, wrong):
    low, high = NUMBERS[name]["low"], NUMBERS[name]["high"]
    value = (
        {"below": low - 1, "above": high + 1}.get(wrong, wrong) if wrong == str(wrong) else wrong
    )
    kind = "a whole number" if whole(name) else "a number"
    expected = f"{name} is {value!r}, but must be {kind} from {low} to {high}."
    assert refusal(**{name: value}) == expected


@pytest.mark.parametrize("name", [name for name in NUMBERS if whole(name)])
def test_a_fraction_is_no_whole_number(name):
    assert refusal(**{name: 2.5}).startswith(f"{name} is 2.5, but must be a whole number from")


@pytest.mark.parametrize("name", NUMBERS)
def test_none_means_unset_only_where_that_is_the_default(name):
    if name in {"max_new_tokens", "max_length", "min_p"}:
        assert Decoding(**{name: None}) == Decoding()
    else:
        assert refusal(**{name: None}).startswith(f"{name} is None, but must be")


def test_a_number_beyond_any_float_is_refused():
    assert refusal(top_k=10**400).startswith("top_k is 1000")
    assert refusal(temperature=10**400).startswith("temperature is 1000")


@pytest.mark.parametrize("strategy", ["", "Greedy", "beams", None, 1, ["greedy"]])
def test_an_unknown_strategy_is_refused_with_the_known_ones(strategy):
    message = refusal(strategy=strategy)
    assert message.startswith(f"strategy is {strategy!r}, but must be one of")
    for known in ("greedy", "sample", "beam"):
        assert known in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_new_tokens": 5, "max_length": 9}, ["max_new_tokens", "max_length", "not both"]),
        ({"max_new_tokens": 5, "min_new_tokens": 6}, ["min_new_tokens is 6", "5 allowed"]),
        ({"max_length": 5, "min_new_tokens": 6}, ["min_new_tokens is 6", "5 allowed"]),
        ({"min_new_tokens": 41}, ["min_new_tokens is 41", "40 allowed"]),
        ({"strategy": "beam"}, ["beam", "num_beams must be 2 or more"]),
        (
            {"strategy": "beam", "num_beams": 2, "num_return_sequences": 3},
            ["num_return_sequences is 3", "num_beams (2)"],
        ),
        (
            {"strategy": "greedy", "num_return_sequences": 2},
            ["num_return_sequences is 2", "greedy"],
        ),
    ],
    ids=str,
)
def test_contradictions_are_refused_by_name(settings, words):
    message = refusal(**settings)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        ("end", "stop must be a list of strings"),
        (None, "stop must be a list of strings"),
        (3, "stop must be a list of strings"),
        ({"a"}, "stop must be a list of strings"),
        ([""], "A stop string is empty"),
        ([3], "A stop string must be a string, not int"),
        ([None], "A stop string must be a string, not NoneType"),
        (["a\0b"], "A stop string has a null character at position 1"),
        (["\ud800"], "A stop string has half of a character"),
        (["x"] * (MAX_STOP_STRINGS + 1), f"9 strings; at most {MAX_STOP_STRINGS}"),
        (
            ["x" * (MAX_STOP_CHARACTERS + 1)],
            f"101 characters together; at most {MAX_STOP_CHARACTERS}",
        ),
    ],
    ids=repr,
)
def test_refused_stop_strings(stop, words):
    assert words in refusal(stop=stop)


def test_the_most_and_longest_stop_strings_are_accepted():
    Decoding(stop=["x" * (MAX_STOP_CHARACTERS // MAX_STOP_STRINGS)] * MAX_STOP_STRINGS)
    Decoding(stop=["x" * MAX_STOP_CHARACTERS])


# --- lengths -------------------------------------------------------------------------------------


def test_max_length_counts_the_prompt():
    assert Decoding(max_new_tokens=7).new_tokens(100) == 7
    assert Decoding(max_length=10).new_tokens(4) == 6
    for length in (10, 11):
        with pytest.raises(Refusal, match=f"max_length is 10, but the prompt alone has {length}"):
            Decoding(max_length=10).new_tokens(length)


# --- stages --------------------------------------------------------------------------------------

STAGES = [
    *({name: value} for name, value in EVERY_STAGE.items()),
    EVERY_STAGE,
    {"top_k": 0},
    {"top_k": 100_000, "top_p": 0.0, "min_p": 0.0},
    {"max_length": 20, "min_new_tokens": 2},
]


def described(processors) -> list[tuple[str, dict]]:
    """Class and constructor attributes of every logits processor, ready to be compared."""

    def plain(value):
        return value.tolist() if isinstance(value, torch.Tensor) else value

    described = []
    for processor in processors:
        attributes = {name: plain(value) for name, value in vars(processor).items()}
        # generate says that no padding is to be skipped; we leave that unsaid.
        assert not any(attributes.pop("prompt_ignore_length", None) or [])
        described.append((type(processor).__name__, attributes))
    return described


@pytest.fixture
def built(plain, monkeypatch) -> list:
    """The lists of logits processors that `plain.generate` builds from now on."""
    lists: list = []
    original = plain._get_logits_processor

    def recorded(*arguments, **options):
        lists.append(original(*arguments, **options))
        return lists[-1]

    monkeypatch.setattr(plain, "_get_logits_processor", recorded)
    return lists


@pytest.mark.parametrize("settings", STAGES, ids=str)
@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_stages_are_the_processors_that_generate_builds(gpt2, plain, built, strategy, settings):
    beams = {"num_beams": 2} if strategy == "beam" else {}
    length = {} if "max_length" in settings else {"max_new_tokens": 3}
    decoding = Decoding(strategy=strategy, **settings, **beams, **length)
    ids = encode(gpt2, TEXT)
    prompt = torch.tensor([ids])
    plain.generate(prompt, attention_mask=torch.ones_like(prompt), **decoding.generate_arguments())
    ours = [processor for _, processor in decoding.stages(gpt2, ids)]
    assert described(ours) == described(built[0])


def test_stages_are_named_after_the_settings_in_transformers_order(gpt2):
    names = [name for name, _ in Decoding(**EVERY_STAGE).stages(gpt2, [1, 2])]
    assert names == [
        "repetition_penalty",
        "no_repeat_ngram_size",
        "min_length",
        "min_new_tokens",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
    ]
    assert [name for name, _ in Decoding(top_k=0).stages(gpt2, [1, 2])] == []


@pytest.mark.parametrize("settings", STAGES, ids=str)
def test_the_last_stage_gives_the_scores_of_generate_at_every_step(gpt2, plain, settings):
    length = {} if "max_length" in settings else {"max_new_tokens": 3}
    decoding = Decoding(**settings, **length)
    ids = encode(gpt2, TEXT)
    prompt = torch.tensor([ids])
    set_seed(decoding.seed)
    output = plain.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        **decoding.generate_arguments(),
    )
    stages = decoding.stages(gpt2, ids)
    for step, (logits, expected) in enumerate(zip(output.logits, output.scores, strict=True)):
        before = logits.clone()
        scores = logits
        for _, scores in processed(stages, output.sequences[:, : len(ids) + step], logits):  # noqa: B007
            pass
        torch.testing.assert_close(scores, expected, rtol=0, atol=SCORES)
        assert torch.equal(logits, before)
