"""Opening a link: from its query back to a document, through the same checks as a file.

What a link says is told in `gpt2lab.ui.links`. Here it is read, whoever made it: a parameter that
cannot be used is left out with a sentence that says so, and the rest is used.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gpt2lab import chat
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import checked_text, decode, encode, prompt_ids
from gpt2lab.transcript import Passage, Transcript, Writing
from gpt2lab.ui.checked_settings import DEFAULTS, in_effect
from gpt2lab.ui.complaints import Complaints, described, whole_number
from gpt2lab.ui.document import FORMAT, Document, ModelNamed, from_json
from gpt2lab.ui.session import CHAT
from gpt2lab.ui.writing import Place

CARRIED = ("model", "revision", "mode", "template", "tab")
"""What a link says in the same words as a document."""
WORDS = ("focus", "text", "draft", "turns", "go", "forced", "sample", "dropped")
GRADIO = {"view", "logs", "deep_link"}
"""Parameters that the page's framework adds, beside those that begin with two underscores."""


def read_query(
    pairs: Sequence[tuple[str, str]], model_named: ModelNamed
) -> tuple[Document, bool, tuple[str, ...]]:
    """The document of a link, whether the model is to write on, and what is wrong with the link.

    When it is to write on, the active passage is the one to be written: a passage of the model's
    that holds the forced tokens so far (often none), with the settings in its `writing`. See
    `pending`.
    """
    complaints = Complaints()
    given = _singles(pairs, complaints)
    go = _go(given, complaints)
    data: dict[str, Any] = {name: given[name] for name in CARRIED if name in given}
    data["gpt2lab"] = FORMAT
    data["settings"] = {name: _number(given[name]) for name in DEFAULTS if name in given}
    if "strategy" in given:
        data["settings"]["strategy"] = given["strategy"]
    stop = [value for name, value in pairs if name == "stop"]
    if stop:
        data["settings"]["stop"] = stop
    turns = _turns(given, complaints)
    if turns is not None:
        data["transcript"] = {"passages": turns}
    elif not go:
        data["prompt"] = given.get("text", "")
    if turns is not None and "text" in given:
        data["prompt"] = given["text"]
    if "draft" in given:
        data["prompt"] = given["draft"]
    document, sentences = from_json(data, model_named)
    gpt2 = model_named(document.model)
    if go and turns is None:
        document = _with_sent(document, gpt2, given.get("text", ""), complaints)
    if go:
        document, go = _with_pending(document, gpt2, given, turns, complaints)
    document = replace(document, focus=_read_focus(document, gpt2, given, go, complaints))
    return document, go, (*sentences, *complaints.sentences)


def read_as(gpt2: Gpt2, text: str, mode: str, template: str) -> tuple[int, ...]:
    """The tokens that the model reads for the first thing that a person sends."""
    checked_text(text, "text")
    if not text:
        return tuple(prompt_ids(gpt2, ""))
    return tuple(encode(gpt2, chat.line(template, text, "") if mode == CHAT else text))


def pending(document: Document) -> tuple[Transcript, Place, Writing]:
    """What a link asks the model to do: go on at that place of that transcript, in that way."""
    transcript, number = document.transcript, document.transcript.active
    passage = None if number is None else transcript.passages[number]
    if passage is None or passage.parent is None or passage.writing is None:
        raise Refusal("There is no passage to be written; write something and generate.")
    earlier = Transcript(transcript.passages[:number], passage.parent)
    return earlier, Place(passage.parent, passage.at, passage.ids), passage.writing


def _singles(pairs: Sequence[tuple[str, str]], complaints: Complaints) -> dict[str, str]:
    """The first value of every known parameter."""
    known = {*CARRIED, *WORDS, *DEFAULTS}
    given: dict[str, str] = {}
    repeated: dict[str, None] = {}
    for name, value in pairs:
        if name.startswith("__") or name in GRADIO or name == "stop":
            continue
        if name not in known:
            complaints.ignore([name])
        elif name in given:
            repeated[name] = None
        else:
            given[name] = value
    for name in repeated:
        complaints.add(f"{name} is given more than once", "the first one is used")
    return given


