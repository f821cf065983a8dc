"""A link: the part of a document that fits into an address and that a person can still read.

    ?text=Once+upon+a+time&strategy=sample&seed=7&temperature=0.8&tab=attention&go=1

What the model wrote last is not in the link. With the same weights, the same tokens before it, the
same settings and the same seed it writes the same again, and `go=1` asks for that. Only the active
path travels: other branches are for the file. What cannot be written again so (an answer that was
stopped, or one that stands behind a text that was edited since) travels as text.

| parameter | meaning |
|---|---|
| `model`, `revision` | the model, and for one from the Hub the commit of its weights |
| `text` | what is in the prompt; with `go` what was sent |
| `draft` | what is in the prompt while `text` or `turns` says what was sent |
| `turns` | the passages before the last answer: [author, text or ids, shown text if it differs] |
| `go`, `forced`, `sample`, `dropped` | write on: behind these tokens, as this one of several |
| `mode`, `template` | a chat, and its template |
| `strategy`, `seed`, `stop` … | the settings, under the names of `Decoding` |
| `tab`, `focus` | what is looked at: passage.token, counted along the path |
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.snippets import text_of
from gpt2lab.tokens import checked_text, decode
from gpt2lab.transcript import Passage, Piece, Writing
from gpt2lab.ui.checked_settings import DEFAULTS
from gpt2lab.ui.document import TABS, Document
from gpt2lab.ui.opened_links import GRADIO, pending, read_as, read_query
from gpt2lab.ui.session import CHAT

__all__ = ["GRADIO", "MAX_LINK", "link_query", "pending", "read_query", "written_anew"]

MAX_LINK = 6000
"""Characters of a query; much longer addresses are cut by mail programs and chats."""


def link_query(document: Document, gpt2: Gpt2) -> str | None:
    """The query of the document's link; None if it would be too long. `gpt2` is its model."""
    path = document.transcript.path()
    last = path[-1].passage if path else None
    writing = last.writing if last else None
    again = last is not None and written_anew(last)
    before = path[:-1] if again else path
    if sum(piece.length for piece in before) > MAX_LINK:
        return None

    pairs: list[tuple[str, str]] = [("model", writing.model if writing else document.model)]
    if gpt2.source == "hub" and gpt2.name == pairs[0][1]:
        pairs.append(("revision", gpt2.revision))
    if document.mode == CHAT:
        pairs += [("mode", CHAT), ("template", document.template)]
    sent = _sent(document, gpt2, before) if again else None
    if not path:
        pairs += [("text", document.prompt)] if document.prompt else []
    else:
        if sent is None:
            turns = [_turn(gpt2, piece) for piece in before]
            pairs.append(("turns", json.dumps(turns, ensure_ascii=False, separators=(",", ":"))))
        else:
            pairs.append(("text", sent))
        pairs += [("draft", document.prompt)] if document.prompt else []
    pairs += _settings(asdict(writing.decoding) if writing else document.settings)
    if document.tab != TABS[0]:
        pairs.append(("tab", document.tab))
    pairs += _focus(document, path)
    if again and last and writing:
        pairs += _writing_on(last, writing)
    query = urlencode(pairs)
    return query if len(query) <= MAX_LINK else None


def written_anew(passage: Passage) -> bool:
    """Whether the model would write this passage again, with the same seed and settings.

    Not if it was stopped, and not if it is a copy behind an edited text: nobody wrote it there.
    """
    writing = passage.writing
    return passage.parent is not None and writing is not None and writing.finish_reason is not None


def _sent(document: Document, gpt2: Gpt2, before: Sequence[Piece]) -> str | None:
    """What a person sent, if that is all there is and if its text alone says its tokens."""
    if len(before) != 1 or before[0].passage.author != "you":
        return None
    text = before[0].passage.text
    try:
        same = read_as(gpt2, text, document.mode, document.template) == before[0].ids
    except Refusal:
        return None
    return text if same else None


def _turn(gpt2: Gpt2, piece: Piece) -> list[Any]:
    """A passage, as its text if the tokenizer gives the same ids for it, else as ids."""
    ids = list(piece.ids)
    written: str | list[int] = ids
    text = text_of(gpt2, ids)
    if text is not None:
        try:
            written = checked_text(text)
        except Refusal:
            # A null character: the model may write it, but nobody may send it.
            written = ids
    turn = [piece.passage.author, written]
    whole = piece.length == len(piece.passage.ids)
    if whole and piece.passage.text != decode(gpt2, ids):
        turn.append(piece.passage.text)
    return turn


def _settings(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """What differs from the default; the seed always where it matters, that one may see it."""
    pairs: list[tuple[str, str]] = []
    for name, default in DEFAULTS.items():
        value = settings.get(name, default)
        if name == "stop":
            pairs += [("stop", text) for text in value]
        elif value is None:
            continue
        elif (
            value != default
            or (name == "seed" and settings.get("strategy", "sample") == "sample")
            or (name == "max_new_tokens" and settings.get("max_length") is not None)
        ):
            pairs.append((name, str(value)))
    return pairs


def _focus(document: Document, path: Sequence[Piece]) -> list[tuple[str, str]]:
    """The focus, if it is on the path."""
    if document.focus is None:
        return []
    number, offset = document.focus
    return [
        ("focus", f"{place}.{offset}")
        for place, piece in enumerate(path)
        if piece.number == number and offset < piece.length
    ]


def _writing_on(passage: Passage, writing: Writing) -> list[tuple[str, str]]:
    pairs = [("go", "1")]
    if writing.forced:
        pairs.append(("forced", ",".join(map(str, passage.ids[: writing.forced]))))
    if writing.sample:
        pairs.append(("sample", str(writing.sample)))
    if writing.dropped:
        pairs.append(("dropped", str(writing.dropped)))
    return pairs
