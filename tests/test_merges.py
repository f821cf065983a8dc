"""The way to the tokens: every step is one that the tokenizer's own model would take."""

import copy
import dataclasses
import itertools
import json
import random
from pathlib import Path

import pytest
from texts import TEXTS, every_text
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit

from gpt2lab import merges
from gpt2lab.merges import merge_steps, pair_ranks, ranked, steps_of, word_at
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode, token_bytes

POCKET = Path(__file__).parent.parent / "gpt2lab" / "pocket"
END = 50256


def positions(ids: list[int]) -> range:
    """All positions of a short text, some of a long one."""
    return range(0, len(ids), max(1, len(ids) // 40))


def test_the_texts_are_many_and_one_fills_the_context(random_gpt2):
    assert len(TEXTS) >= 40
    assert len(set(TEXTS.values())) == len(TEXTS)
    lengths = {name: len(encode(random_gpt2, text)) for name, text in TEXTS.items()}
    assert lengths.pop("1,024 tokens") == 1024
    assert lengths["empty"] == 0
    assert max(lengths.values()) <= 300


# --- the list of pairs ---------------------------------------------------------------------------


def test_ranks_are_the_lines_of_the_file_and_lead_to_the_ids(random_gpt2):
    ranks = pair_ranks(random_gpt2)
    lines = (POCKET / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#version")
    assert [" ".join(pair) for pair in ranks] == lines[1:]
    assert list(ranks.values()) == list(range(1, 50_001))
    joined = [left + right for left, right in ranks]
    ids = random_gpt2.tokenizer.convert_tokens_to_ids(joined)
    assert [id - 255 for id in ids] == list(ranks.values())


def test_the_list_is_read_once(random_gpt2, monkeypatch):
    ranks = pair_ranks(random_gpt2)
    monkeypatch.setattr(json, "loads", None)
    assert pair_ranks(random_gpt2) is ranks


def test_both_ways_in_which_tokenizers_write_a_pair():
    expected = {("a", "b"): 1, ("Ġ", "ab"): 2}
    assert ranked([["a", "b"], ["Ġ", "ab"]]) == expected
    assert ranked(["a b", "Ġ ab"]) == expected
    assert ranked([]) == {}


# --- the steps -----------------------------------------------------------------------------------


@every_text
def test_words_and_tokens_are_the_tokenizers_own(random_gpt2, text):
    """A word begins and ends where the tokenizer says, and its last pieces are the text's ids."""
    ids = encode(random_gpt2, text)
    numbers = random_gpt2.tokenizer.backend_tokenizer.encode(text).word_ids
    for position in positions(ids):
        word = word_at(random_gpt2, ids, position)
        number = numbers[position]
        same_word = [at for at, one in enumerate(numbers) if one == number]
        assert list(word.written) == same_word
        assert word.whole
        assert word.special == (ids[position] == END)
        steps = steps_of(random_gpt2, word)
        start = (word.symbols,) if word.special else tuple(word.symbols)
        pieces = steps[-1].pieces if steps else start
        expected = [ids[at] for at in word.written]
        assert random_gpt2.tokenizer.convert_tokens_to_ids(list(pieces)) == expected


@every_text
def test_every_step_joins_the_pair_that_was_learned_first(random_gpt2, text):
    ranks = pair_ranks(random_gpt2)
    ids = encode(random_gpt2, text)
    for position in positions(ids):
        word = word_at(random_gpt2, ids, position)
        if word.special:
            continue
        before = tuple(word.symbols)
        for step in steps_of(random_gpt2, word):
            assert "".join(step.pieces) == word.symbols
            known = [ranks[pair] for pair in itertools.pairwise(before) if pair in ranks]
            assert step.rank == min(known) == ranks[step.pair]
            assert step.pair not in itertools.pairwise(step.pieces)
            joined = "".join(step.pair)
            times = step.pieces.count(joined) - before.count(joined)
            assert times == len(before) - len(step.pieces) >= 1
            before = step.pieces
        assert not any(pair in ranks for pair in itertools.pairwise(before))
        found = [step.rank for step in steps_of(random_gpt2, word)]
        assert found == sorted(set(found))


@pytest.mark.parametrize("text", [" hello", " banana", "aaaaaaa", "🎉", "Größenwahn", "====="])
def test_after_each_step_stands_what_a_tokenizer_with_fewer_pairs_gives(random_gpt2, text):
    """The tokenizer itself, had it stopped learning after a step's pair."""
    model = json.loads(random_gpt2.tokenizer.backend_tokenizer.to_str())["model"]
    learned = [tuple(pair) for pair in model["merges"]]
    steps = steps_of(random_gpt2, word_at(random_gpt2, encode(random_gpt2, text), 0))
    assert steps
    for step in steps:
        stopped = BPE(vocab=model["vocab"], merges=learned[: step.rank])
        symbols = "".join(step.pieces)
        assert step.pieces == tuple(token.value for token in stopped.tokenize(symbols))


def test_the_examples_in_the_module_are_true(random_gpt2):
    line = next(one for one in (merges.__doc__ or "").splitlines() if "→" in one)
    word = word_at(random_gpt2, encode(random_gpt2, " hello"), 0)
    rows = [tuple(word.symbols), *(step.pieces for step in steps_of(random_gpt2, word))]
    assert [" ".join(row) for row in rows] == [one.strip() for one in line.split("→")]
    ranks = {("h", "e"): 3, ("l", "l"): 6, ("ll", "o"): 9}
    assert merge_steps("hello", ranks)[-1].pieces == ("he", "llo")


def test_a_pair_is_joined_wherever_it_stands_from_left_to_right():
    steps = merge_steps("aaaaabaa", {("a", "a"): 1, ("aa", "aa"): 2, ("b", "aa"): 3})
    assert [step.pieces for step in steps] == [
        ("aa", "aa", "a", "b", "aa"),
        ("aaaa", "a", "b", "aa"),
        ("aaaa", "a", "baa"),
    ]
    assert [step.rank for step in steps] == [1, 2, 3]
    assert merge_steps("xyz", {("a", "a"): 1}) == ()
    assert merge_steps("", {("a", "a"): 1}) == ()


# --- the word around a token ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_any_ids_have_a_word_at_each_position(random_gpt2, seed):
    """Ids drawn at random have bytes that are no character, and cuts that no tokenizer makes."""
    ids = random.Random(seed).choices(range(random_gpt2.vocab_size), k=30)
    ids[seed] = END
    ids[(seed + 7) % 30] = 128 + seed  # a single byte that is no character on its own
    tokens = random_gpt2.tokenizer.convert_ids_to_tokens(ids)
    model = random_gpt2.tokenizer.backend_tokenizer.model
    for position, token in enumerate(tokens):
        word = word_at(random_gpt2, ids, position)
        assert position in word.written
        assert word.special == (ids[position] == END)
        written = "".join(tokens[at] for at in word.written)
        assert word.symbols in written
        begin = written.index(word.symbols) if written.count(word.symbols) == 1 else None
        if begin is not None:
            before = "".join(tokens[at] for at in word.written if at < position)
            assert begin + word.offset == len(before)
        assert word.symbols[word.offset :][: len(token)] == token[: len(word.symbols) - word.offset]
        if not word.special:
            decodable = "�" not in token_bytes(word.symbols).decode("utf-8", "replace")
            assert word.whole == decodable
            steps = steps_of(random_gpt2, word)
            pieces = list(steps[-1].pieces if steps else word.symbols)
            assert pieces == [one.value for one in model.tokenize(word.symbols)]


def test_a_special_token_is_no_word_and_ends_the_one_before(random_gpt2):
    ids = encode(random_gpt2, "The end<|endoftext|>less")
    assert [word_at(random_gpt2, ids, at).symbols for at in range(4)] == [
        "The", "Ġend", "<|endoftext|>", "less",
    ]  # fmt: skip
    word = word_at(random_gpt2, ids, 2)
    assert word.special
    assert steps_of(random_gpt2, word) == ()


def test_what_a_model_wrote_differently_is_the_same_word(random_gpt2):
    ids = random_gpt2.tokenizer.convert_tokens_to_ids(["T", "oday", "ĊĊ", "we"])
    word = word_at(random_gpt2, ids, 1)
    assert (word.symbols, list(word.written), word.offset) == ("Today", [0, 1], 1)
    assert steps_of(random_gpt2, word)[-1].pieces == ("Today",)
    # The second line break is a word of its own, though one token has both.
    word = word_at(random_gpt2, ids, 2)
    assert (word.symbols, list(word.written), word.offset) == ("Ċ", [2], 0)
    assert steps_of(random_gpt2, word) == ()
    word = word_at(random_gpt2, ids, 3)
    assert (word.symbols, list(word.written), word.offset) == ("we", [3], 0)


@pytest.mark.parametrize("text", ["a" * 1000, "HeLlo" * 300, "你好世界" * 250, "=" * 4000])
def test_words_of_thousands_of_letters(random_gpt2, text):
    ids = encode(random_gpt2, text)
    word = word_at(random_gpt2, ids, 0)
    steps = steps_of(random_gpt2, word)
    expected = random_gpt2.tokenizer.convert_ids_to_tokens([ids[at] for at in word.written])
    assert list(steps[-1].pieces) == expected


def test_a_word_that_would_take_long_is_refused(random_gpt2):
    ids = encode(random_gpt2, "a" * merges.LONGEST_WORD)
    assert steps_of(random_gpt2, word_at(random_gpt2, ids, 0))
    ids = encode(random_gpt2, "a" * (merges.LONGEST_WORD + 1))
    with pytest.raises(Refusal) as caught:
        steps_of(random_gpt2, word_at(random_gpt2, ids, 0))
    assert str(caught.value) == (
        "The word at this position has 4,097 bytes and at most 4,096 are taken apart; "
        "please choose another position."
    )


# --- tokenizers that do something else -----------------------------------------------------------


def test_a_tokenizer_with_a_short_cut_is_refused(random_gpt2):
    """With `ignore_merges` a word that is a token is looked up, whatever its pairs would give."""
    tokenizer = copy.deepcopy(random_gpt2.tokenizer)
    vocab = {symbol: id for id, symbol in enumerate(["a", "b", "c", "ab", "abc"])}
    pairs = [("a", "b")]
    other = dataclasses.replace(random_gpt2, tokenizer=tokenizer, name="other")
    for short_cut in (False, True):
        tokenizer.backend_tokenizer.model = BPE(vocab=vocab, merges=pairs, ignore_merges=short_cut)
        word = merges.Word("abc", range(1), 0, special=False, whole=True)
        if not short_cut:
            assert steps_of(other, word)[-1].pieces == ("ab", "c")
            continue
        with pytest.raises(Refusal) as caught:
            steps_of(other, word)
    assert str(caught.value) == (
        "The tokenizer of other does more than join pairs by rank, so its way cannot be shown; "
        "please choose a model with GPT-2's tokenizer."
    )


def test_what_a_tokenizer_leaves_out_is_no_word(random_gpt2):
    tokenizer = copy.deepcopy(random_gpt2.tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = WhitespaceSplit()
    other = dataclasses.replace(random_gpt2, tokenizer=tokenizer, name="other")
    ids = tokenizer.convert_tokens_to_ids(["we", "Ġ", "go"])
    assert word_at(other, ids, 2).symbols == "go"
    with pytest.raises(Refusal, match=r"^The tokenizer of other leaves out what stands at this"):
        word_at(other, ids, 1)