def _go(given: dict[str, str], complaints: Complaints) -> bool:
    go = given.get("go", "0")
    if go not in {"0", "1"}:
        complaints.add(f"go is {described(go)}, but must be 1 or 0", "nothing is written yet")
    return go == "1"


def _number(text: str) -> int | float | str:
    """A number as JSON would have it; what is none is left for its check to refuse."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _turns(given: dict[str, str], complaints: Complaints) -> list[Any] | None:
    """The passages of `turns` as a document has them, each behind the one before."""
    if "turns" not in given:
        return None
    try:
        turns = json.loads(given["turns"])
    except (ValueError, RecursionError):
        turns = None
    if not isinstance(turns, list):
        complaints.add("turns is not a JSON list of passages", "it is left out")
        return []
    passages: list[Any] = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, list) or not 2 <= len(turn) <= 3:
            passages.append(None)
            continue
        passage = {"author": turn[0], "ids": turn[1], "parent": number - 1 if number else None}
        passages.append({**passage, "text": turn[2]} if len(turn) == 3 else passage)
    return passages


def _with_sent(document: Document, gpt2: Gpt2, text: str, complaints: Complaints) -> Document:
    """The document with `text` as the passage that the model is to continue."""
    try:
        ids = read_as(gpt2, text, document.mode, document.template)
        transcript = document.transcript.continued(Passage("you", ids, text))
    except Refusal as refusal:
        complaints.add(refusal, "it is left out")
        return document
    return replace(document, transcript=transcript)


def _with_pending(
    document: Document,
    gpt2: Gpt2,
    given: dict[str, str],
    turns: Sequence[Any] | None,
    complaints: Complaints,
) -> tuple[Document, bool]:
    """The document with the passage to be written, and whether that can be done."""
    try:
        if not document.transcript.ids():
            raise Refusal("The link asks the model to write, but not behind what.")
        if turns is not None and len(turns) != len(document.transcript.passages):
            raise Refusal("Something is missing before what the link asks the model to write.")
        forced = _forced(gpt2, given.get("forced"))
        decoding = in_effect(document.settings)
        last = decoding.num_return_sequences - 1
        most = len(document.transcript.ids()) + len(forced) - 1
        dropped = whole_number("dropped", _number(given.get("dropped", "0")), 0, most)
        sample = whole_number("sample", _number(given.get("sample", "0")), 0, last)
        writing = Writing(gpt2.name, decoding, dropped, len(forced), None, sample)
        passage = Passage("model", forced, decode(gpt2, forced), writing=writing)
        return replace(document, transcript=document.transcript.continued(passage)), True
    except Refusal as refusal:
        complaints.add(refusal, "nothing is written yet")
        return document, False


def _forced(gpt2: Gpt2, given: str | None) -> tuple[int, ...]:
    if given is None:
        return ()
    parts = given.split(",", gpt2.n_positions)
    return tuple(
        whole_number("a token in forced", _number(part), 0, gpt2.vocab_size - 1) for part in parts
    )


def _read_focus(
    document: Document, gpt2: Gpt2, given: dict[str, str], go: bool, complaints: Complaints
) -> tuple[int, int] | None:
    if "focus" not in given:
        return None
    passages = document.transcript.passages
    first, _, second = given["focus"].partition(".")
    try:
        number = whole_number("focus' passage", _number(first), 0, len(passages) - 1)
        # How long the passage becomes that is to be written is not known yet.
        unwritten = go and number == len(passages) - 1
        length = gpt2.n_positions if unwritten else len(passages[number].ids)
        return number, whole_number("focus' token", _number(second), 0, length - 1)
    except Refusal as refusal:
        complaints.add(refusal, "no token is in focus")
        return None
