"""Take it with you: the run as text, as JSON with every number, and as a strip of coloured chips.

Three files for three purposes. The text is for reading. The JSON is for computing: whoever has it
needs neither this program nor the model to check a number or to draw another picture. The strip
is for showing: one chip for each token, coloured by how likely, how highly ranked or how open the
choice was. (The fourth, a notebook that does it all again, is `gpt2lab.notebook`.)
"""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import exp, fsum, isfinite, nan
from typing import Any

import torch
import transformers
from matplotlib.figure import Figure

from gpt2lab.chips import Head, strip
from gpt2lab.inspections.tokens import chip, id_pieces
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.scales import ENTROPY, PROBABILITY, PROCESSED, Scale, rank_scale
from gpt2lab.step import Choice
from gpt2lab.transcript import Passage, Transcript

FORMAT = "gpt2lab run, version 1"


def as_text(gpt2: Gpt2, transcript: Transcript) -> str:
    """The text on the active path, exactly as the model reads it.

    It is decoded in one piece, so that a character is whole even if two passages share its bytes.
    The end-of-text token is a part of what the model reads, so it appears as `<|endoftext|>`.
    """
    ids = list(transcript.ids())
    return gpt2.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def as_json(gpt2: Gpt2, transcript: Transcript) -> str:
    """The run with all its settings and numbers, as JSON.

    path: the passages from the beginning to the active one, and how many tokens of each are read.
    samples: the numbers of the passages that were written in one run with the last answer.
    passages: all of these. `choices` has one entry per token, null where there are no numbers (the
        first token of a text follows nothing). A number that is not finite is null as well, since
        JSON has no word for it.
    """
    path = transcript.path()
    answers = [piece.number for piece in path if piece.passage.writing]
    samples = transcript.samples(answers[-1]) if answers else ()
    numbers = dict.fromkeys([*(piece.number for piece in path), *samples])
    run = {
        "format": FORMAT,
        "model": {
            "name": gpt2.name,
            "source": gpt2.source,
            "revision": gpt2.revision,
            "dtype": gpt2.dtype,
            "device": gpt2.device,
            "parameters": gpt2.parameters,
        },
        "versions": versions(),
        "text": as_text(gpt2, transcript),
        "path": [{"passage": piece.number, "length": piece.length} for piece in path],
        "samples": list(samples),
        "passages": [_passage(gpt2, number, transcript.passages[number]) for number in numbers],
    }
    return json_text(run)


def versions() -> dict[str, str]:
    """Of everything that has a part in the numbers."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def json_text(value: Any, indent: int | None = None) -> str:
    """Valid JSON that can be written as UTF-8, whatever the texts and numbers in it are."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)
    # Half a character (in the name of a folder) has no UTF-8, but Python's escape is JSON's too.
    return text.encode("utf-8", "backslashreplace").decode()


MEASURES: dict[str, Callable[[Choice], float]] = {
    "probability": lambda choice: exp(choice.logprob),
    "processed": lambda choice: choice.probability,
    "rank": lambda choice: choice.rank,
    "entropy": lambda choice: choice.entropy_bits,
}
"""What a strip can be coloured by."""


def scale_of(gpt2: Gpt2, by: str) -> Scale:
    """The colours of a measure."""
    if by == "rank":
        return rank_scale(gpt2)
    return {"probability": PROBABILITY, "processed": PROCESSED, "entropy": ENTROPY}[by]


def strip_figure(
    gpt2: Gpt2, passage: Passage, by: str = "probability", dark: bool = False
) -> Figure:
    """The tokens of a passage as chips, coloured by one of `MEASURES`.

    "probability" and "rank" are those under the raw logits: what the model thought, whatever the
    decoding made of it; "processed" is what that was; "entropy" is how open the choice was. Tokens
    without numbers are grey.
    """
    if by not in MEASURES:
        raise Refusal(
            f"The strip is coloured by {quoted(by)}, but must be by one of {(*MEASURES,)}."
        )
    if None in _tokens(gpt2, passage.ids):
        raise Refusal(
            f"The vocabulary of {gpt2.name} does not have all tokens of this passage; choose the "
            "model that wrote it."
        )
    scale = scale_of(gpt2, by)
    pieces = id_pieces(gpt2, list(passage.ids))
    choices = aligned(passage)
    values = [MEASURES[by](choice) if choice else nan for choice in choices]
    below, colours = tuple(map(scale.text, values)), tuple(map(scale.share, values))
    chips = [
        chip(
            pieces,
            group,
            below=below[group.start : group.stop],
            shares=colours[group.start : group.stop],
        )
        for group in pieces.groups
    ]
    head = Head(title=scale.title, note="", facts=_facts(passage, choices), filled=None)
    legend = f"left: position of the row's first token · below: {scale.below}"
    if any(len(group) > 1 for group in pieces.groups):
        legend += " · joined: bytes, in hex, of the character above"
    if None in colours:
        legend += " · grey: no number"
    return strip(chips, head, legend, dark, ticks=scale.ticks)


def aligned(passage: Passage) -> tuple[Choice | None, ...]:
    """One entry per token of a passage; None where there are no numbers.

    Where numbers are missing they are missing at the front: a text's first token follows nothing.
    """
    missing = len(passage.ids) - len(passage.choices)
    return (*(None,) * missing, *passage.choices)


def _passage(gpt2: Gpt2, number: int, passage: Passage) -> Mapping[str, Any]:
    writing = passage.writing
    return {
        "number": number,
        "author": passage.author,
        "text": passage.text,
        "parent": passage.parent,
        "at": passage.at,
        "ids": passage.ids,
        "tokens": _tokens(gpt2, passage.ids),
        "writing": writing
        and {**asdict(writing), "generate_arguments": writing.decoding.generate_arguments()},
        "choices": [one and _choice(gpt2, one) for one in aligned(passage)],
    }


def _choice(gpt2: Gpt2, choice: Choice) -> Mapping[str, Any]:
    numbers = asdict(choice)
    (numbers["token"],) = _tokens(gpt2, [choice.id])
    tokens = _tokens(gpt2, [one.id for one in choice.alternatives])
    numbers["alternatives"] = [
        {**asdict(one), "token": token}
        for one, token in zip(choice.alternatives, tokens, strict=True)
    ]
    return numbers


def _tokens(gpt2: Gpt2, ids: Sequence[int]) -> list[str | None]:
    """Vocabulary strings; None for the ids of another model with a larger vocabulary."""
    return gpt2.tokenizer.convert_ids_to_tokens(list(ids))


def _finite(value: Any) -> Any:
    """The same with None for every number that is not finite."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _facts(passage: Passage, choices: Sequence[Choice | None]) -> str:
    author = passage.writing.model if passage.writing else passage.author
    facts = [author, f"{len(passage.ids):,} token" + ("" if len(passage.ids) == 1 else "s")]
    logprobs = [one.logprob for one in choices if one]
    if logprobs:
        total = fsum(logprobs)
        facts.append(f"log-probability {total:,.2f} nats, {total / len(logprobs):.2f} a token")
    return " · ".join(facts)
