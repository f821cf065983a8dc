"""Text and ids are those of the tokenizer; what a person sees of a token shows everything."""

import pytest
from prompts import HOSTILE, PROMPTS

from gpt2lab.refusal import Refusal
from gpt2lab.tokens import (
    MAX_CHARACTERS,
    checked_text,
    decode,
    describe,
    encode,
    prompt_ids,
    readable,
    token_bytes,
    tokenize,
)

TEXTS = {**PROMPTS, **HOSTILE}
END = 50256


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_ids_are_the_tokenizers_and_lead_back_to_the_text(random_gpt2, text):
    ids = encode(random_gpt2, text)
    assert ids == random_gpt2.tokenizer(text).input_ids
    assert decode(random_gpt2, ids) == text.replace("<|endoftext|>", "")
    assert b"".join(map(token_bytes, tokenize(random_gpt2, text).tokens)) == text.encode()


def test_the_notebooks_example(random_gpt2):
    tokens = tokenize(random_gpt2, "Today we can go to")
    assert tokens.ids == (8888, 356, 460, 467, 284)
    assert tokens.tokens == ("Today", "Ġwe", "Ġcan", "Ġgo", "Ġto")
    assert tokens.shown == ("Today", "␣we", "␣can", "␣go", "␣to")
    assert (tokens.count, tokens.limit) == (5, 128)


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("Ġwe", "␣we"),
        ("we", "we"),
        ("ĠĠĠ", "␣␣␣"),
        ("Ċ", "↵"),
        ("ĊĊ", "↵↵"),
        ("ĉ", "⇥"),
        ("č", "␍"),
        ("Ā", "‹U+0000›"),
        ("é", "\\xe9"),
        ("Ã©", "é"),
        ("ðŁ", "\\xf0\\x9f"),
        ("ĠðŁ", "␣\\xf0\\x9f"),
        ("âĢĭ", "‹U+200B›"),
        ("ï»¿", "‹U+FEFF›"),
        ("Âł", "‹U+00A0›"),
        ("âĢ®", "‹U+202E›"),
        ("<|endoftext|>", "<|endoftext|>"),
        ("<script>", "<script>"),
    ],
)
def test_shown_forms(token, shown):
    assert readable(token) == shown


def test_every_token_of_the_vocabulary_can_be_seen(random_gpt2):
    for shown in describe(random_gpt2, range(random_gpt2.vocab_size)).shown:
        assert shown
        assert not any(character.isspace() or ord(character) < 32 for character in shown)


def test_pieces_of_an_emoji_are_its_bytes(random_gpt2):
    tokens = tokenize(random_gpt2, "🎉")
    assert tokens.count > 1
    pieces = b"".join(map(token_bytes, tokens.tokens))
    assert pieces == "🎉".encode() == b"\xf0\x9f\x8e\x89"
    assert "".join(tokens.shown) == "\\xf0\\x9f\\x8e\\x89"
    assert decode(random_gpt2, tokens.ids) == "🎉"
    assert decode(random_gpt2, tokens.ids[:-1]).endswith("�")


def test_end_of_text_in_a_text_is_the_special_token_as_for_the_tokenizer(random_gpt2):
    text = "The end.<|endoftext|>Once"
    assert encode(random_gpt2, text) == random_gpt2.tokenizer.encode(text)
    tokens = tokenize(random_gpt2, text)
    assert tokens.ids[-2] == END
    assert tokens.shown[-2] == "<|endoftext|>"


def test_an_empty_text_has_no_ids_and_is_read_from_the_beginning_of_text(random_gpt2):
    assert encode(random_gpt2, "") == []
    assert tokenize(random_gpt2, "").count == 0
    assert prompt_ids(random_gpt2, "") == [END]


def test_a_long_text_can_be_tokenized_though_not_read(random_gpt2):
    assert tokenize(random_gpt2, "a b" * 200).count > random_gpt2.n_positions


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "The text must be a string, not NoneType."),
        (3, "The text must be a string, not int."),
        (b"bytes", "The text must be a string, not bytes."),
        (["a"], "The text must be a string, not list."),
        ("ab\0c", "The text has a null character at position 2; please remove it."),
        ("\0", "The text has a null character at position 0; please remove it."),
        (
            "a\ud83d",
            "The text has half of a character (the lone surrogate U+D83D) at position 1; "
            "please remove it.",
        ),
        (
            "\udfffb",
            "The text has half of a character (the lone surrogate U+DFFF) at position 0; "
            "please remove it.",
        ),
        (
            "x" * (MAX_CHARACTERS + 1),
            "The text has 100,001 characters; at most 100,000 are read, so please shorten it.",
        ),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_no_tokenizer_can_take_is_refused_in_one_sentence(random_gpt2, text, message):
    for function in (tokenize, encode, prompt_ids):
        with pytest.raises(Refusal) as caught:
            function(random_gpt2, text)
        assert str(caught.value) == message


def test_the_longest_text_is_taken():
    assert checked_text("x" * MAX_CHARACTERS)


def test_a_text_over_the_context_is_told_how_many_tokens_of_how_many(random_gpt2):
    assert len(prompt_ids(random_gpt2, " the" * 128)) == 128
    with pytest.raises(Refusal) as caught:
        prompt_ids(random_gpt2, " the" * 131)
    assert str(caught.value) == (
        "The text has 131 tokens, but random reads at most 128; please shorten it by 3."
    )


@pytest.mark.parametrize(
    ("count", "room", "message"),
    [
        (
            120,
            9,
            "The text has 120 tokens and 9 more are asked for, but random has room for 128 in "
            "all; set max_new_tokens to 8 or less, or shorten the text.",
        ),
        (
            128,
            1,
            "The text has 128 tokens and 1 more are asked for, but random has room for 128 in "
            "all; please shorten the text.",
        ),
    ],
)
def test_room_for_new_tokens_is_part_of_the_context(random_gpt2, count, room, message):
    assert len(prompt_ids(random_gpt2, " the" * count, 128 - count)) == count
    with pytest.raises(Refusal) as caught:
        prompt_ids(random_gpt2, " the" * count, room)
    assert str(caught.value) == message
