"""Text becomes tokens, tokens become ids, and back.

GPT-2 never sees letters. Its tokenizer cuts the UTF-8 *bytes* of a text into pieces, the 50,257
tokens of its vocabulary, and the model works with their numbers, the ids. In the vocabulary every
byte is written as one printable character: a blank is `Ġ`, a line break `Ċ`. One character of a
text may therefore be spread over several tokens; an emoji usually is.

    text    "Today we"          what a person writes
    tokens  ["Today", "Ġwe"]    the vocabulary's strings
    ids     [8888, 356]         the rows of the embedding matrix

This module is the only one that knows about `Ġ` and split characters. Everybody else shows the
`shown` form, in which blanks are visible (␣ ↵ ⇥) and pieces of a character appear as hex bytes.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from transformers.convert_slow_tokenizer import bytes_to_unicode

from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, checked_number

MAX_CHARACTERS = 100_000
"""Longest text that is tokenized at all; GPT-2's context of 1,024 tokens holds about 5,000."""

_BYTE_OF_CHARACTER = {character: byte for byte, character in bytes_to_unicode().items()}
_VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True)
class Tokens:
    """A text as the tokenizer sees it; the three tuples have one entry per token.

    `limit` is the number of tokens the model can read at once (its `n_positions`).
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    limit: int

    @property
    def count(self) -> int:
        """Number of tokens."""
        return len(self.ids)


def checked_text(text: object, what: str = "The text") -> str:
    """Return `text` if a tokenizer can take it; raise `Refusal` with the reason if not."""
    if not isinstance(text, str):
        raise Refusal(f"{what} must be a string, not {type(text).__name__}.")
    if len(text) > MAX_CHARACTERS:
        raise Refusal(
            f"{what} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read, "
            "so please shorten it."
        )
    for position, character in enumerate(text):
        if character == "\0":
            raise Refusal(f"{what} has a null character at position {position}; please remove it.")
        if "\ud800" <= character <= "\udfff":
            raise Refusal(
                f"{what} has half of a character (the lone surrogate U+{ord(character):04X}) "
                f"at position {position}; please remove it."
            )
    return text


def encode(gpt2: Gpt2, text: str) -> list[int]:
    """Ids of `text`, exactly those of the model's own tokenizer; an empty text has none."""
    return gpt2.tokenizer.encode(checked_text(text), verbose=False)


def prompt_ids(gpt2: Gpt2, text: str, room: int = 0) -> list[int]:
    """Ids that the model reads for `text`: never empty, and never longer than its context.

    An empty text becomes the one token `<|endoftext|>`: GPT-2 learned that a new document begins
    after it. `room` asks for that many free positions behind the text.
    """
    ids = encode(gpt2, text)
    if not ids:
        start = gpt2.tokenizer.bos_token_id
        if start is None:
            raise Refusal(
                f"{gpt2.name} has no beginning-of-text token to start an empty text from; "
                "please write something."
            )
        ids = [start]
    return checked_length(gpt2, ids, room)


def checked_length(gpt2: Gpt2, ids: Sequence[int], room: int = 0) -> list[int]:
    """Return `ids` if the model can read them with `room` more behind; raise `Refusal` if not."""
    if not len(ids):
        raise Refusal("There are no token ids; an empty text is given as a string.")
    for id in ids:
        checked_number("A token id", id, 0, gpt2.vocab_size - 1)
    if len(ids) > gpt2.n_positions:
        raise Refusal(
            f"The text has {len(ids):,} tokens, but {gpt2.name} reads at most "
            f"{gpt2.n_positions:,}; please shorten it by {len(ids) - gpt2.n_positions:,}."
        )
    if len(ids) + room > gpt2.n_positions:
        free = gpt2.n_positions - len(ids)
        advice = (
            f"set max_new_tokens to {free:,} or less, or shorten the text"
            if free
            else "please shorten the text"
        )
        raise Refusal(
            f"The text has {len(ids):,} tokens and {room:,} more are asked for, but {gpt2.name} "
            f"has room for {gpt2.n_positions:,} in all; {advice}."
        )
    return [int(id) for id in ids]


def decode(gpt2: Gpt2, ids: Sequence[int]) -> str:
    """Text of `ids`; special tokens are left out, an incomplete last character becomes `�`."""
    return gpt2.tokenizer.decode(
        list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def tokenize(gpt2: Gpt2, text: str) -> Tokens:
    """Cut `text` into tokens; the text may be longer than the model's context."""
    return describe(gpt2, encode(gpt2, text))


def describe(gpt2: Gpt2, ids: Sequence[int]) -> Tokens:
    """Vocabulary strings and readable forms of `ids`."""
    tokens = tuple(gpt2.tokenizer.convert_ids_to_tokens(list(ids)))
    return Tokens(tuple(ids), tokens, tuple(readable(token) for token in tokens), gpt2.n_positions)


def token_bytes(token: str) -> bytes:
    """UTF-8 bytes that a vocabulary string stands for: `token_bytes("Ġwe") == b" we"`."""
    if all(character in _BYTE_OF_CHARACTER for character in token):
        return bytes(_BYTE_OF_CHARACTER[character] for character in token)
    return token.encode()


def character_starts(tokens: Sequence[str]) -> tuple[int, ...]:
    """For each token the position of the token in which its first character begins.

    That is its own position, unless it begins with bytes that complete an earlier one:

    >>> character_starts(["Hi", "ĠðŁ", "İ", "ī", "!"])  # "Hi 🎉!"
    (0, 1, 1, 1, 4)

    Bytes that are no part of a whole character stand alone.
    """
    pieces = [token_bytes(token) for token in tokens]
    characters = b"".join(pieces).decode("utf-8", "surrogateescape")
    lengths = (len(one.encode("utf-8", "surrogateescape")) for one in characters)
    ends = {0, *accumulate(lengths)}
    starts: list[int] = []
    offset = 0
    for position, piece in enumerate(pieces):
        starts.append(position if offset in ends else starts[-1])
        offset += len(piece)
    return tuple(starts)


def readable(token: str) -> str:
    r"""Write a vocabulary string as a person reads it.

    `"Ġwe"` becomes `"␣we"`, `"Ċ"` becomes `"↵"`, a piece of a character becomes its bytes
    (`"\xf0\x9f"`), and what has no shape of its own becomes its code point (`"‹U+200B›"`).
    """
    text = token_bytes(token).decode("utf-8", "backslashreplace")
    return "".join(_VISIBLE.get(character) or _visible(character) for character in text)


def _visible(character: str) -> str:
    invisible = unicodedata.category(character) in {"Cc", "Cf", "Cn", "Co", "Zl", "Zp", "Zs"}
    return f"‹U+{ord(character):04X}›" if invisible else character
