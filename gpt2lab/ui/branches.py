"""The transcript's branches as a small tree: one line a passage, a click goes there.

Passages that simply follow one another stand below each other at the same depth; where the text
branches, each branch is one step further in. So the depth counts choices, not passages.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import gradio as gr

from gpt2lab.models import Gpt2
from gpt2lab.transcript import Passage, Transcript
from gpt2lab.ui.packing import packed
from gpt2lab.ui.token_strip import shown

CHARACTERS = 40
"""How much of a passage's text its line shows."""

DRAWING = Path(__file__).parent / "assets" / "branches.js"


def build_branches() -> gr.HTML:
    """The tree, empty; its value is what `tree_lines` returns.

    It triggers `select` with {passage} when a passage is chosen to go on from.
    """
    return gr.HTML(
        "[]",
        html_template='<div role="tree" aria-label="Branches of the transcript"></div>',
        js_on_load=DRAWING.read_text(),
        apply_default_css=False,
        elem_id="branches",
    )


def tree_lines(transcript: Transcript, gpt2: Gpt2) -> str:
    """The tree as JSON, "[]" if nothing branches.

    A line has the passage's number, its depth, author, beginning, "behind" (the number of its
    parent's tokens that it goes on behind, if it leaves its parent in the middle), "forced" (the
    tokens that the reader chose, spelled out), and whether it is on the active path ("path"), and
    the active passage itself ("active").
    """
    children: defaultdict[int | None, list[int]] = defaultdict(list)
    for number, passage in enumerate(transcript.passages):
        children[passage.parent].append(number)
    if not any(_branches(transcript, parent, own) for parent, own in children.items()):
        return "[]"
    path = {piece.number for piece in transcript.path()}
    lines: list[dict[str, Any]] = []
    waiting = _indented(transcript, None, children[None], 0)
    while waiting:
        number, depth = waiting.pop()
        line = _line(transcript, number, gpt2)
        here = {"path": number in path, "active": number == transcript.active}
        lines.append({"passage": number, "depth": depth, **line, **here})
        waiting += _indented(transcript, number, children[number], depth)
    return packed(lines)


def _branches(transcript: Transcript, parent: int | None, children: list[int]) -> bool:
    """Whether the text can go on in more than one way from within or behind a passage."""
    return len(children) > 1 or any(
        _in_the_middle(transcript, transcript.passages[child]) for child in children
    )


def _indented(
    transcript: Transcript, parent: int | None, children: list[int], depth: int
) -> list[tuple[int, int]]:
    """A passage's children with their depths, the last one first."""
    further = depth + 1 if parent is not None and _branches(transcript, parent, children) else depth
    return [(child, further) for child in reversed(children)]


def _in_the_middle(transcript: Transcript, passage: Passage) -> bool:
    parent = passage.parent
    return parent is not None and passage.at < len(transcript.passages[parent].ids)


def _line(transcript: Transcript, number: int, gpt2: Gpt2) -> dict[str, Any]:
    passage = transcript.passages[number]
    writing = passage.writing
    text = " ".join(passage.text[: 4 * CHARACTERS].split())
    forced = passage.ids[: writing.forced] if writing else ()
    return {
        "author": passage.author,
        "text": text[:CHARACTERS] + "…" * (len(text) > CHARACTERS),
        "behind": passage.at if _in_the_middle(transcript, passage) else None,
        "forced": "".join(shown(gpt2, id) for id in forced) or None,
    }
