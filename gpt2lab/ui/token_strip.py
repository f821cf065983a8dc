"""The transcript as the page draws it: texts, and under them their tokens as a strip of chips.

What travels to the browser is one string of JSON lines, and while tokens stream it only grows. The
page is sent differences: of a string that begins with the former one, only what was appended. So a
token costs what its own line costs, however long the transcript has become. There are four kinds of
lines:

    {"turn": 1, "passage": 3, ...}              a turn begins: who writes, and where it is placed
    [1, 0, 262, "␣the", "Ġthe", "20746865", …]  a token of turn 1, with the numbers behind it
    {"end": 1, "text": " the town", ...}        the turn's text, as it is now, and its statistics
    {"focus": [3, 0]}                           the token that the inspections look at

Lines say which turn they belong to, so that several samples can grow side by side. The drawing is
done by the scripts in `PARTS`; text gets into the page as text and nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from gpt2lab.models import Gpt2
from gpt2lab.step import Choice
from gpt2lab.tokens import decode, readable, token_bytes
from gpt2lab.transcript import Passage, Piece, Transcript
from gpt2lab.ui.packing import packed

EMPTY_PROMPT = "(nothing: GPT-2 starts from its beginning-of-text token, <|endoftext|>)"
DIGITS = 7
"""Significant digits of the numbers: as many as float32 has."""

ASSETS = Path(__file__).parent / "assets"
# They share one scope: gradio runs them as the body of one function.
PARTS = ("chips", "details", "transcript", "gestures")
DRAWING = "\n".join((ASSETS / f"{name}.js").read_text() for name in PARTS)
TEMPLATE = (
    '<div class="legend"></div>'
    '<div class="turns" role="log" aria-label="Transcript"></div>'
    '<div class="details" popover="manual" role="dialog" aria-label="The token in detail"></div>'
)


def build_transcript() -> gr.HTML:
    """The transcript, empty; its value is what `transcript_lines` returns.

    It triggers `select` with {passage, offset} when a token is chosen to be looked at, `input` with
    {passage} when a sample is chosen to go on with, and `submit` with an `action`: "branch"
    {passage, offset, id}, "edit" {passage, text, follow: "keep" or "generate"} or "numbers"
    {passage}, which asks for the numbers of a passage that has none yet.
    """
    return gr.HTML(
        "",
        html_template=TEMPLATE,
        js_on_load=DRAWING,
        apply_default_css=False,
        elem_id="transcript",
    )


def transcript_lines(gpt2: Gpt2, transcript: Transcript) -> str:
    """The active path, and all samples of its last run side by side."""
    path = transcript.path()
    lines = "".join(
        passage_lines(gpt2, turn, piece.number, piece.passage, length=piece.length)
        for turn, piece in enumerate(path[:-1])
    )
    return lines + "".join(
        passage_lines(gpt2, turn, number, passage, row=row, active=number == transcript.active)
        for turn, number, passage, row in _last_run(transcript, path)
    )


def _last_run(
    transcript: Transcript, path: Sequence[Piece]
) -> list[tuple[int, int, Passage, int | None]]:
    """Turn, number, passage and row of what the active passage was written together with."""
    if not path:
        return []
    numbers = transcript.samples(path[-1].number)
    first = len(path) - 1
    row = first if len(numbers) > 1 else None
    return [
        (turn, number, transcript.passages[number], row)
        for turn, number in enumerate(numbers, first)
    ]


def passage_lines(
    gpt2: Gpt2,
    turn: int,
    number: int,
    passage: Passage,
    *,
    length: int | None = None,
    row: int | None = None,
    active: bool = True,
) -> str:
    """All lines of a passage, or of its first `length` tokens."""
    length = len(passage.ids) if length is None else length
    # The first token of a text has no numbers: nothing stands before it.
    missing = len(passage.ids) - len(passage.choices)
    tokens = [
        token_line(gpt2, turn, offset, id, passage.choices[offset - missing])
        if passage.choices and offset >= missing
        else token_line(gpt2, turn, offset, id)
        for offset, id in enumerate(passage.ids[:length])
    ]
    begin = turn_line(turn, number, passage, row=row, active=active)
    return begin + "".join(tokens) + end_line(gpt2, turn, passage, length=length)


def turn_line(
    turn: int,
    number: int,
    passage: Passage,
    *,
    row: int | None = None,
    active: bool = True,
    stop: str = "",
) -> str:
    """A turn begins.

    turn: its place on the page, from 0. number: its passage's place in the transcript.
    row: turns of the same row stand side by side. active: whether one goes on from here.
    stop: what ends the turn and is no part of it, if it is being written in a chat.
    """
    writing = passage.writing
    return _line(
        {
            "turn": turn,
            "passage": number,
            "author": passage.author,
            "who": writing.model if writing else passage.author,
            "forced": writing.forced if writing else 0,
            "row": row,
            "active": active,
            "stop": stop,
        }
    )


def token_line(gpt2: Gpt2, turn: int, offset: int, id: int, choice: Choice | None = None) -> str:
    """A token of a turn; `offset` is its place in the passage, from 0.

    Turn, offset, id, what a person reads, the vocabulary's string, its bytes in hex ("" if it is a
    special token, which is no part of the text), then the numbers: log-probability, probability
    after the processors, rank, entropy in bits, alternatives [[id, what a person reads, raw
    probability, probability] …]; null where there are none.
    """
    token = gpt2.tokenizer.convert_ids_to_tokens(id) or ""
    bytes_ = "" if id in gpt2.tokenizer.all_special_ids else token_bytes(token).hex()
    begin = packed([turn, offset, id, shown(gpt2, id), token, bytes_])[:-1]
    if choice is None:
        return f"{begin},null,null,null,null,null]\n"
    # Put together by hand: while tokens stream, this is done for every one of them.
    alternatives = ",".join(
        f"[{one.id},{_quoted(shown(gpt2, one.id))},"
        f"{_number(one.raw_probability)},{_number(one.probability)}]"
        for one in choice.alternatives
    )
    return (
        f"{begin},{_number(choice.logprob)},{_number(choice.probability)},{choice.rank},"
        f"{_number(choice.entropy_bits)},[{alternatives}]]\n"
    )


def end_line(gpt2: Gpt2, turn: int, passage: Passage, *, length: int | None = None) -> str:
    """The text of a turn, which replaces what the page has put together from the tokens' bytes."""
    length = len(passage.ids) if length is None else length
    whole = length == len(passage.ids)
    text = passage.text if whole else decode(gpt2, passage.ids[:length])
    empty = passage.author == "you" and not text
    return _line(
        {
            "end": turn,
            "text": EMPTY_PROMPT if empty else text,
            "note": empty,
            "reason": passage.writing.finish_reason if passage.writing else None,
            "left": len(passage.ids) - length,
            **_statistics_of(passage, length),
        }
    )


