r"""How a text becomes tokens, and what each of them stands for.

GPT-2 reads neither letters nor words. Its tokenizer writes the text as UTF-8 *bytes*, cuts it
before most words, numbers and signs, and then joins bytes into longer and longer pieces (byte-pair
encoding): of all pairs of neighbours $(a, b)$ it joins the one of lowest rank, which is the order
in which the pairs were learned, the most common one first; until no known pair is left (the tab
"How BPE got there" shows it step by step),

$$\text{text} \to \text{bytes} \to \text{tokens} \to \text{ids}, \qquad
\text{next pair} = \operatorname*{arg\,min}_{(a,\,b)}\; \text{rank}(a, b).$$

The vocabulary is all single bytes, all joined pairs, and one special token that separates texts:
$256 + 50{,}000 + 1 = 50{,}257$ tokens. So nothing is unknown to GPT-2, and nothing is lost: the
tokens' bytes, one behind the other, are the text again. A token's *id* is its row in the embedding
matrix, and all that the model ever sees of it.

In the vocabulary's strings a blank is `Ġ` and a line break `Ċ`; here you read ␣ and ↵ (and ⇥ for a
tab). The blank belongs to the word behind it, so that `we` and `␣we` are two tokens with two ids.
Characters that were rare stay in pieces: several tokens, each with some of the bytes, make up one
character. Decoded alone, such a piece is only `�`; here it appears as its bytes in hex, joined
with the others. Even what looks like one character may be several: the astronaut 👩‍🚀 is 👩, an
invisible joiner, and 🚀.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from gpt2lab.chips import Chip, Head, strip, window
from gpt2lab.figures import drawable, label
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.models import Gpt2
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import source, where
from gpt2lab.tokens import character_starts, describe, encode, readable, token_bytes
from gpt2lab.trace import Text

MOST_NAMED = 6
"""Characters that are named above a chip; hardly any token has bytes of more."""
MOST_LISTED = 20_000
"""Longest text that is looked at whole: a table with more rows keeps a browser busy."""


@dataclass(frozen=True, eq=False)
class TokenPieces:
    """The tokens of a text; the tuples have one entry per token.

    text: what the ids are decoded to; `�` for bytes that are no character.
    again: what the tokenizer cuts `text` into. Those are the same ids for a prompt; but a model
        may write tokens that the tokenizer would have joined, or half a character.
    kept: whether `text` is the text that was asked for; of ids alone, whether it has their bytes,
        which it has not if some are no character.
    ids: (n,) rows of the embedding matrix.
    tokens: (n,) vocabulary strings; shown: (n,) the same as a person reads them.
    hex: (n,) the token's UTF-8 bytes, such as "f0 9f".
    starts: (n,) position of the token in which this one's first character begins: its own, unless
        it begins with bytes that complete an earlier one. Equal numbers: pieces that belong
        together.
    limit: number of tokens that the model can read at once.
    position: around which the chips of a long text are drawn.
    """

    text: str
    again: tuple[int, ...]
    kept: bool
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    hex: tuple[str, ...]
    starts: tuple[int, ...]
    limit: int
    position: int

    @property
    def round_trip(self) -> bool:
        """Whether nothing is lost: `encode(decode(ids)) == ids`, and no byte has changed."""
        return self.kept and self.again == self.ids

    @property
    def groups(self) -> tuple[range, ...]:
        """Positions of the tokens that belong together, from the first to the last."""
        begins = [position for position, start in enumerate(self.starts) if position == start]
        ends = [*begins, len(self.starts)][1:]
        return tuple(range(begin, end) for begin, end in zip(begins, ends, strict=True))

    def read(self, group: Sequence[int]) -> str:
        """What a person reads of some neighbouring tokens together."""
        return readable("".join(self.tokens[position] for position in group))


def token_pieces(text: Text, position: int = -1) -> TokenPieces:
    """Tokens of a text, which nobody needs to have read."""
    return id_pieces(text.gpt2, text.ids.tolist(), position)


def text_pieces(gpt2: Gpt2, text: str) -> TokenPieces:
    """Tokens of any text: it may be empty, or longer than the model can read."""
    pieces = id_pieces(gpt2, encode(gpt2, text))
    # GPT-2's tokenizer keeps every text, but that of a folder may put all in small letters.
    return replace(pieces, kept=pieces.text == text)


def id_pieces(gpt2: Gpt2, ids: list[int], position: int = -1) -> TokenPieces:
    """Tokens of any ids."""
    places = len(ids) or 1
    described = describe(gpt2, ids)
    decoded = gpt2.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return TokenPieces(
        text=decoded,
        again=tuple(gpt2.tokenizer.encode(decoded, verbose=False)),
        kept=decoded.encode() == b"".join(map(token_bytes, described.tokens)),
        ids=described.ids,
        tokens=described.tokens,
        shown=described.shown,
        hex=tuple(token_bytes(token).hex(" ") for token in described.tokens),
        starts=character_starts(described.tokens),
        limit=described.limit,
        position=int(checked_number("position", position, -places, places - 1)) % places,
    )


def figure(result: TokenPieces, dark: bool = False) -> Figure:
    """The text as rows of chips with their ids; pieces of one character share a chip."""
    count = len(result.ids)
    groups = window(result.groups, result.position)
    chips = [chip(result, group, _ids_below(result, group)) for group in groups]
    note = ""
    if sum(map(len, groups)) < count:
        note = f"drawn: {groups[0].start:,} to {groups[-1].stop - 1:,}, the table has all"
    size = sum(len(token_bytes(token)) for token in result.tokens)
    over = f": {count - result.limit:,} too many to be read at once" if count > result.limit else ""
    head = Head(
        title=f"{count:,} of {_many(result.limit, 'token')}{over}",
        note=note,
        facts=f"{_many(len(result.text), 'character')} · {_many(size, 'byte')}"
        f" · {round_trip_in_words(result)}",
        filled=count / result.limit,
    )
    legend = "left: the position of the row's first token · below each token: its id"
    if any(len(group) > 1 for group in groups):
        legend += " · joined: the bytes, in hex, of the character above"
    if any("�" in chip.name for chip in chips):
        legend += " · �: bytes that are no character"
    return strip(chips, head, legend, dark)


def round_trip_in_words(result: TokenPieces) -> str:
    """What comes back of the text or of the ids, in one phrase."""
    if result.round_trip:
        return "round trip: decoded and encoded again, the ids are the same"
    if not result.kept:
        why = "bytes that are no character become �" if "�" in result.text else "other bytes"
        return f"no round trip: decoded, it is another text ({why})"
    return (
        f"no round trip: the same text, but {_many(len(result.again), 'token')} "
        "when it is encoded again"
    )


def chip(
    result: TokenPieces,
    group: range,
    below: tuple[str, ...],
    shares: tuple[float | None, ...] = (),
) -> Chip:
    """The chip of one of the record's groups, with something below each of its tokens."""
    texts = tuple(_chip_text(result, position) for position in group)
    return Chip(group.start, texts, below, _name(result, group), shares)


