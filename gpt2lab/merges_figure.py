"""The merges of one word as a ladder: its bytes on the first rung, its tokens on the last."""

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from gpt2lab.chips import Head
from gpt2lab.figures import label
from gpt2lab.ladder import Box, Rung, ladder
from gpt2lab.tokens import readable, token_bytes

if TYPE_CHECKING:
    from gpt2lab.inspections.merges import Merges

MOST_BYTES = 36
"""Bytes of a long word that are drawn, those around the token; the table has all."""
FIRST_RUNGS, LAST_RUNGS = 10, 7
"""Rungs that are drawn of more."""


def figure(result: "Merges", dark: bool = False) -> Figure:
    """The word's bytes on the first rung, and a rung for each step that changes what is drawn."""
    drawn = window(result)
    steps = [0, *(step for step in range(1, len(result.pieces)) if _touches(result, step, drawn))]
    rungs = [_rung(result, step, drawn, step == steps[-1]) for step in steps]
    if len(rungs) > FIRST_RUNGS + LAST_RUNGS:
        left_out = len(rungs) - FIRST_RUNGS - LAST_RUNGS
        gap = Rung("⋮", f"{left_out:,} steps are not drawn, the table has them")
        rungs = [*rungs[:FIRST_RUNGS], gap, *rungs[-LAST_RUNGS:]]
    size = result.ends[0][-1]
    name = label(_text(result.word.symbols))
    counts = "a special token"
    if not result.word.special:
        counts = " → ".join(
            (_many(size, "byte"), _many(len(result.ranks), "step"), _many(len(result.ids), "token"))
        )
    note = ""
    if len(drawn) < size:
        note = f"drawn: bytes {drawn.start:,} to {drawn.stop - 1:,}, and the steps that join them"
    facts = result.note or f"the word in which the token at position {result.position:,} begins"
    legend = "left: the step · below the last row: the tokens' ids"
    if result.ranks:
        legend = (
            "each row: the word after one step, in colour what it joined · right: the pair's rank, "
            "1 was learned first · below the last row: the tokens' ids"
        )
    head = Head(f"{name}:  {counts}", note, facts, None)
    return ladder(rungs, len(drawn), head, legend, dark)


def window(result: "Merges") -> range:
    """Bytes of the word that are drawn: all, or those from the token in question on."""
    size = result.ends[0][-1]
    if size <= MOST_BYTES or result.word.special:
        return range(min(size, MOST_BYTES))
    start = min(max(0, result.word.offset - MOST_BYTES // 3), size - MOST_BYTES)
    return range(start, start + MOST_BYTES)


def _touches(result: "Merges", step: int, drawn: range) -> bool:
    """Whether a step joins something that is drawn, be it at an end."""
    return any(drawn.start <= place <= drawn.stop for place in result.joins(step))


def _rung(result: "Merges", step: int, drawn: range, last: bool) -> Rung:
    if result.word.special:
        box = Box(0, len(drawn), (label(result.word.symbols),), below=str(result.ids[0]))
        return Rung("", "", (box,))
    joins = result.joins(step) if step else ()
    # By their ends, since steps that are not drawn may still join something elsewhere.
    ids = dict(zip(result.ends[-1], result.ids, strict=True)) if last else {}
    boxes = []
    begin = 0
    for piece, end in zip(result.pieces[step], result.ends[step], strict=True):
        first, stop = max(begin, drawn.start), min(end, drawn.stop)
        if first < stop:
            whole = stop - first == end - begin
            boxes.append(
                Box(
                    first - drawn.start,
                    stop - drawn.start,
                    (_text(piece), _hex(piece)) if whole else ("…",),
                    tuple(place - drawn.start for place in joins if first < place < stop),
                    str(ids.get(end, "")) if whole else "",
                )
            )
        begin = end
    right = ""
    if step:
        times = len(joins)
        right = f"rank {result.ranks[step - 1]:,}" + (f" ({times:,} times)" if times > 1 else "")
    return Rung(f"{step:,}" if step else "bytes", right, tuple(boxes))


def _text(piece: str) -> str:
    """A piece as a figure can draw it; bytes that are no character, in hex."""
    shown = readable(piece)
    if "�" in token_bytes(piece).decode("utf-8", "replace"):
        shown = shown.replace("\\x", " ").strip()
    return label(shown)


def _hex(piece: str) -> str:
    return token_bytes(piece).hex(" ")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
