r"""How did the tokenizer get from the letters to these tokens?

*Byte-pair encoding* (Sennrich et al., 2016; on bytes since GPT-2) was learned once, from a great
deal of text. It began with the 256 bytes, counted which two neighbours stood together most often,
made a token of this pair, and went on so 50,000 times. The list of the pairs, in the order in which
they were learned, is GPT-2's `merges.txt`; the place in the list is the pair's *rank*.

To cut a word, the tokenizer repeats the history: it begins with the word's bytes, and of all pairs
of neighbours $(a, b)$ joins the one that was learned first,

$$\operatorname*{arg\,min}_{(a,\,b)}\; \text{rank}(a, b),$$

wherever it stands in the word, and again, until no pair of neighbours is in the list. What is left
are the tokens. So the ranks only grow from step to step, and common words are one token while rare
ones stay in pieces; the pieces are not syllables or stems, only what was common. In GPT-2 the pair
of rank $r$ became the token with the id $255 + r$, since the 256 bytes have the ids from 0 to 255.

A *word* is what the tokenizer cuts the text into before it joins anything: with the blank before
it, but without the sign behind it. Pairs are joined only within a word, so the same letters give
other tokens after a blank, in capitals, or after a slip of the pen. Choose the position of a token
to see the word in which it begins.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from gpt2lab.examples import Example
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.merges import Pair, Word, steps_of, word_at
from gpt2lab.merges_figure import figure
from gpt2lab.models import Gpt2
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import source, where
from gpt2lab.tokens import encode, prompt_ids, readable, token_bytes
from gpt2lab.trace import Trace

LONGEST_CELL = 300
"""Characters of the pieces that a cell of the table shows."""


@dataclass(frozen=True, eq=False)
class Merges:
    """How one word became tokens; pieces are written in the letters of the vocabulary.

    position: of the token in question, counted from the start of the text.
    word: the word in which it begins.
    pairs, ranks: (steps,) what was joined, and its place in the list of pairs, from 1.
    pieces: (steps + 1,) the word before the first step, byte by byte, and after each.
    ids: of the last pieces, which are the tokens.
    written: ids that the text itself has here. They are others if a model wrote them differently
        from how the tokenizer would.
    """

    position: int
    word: Word
    pairs: tuple[Pair, ...]
    ranks: tuple[int, ...]
    pieces: tuple[tuple[str, ...], ...]
    ids: tuple[int, ...]
    written: tuple[int, ...]

    @cached_property
    def ends(self) -> tuple[tuple[int, ...], ...]:
        """Like `pieces`: the number of bytes from the word's beginning to each piece's end."""
        return tuple(tuple(accumulate(map(len, pieces))) for pieces in self.pieces)

    def joins(self, step: int) -> tuple[int, ...]:
        """Bytes before which a step, counted from 1, joined two pieces."""
        return tuple(sorted({*self.ends[step - 1]} - {*self.ends[step]}))

    @property
    def note(self) -> str:
        """One sentence about what is unusual here; "" if nothing is."""
        if self.word.special:
            return (
                f"{self.word.symbols} is a special token: it is looked up whole, before the text "
                "is cut into words, so nothing is joined."
            )
        if not self.word.whole:
            return "Some of these bytes are no whole character; they are cut as signs are."
        if self.written != self.ids:
            return "The text has other tokens here: a model may write what is joined when cut."
        return ""


def merged_word(trace: Trace, position: int = -1) -> Merges:
    """How the word of the traced text in which the token at `position` begins became tokens."""
    return ids_merged_word(trace.gpt2, trace.ids.tolist(), trace.position(position))


def text_merged_word(gpt2: Gpt2, text: str, position: int = -1) -> Merges:
    """The same for a text of any length; an empty one is the beginning-of-text token."""
    ids = encode(gpt2, text) or prompt_ids(gpt2, text)
    return ids_merged_word(gpt2, ids, position)


def ids_merged_word(gpt2: Gpt2, ids: list[int], position: int = -1) -> Merges:
    """The same for any ids."""
    position = int(checked_number("position", position, -len(ids), len(ids) - 1)) % len(ids)
    word = word_at(gpt2, ids, position)
    steps = steps_of(gpt2, word)
    start = (word.symbols,) if word.special else tuple(word.symbols)
    pieces = (start, *(step.pieces for step in steps))
    return Merges(
        position=position,
        word=word,
        pairs=tuple(step.pair for step in steps),
        ranks=tuple(step.rank for step in steps),
        pieces=pieces,
        ids=tuple(gpt2.tokenizer.convert_tokens_to_ids(list(pieces[-1]))),
        written=tuple(ids[at] for at in word.written),
    )


def table(result: Merges) -> Table:
    """One row per step; the pieces as a person reads them, with blanks between."""
    rows: list[tuple[str | int, ...]] = []
    for step, pieces in enumerate(result.pieces):
        shown = " ".join(map(readable, pieces))
        if len(shown) > LONGEST_CELL:
            shown = f"{shown[:LONGEST_CELL]}…"
        pair = " + ".join(map(readable, result.pairs[step - 1])) if step else ""
        rank = result.ranks[step - 1] if step else ""
        times = len(result.pieces[step - 1]) - len(pieces) if step else ""
        rows.append((step, pair, rank, times, len(pieces), shown))
    return Table(("step", "pair", "rank", "times", "pieces", "pieces after it"), tuple(rows))


def answer(result: Merges) -> dict[str, Any]:
    """JSON of the endpoint."""
    steps = [
        {"pair": list(pair), "rank": rank, "pieces": list(pieces)}
        for pair, rank, pieces in zip(result.pairs, result.ranks, result.pieces[1:], strict=True)
    ]
    return {
        "position": result.position,
        "word": readable(result.word.symbols),
        "bytes": list(result.pieces[0]),
        "steps": steps,
        "tokens": list(result.pieces[-1]),
        "ids": list(result.ids),
        "written": list(result.written),
        "note": result.note,
    }


def snippet(trace: Trace, position: int = -1) -> str:
    """Code that binds `pieces`, `ranks` and `ids`."""
    gpt2 = trace.gpt2
    word = word_at(gpt2, trace.ids.tolist(), trace.position(position))
    begin = f"[({word.symbols!r},)]" if word.special else "[tuple(word)]"
    return f"""import json
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({source(gpt2)}){where(gpt2)}
learned = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]  # merges.txt
rank_of = {{tuple(pair): rank for rank, pair in enumerate(learned, start=1)}}
{_bound_word(gpt2, word)}pieces, ranks = {begin}, []
while known := [rank_of[pair] for pair in zip(pieces[-1], pieces[-1][1:]) if pair in rank_of]:
    ranks.append(min(known))
    after = []
    for piece in pieces[-1]:
        together = [*after[-1:], piece] == learned[ranks[-1] - 1]
        after[-1:] = [after[-1] + piece] if together else [*after[-1:], piece]
    pieces.append(tuple(after))