def _ids_below(result: TokenPieces, group: range) -> tuple[str, ...]:
    return tuple(str(result.ids[position]) for position in group)


def _chip_text(result: TokenPieces, position: int) -> str:
    """Token as its chip shows it; bytes that are no character, in hex."""
    shown = result.shown[position]
    broken = any(map(_is_byte, _characters(result, [position])))
    return label(shown.replace("\\x", " ").strip() if broken else shown)


def _name(result: TokenPieces, group: range) -> str:
    """What bytes that are no character on their own make up: "U+00E9 é"; "" of other tokens.

    The figures' font has no emoji, so those have their code points alone.
    """
    characters = _characters(result, group)
    if len(group) == 1 and not any(map(_is_byte, characters)):
        return ""
    once = re.sub("[\udc80-\udcff]+", "\udc80", characters)
    points = [_point(one) for one in once if one > "\x7f"]
    return "  ".join([*points[:MOST_NAMED], "…"] if len(points) > MOST_NAMED else points)


def _point(character: str) -> str:
    if _is_byte(character):
        return "�"
    point = f"U+{ord(character):04X}"
    if character == "�" or not (drawable(character) and character.isprintable()):
        return point
    return f"{point} {'◌' if unicodedata.combining(character) else ''}{character}"


def _characters(result: TokenPieces, group: Sequence[int]) -> str:
    """Characters of neighbouring tokens, and a lone surrogate for each byte of none."""
    pieces = (token_bytes(result.tokens[position]) for position in group)
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def _is_byte(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def table(result: TokenPieces) -> Table:
    """One row per token; pieces of a character say which, and which of its pieces they are."""
    rows = []
    for group in result.groups:
        for piece, position in enumerate(group, start=1):
            together = result.read(group)
            rows.append(
                (
                    position,
                    result.ids[position],
                    result.tokens[position],
                    result.shown[position],
                    result.hex[position],
                    f"{together} ({piece} of {len(group)})" if len(group) > 1 else "",
                )
            )
    headers = ("position", "id", "token", "read as", "bytes (hex)", "piece of")
    return Table(headers, tuple(rows))


def answer(result: TokenPieces) -> dict[str, Any]:
    """JSON of the endpoint."""
    return {
        "ids": list(result.ids),
        "tokens": list(result.tokens),
        "shown": list(result.shown),
        "count": len(result.ids),
        "limit": result.limit,
        "round_trip": result.round_trip,
    }


def snippet(text: Text, position: int = -1) -> str:
    """Code that binds `ids`, `tokens`, `text`, `again`, `round_trip` and `limit`."""
    gpt2, pieces = text.gpt2, token_pieces(text)
    ids = f"tokenizer.encode({pieces.text!r})" if pieces.round_trip else repr(list(pieces.ids))
    if pieces.ids == (gpt2.tokenizer.bos_token_id,):
        ids = "[tokenizer.bos_token_id]"
    return f"""from transformers import AutoConfig, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({source(gpt2)}){where(gpt2)}
limit = AutoConfig.from_pretrained({source(gpt2)}).n_positions
ids = {ids}
tokens = tokenizer.convert_ids_to_tokens(ids)
for id, token in zip(ids, tokens):
    print(f"{{id:5}}  {{token!r:20}}  {{tokenizer.decode([id])!r}}")
text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
again = tokenizer.encode(text)
round_trip = again == ids
print(len(ids), "of", limit, "tokens; encoded again the same:", round_trip)
print(repr(text))
"""


INSPECTION = Inspection(
    name="tokens",
    title="Tokens",
    group="Text",
    idea=__doc__ or "",
    compute=token_pieces,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("ids", "tokens", "text", "again", "round_trip", "limit"),
    controls=(
        Control("position", "position", "around which the chips of a long text are drawn", -1),
    ),
    of_text=text_pieces,
    whole=lambda _, tokens: tokens <= MOST_LISTED,
)
