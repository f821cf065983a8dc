r"""How byte-pair encoding turns a word into tokens: pair by pair.

The tokenizer first cuts a text into *words* (its pre-tokenizer does: before most blanks, numbers
and signs; the blank belongs to the word behind it). No token reaches over the end of a word. Then
each word begins as single bytes, and of all pairs of neighbours the one that was learned first is
joined, wherever it stands; then the next; until no pair of neighbours was ever learned:

    Ġ h e l l o  →  Ġ he l l o  →  Ġ he ll o  →  Ġhe ll o  →  Ġhell o  →  Ġhello

What was learned is a list of pairs, GPT-2's `merges.txt`: 50,000 of them, each made of what lines
above it have made. The place in that list, counted from 1, is the pair's *rank*; the lower, the
more common the pair was when it was learned.

Words, pairs and the final tokens all come from the tokenizer itself. Only the way in between is
walked here, since the tokenizer keeps it to itself; where it would end elsewhere, it is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from weakref import WeakKeyDictionary

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import token_bytes

LONGEST_WORD = 4096
"""Bytes of the longest word that is taken apart: some seconds of work at worst."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Word:
    """The word of a text in which one of its tokens begins.

    symbols: the word in the letters of the vocabulary, one for each byte.
    written: positions of the text's tokens that have bytes of the word.
    offset: of the word's bytes the one at which the token in question begins.
    special: whether it is a token that is looked up whole and never cut; then it is all of
        `symbols`.
    whole: whether the bytes are whole characters; if not, no text has this word.
    """

    symbols: str
    written: range
    offset: int
    special: bool
    whole: bool


@dataclass(frozen=True)
class Merge:
    """One step: a pair is joined wherever it stands.

    pieces: the whole word after the step.
    """

    pair: Pair
    rank: int
    pieces: tuple[str, ...]


_RANKS: WeakKeyDictionary[PreTrainedTokenizerBase, dict[Pair, int]] = WeakKeyDictionary()
"""Reading the list takes half a second, so it is kept for as long as its tokenizer."""


def pair_ranks(gpt2: Gpt2) -> dict[Pair, int]:
    """Rank of every pair that the tokenizer learned, from 1."""
    if gpt2.tokenizer not in _RANKS:
        model = json.loads(_backend(gpt2).to_str())["model"]
        _RANKS[gpt2.tokenizer] = ranked(model.get("merges", ()))
    return _RANKS[gpt2.tokenizer]


def ranked(merges: Sequence[str | Sequence[str]]) -> dict[Pair, int]:
    """Ranks of pairs that are listed as `["a", "b"]` or, in older tokenizers, as `"a b"`."""
    pairs = (one.split(" ") if isinstance(one, str) else one for one in merges)
    return {(left, right): rank for rank, (left, right) in enumerate(pairs, start=1)}


def merge_steps(symbols: str, ranks: Mapping[Pair, int]) -> tuple[Merge, ...]:
    """Every step from single bytes to tokens.

    >>> merge_steps("hello", {("h", "e"): 3, ("l", "l"): 6, ("ll", "o"): 9})[-1].pieces
    ('he', 'llo')
    """
    steps: list[Merge] = []
    pieces = tuple(symbols)
    while known := [(ranks[pair], pair) for pair in pairwise(pieces) if pair in ranks]:
        rank, pair = min(known)
        pieces = _joined(pieces, pair)
        steps.append(Merge(pair, rank, pieces))
    return tuple(steps)


def _joined(pieces: Sequence[str], pair: Pair) -> tuple[str, ...]:
    """The pieces with the pair joined wherever it stands, from left to right."""
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return tuple(joined)


def steps_of(gpt2: Gpt2, word: Word) -> tuple[Merge, ...]:
    """The steps of one word; they end with the tokens that the tokenizer itself gives."""
    if word.special:
        return ()
    if len(word.symbols) > LONGEST_WORD:
        raise Refusal(
            f"The word at this position has {len(word.symbols):,} bytes and at most "
            f"{LONGEST_WORD:,} are taken apart; please choose another position."
        )
    steps = merge_steps(word.symbols, pair_ranks(gpt2))
    pieces = steps[-1].pieces if steps else tuple(word.symbols)
    if pieces != tuple(one.value for one in _backend(gpt2).model.tokenize(word.symbols)):
        raise Refusal(
            f"The tokenizer of {gpt2.name} does more than join pairs by rank, so its way cannot "
            "be shown; please choose a model with GPT-2's tokenizer."
        )
    return steps


def word_at(gpt2: Gpt2, ids: Sequence[int], position: int) -> Word:
    """The word in which the token at `position` begins."""
    added = gpt2.tokenizer.added_tokens_decoder
    tokens = gpt2.tokenizer.convert_ids_to_tokens(list(ids))
    if ids[position] in added:
        return Word(tokens[position], range(position, position + 1), 0, special=True, whole=True)
    # Special tokens are taken out before a text is cut into words.
    start = max((at for at in range(position) if ids[at] in added), default=-1) + 1
    stop = next((at for at in range(position, len(ids)) if ids[at] in added), len(ids))
    pieces = [token_bytes(token) for token in tokens[start:stop]]
    offsets = [0, *accumulate(map(len, pieces))]
    chosen = offsets[position - start]
    begin, end, whole = _word_around(gpt2, b"".join(pieces), chosen)
    written = [
        start + at
        for at, (first, last) in enumerate(pairwise(offsets))
        if first < end and last > begin
    ]
    return Word(
        "".join(tokens[start:stop])[begin:end],
        range(written[0], written[-1] + 1),
        chosen - begin,
        special=False,
        whole=whole,
    )


def _word_around(gpt2: Gpt2, text: bytes, chosen: int) -> tuple[int, int, bool]:
    """Where the word with the byte `chosen` begins and ends, and whether its characters are whole.

    A byte that is no character counts as a sign, `�`.
    """
    characters = text.decode("utf-8", "surrogateescape")
    lengths = (len(one.encode("utf-8", "surrogateescape")) for one in characters)
    ends = [0, *accumulate(lengths)]
    readable = "".join("�" if "\ud800" <= one <= "\udfff" else one for one in characters)
    for _, (first, last) in _backend(gpt2).pre_tokenizer.pre_tokenize_str(readable):
        if ends[first] <= chosen < ends[last]:
            return ends[first], ends[last], characters[first:last] == readable[first:last]
    raise Refusal(
        f"The tokenizer of {gpt2.name} leaves out what stands at this position; "
        "please choose another one."
    )


def _backend(gpt2: Gpt2) -> Tokenizer:
    """The tokenizer behind transformers' own."""
    return gpt2.tokenizer.backend_tokenizer