def shown(gpt2: Gpt2, id: int) -> str:
    """What a person reads of a token."""
    token = gpt2.tokenizer.convert_ids_to_tokens(id)
    # A transcript may hold ids of another model, with a larger vocabulary.
    return _readable(token) if token else f"‹{id}›"


def focus_line(passage: int, offset: int) -> str:
    """The token that the inspections look at, as if the reader had clicked on it."""
    return _line({"focus": [passage, offset]})


@dataclass(frozen=True)
class Statistics:
    """What one can say of a text as a whole.

    count: number of tokens.
    total_logprob, mean_logprob: sum and mean of the raw log-probabilities, in nats; None if they
        are not known. The mean can be compared between texts of different lengths.
    distinct_1, distinct_2: see `distinctness`.
    """

    count: int
    total_logprob: float | None
    mean_logprob: float | None
    distinct_1: float | None
    distinct_2: float | None


def statistics(ids: Sequence[int], logprobs: Sequence[float]) -> Statistics:
    """Statistics of a text; `logprobs` are those of its last tokens, or empty if unknown."""
    total = math.fsum(logprobs) if logprobs else None
    mean = total / len(logprobs) if total is not None else None
    return Statistics(len(ids), total, mean, distinctness(ids, 1), distinctness(ids, 2))


def distinctness(ids: Sequence[int], length: int) -> float | None:
    """Share of distinct ones among all runs of `length` tokens: distinct-n of Li et al. (2016).

    1 if no run occurs twice; close to 0 if the text goes in circles; None if it has no such run.

    >>> distinctness([7, 8, 7, 8], 1), distinctness([7, 8, 7, 8], 2)  # {7, 8}, {78, 87}
    (0.5, 0.6666666666666666)
    """
    runs = [tuple(ids[start : start + length]) for start in range(len(ids) - length + 1)]
    return len(set(runs)) / len(runs) if runs else None


def _statistics_of(passage: Passage, length: int) -> dict[str, Any]:
    missing = len(passage.ids) - len(passage.choices)
    logprobs = [one.logprob for one in passage.choices[: max(0, length - missing)]]
    values = statistics(passage.ids[:length], logprobs)
    return {
        "count": values.count,
        "total": values.total_logprob,
        "mean": values.mean_logprob,
        "distinct": [values.distinct_1, values.distinct_2],
    }


def _number(value: float) -> str:
    """A number with as many digits as it has; JSON knows no infinity."""
    return f"{value:.{DIGITS}g}" if math.isfinite(value) else "null"


def _line(record: object) -> str:
    return packed(record) + "\n"


_readable = lru_cache(maxsize=60_000)(readable)
_quoted = lru_cache(maxsize=60_000)(packed)