ids = tokenizer.convert_tokens_to_ids(pieces[-1])
print(*zip(["bytes", *ranks], pieces), ids, sep="\\n")
"""


def _bound_word(gpt2: Gpt2, word: Word) -> str:
    """Code that binds `word`: cut by the tokenizer from its text, if it is the word of a text."""
    if word.special:
        return ""
    cut = gpt2.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    if word.whole:
        text = token_bytes(word.symbols).decode()
        if [one for one, _ in cut(text)] == [word.symbols]:
            words = "tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str"
            return f"[(word, _)] = {words}({text!r})\n"
    return f"word = {word.symbols!r}  # one letter for each byte\n"


def examples(gpt2: Gpt2) -> tuple[Example, ...]:
    """Words in which the joining can be seen well."""
    return (
        Example("a long word", " antidisestablishmentarianism"),
        Example("the same letters, with and without a blank", "hello hello", {"position": 0}),
        Example("capitals, which were rarer", " HELLO"),
        Example("an emoji, from its four bytes", " 🎉"),
        Example("letters that repeat", "banana bananas"),
        Example("a slip of the pen", " recieve"),
    )


INSPECTION = Inspection(
    name="merges",
    title="How BPE got there",
    group="Text",
    idea=__doc__ or "",
    compute=merged_word,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("pieces", "ranks", "ids"),
    controls=(Control("position", "position", "of a token in the word; -1 is the last token", -1),),
    of_text=text_merged_word,
    examples=examples,
)
