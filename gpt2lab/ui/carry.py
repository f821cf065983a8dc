"""Take it with you, and bring it back: link, files, and the browser's own storage.

Whatever comes back (a link that someone sent, a file, what the browser had stored) goes through the
same door: `document.from_json` checks it piece by piece, what is sound is shown, and the rest is
said in one sentence each.
"""

import base64
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import gradio as gr

from gpt2lab.exports import as_json, as_text, strip_figure
from gpt2lab.models import Gpt2
from gpt2lab.notebook import as_notebook
from gpt2lab.refusal import Refusal
from gpt2lab.ui import moves
from gpt2lab.ui.document import TABS, Document, to_json
from gpt2lab.ui.downloads import SAVE
from gpt2lab.ui.limits import MODEL_QUEUE, QUIET, sentences
from gpt2lab.ui.links import link_query, pending, read_query
from gpt2lab.ui.moves import Move
from gpt2lab.ui.session import CHAT, Focus, Session
from gpt2lab.ui.sidebar import Sidebar
from gpt2lab.ui.traces import Traces

KINDS = {
    "Text": ("txt", "text/plain"),
    "JSON": ("json", "application/json"),
    "Strip, PNG": ("png", "image/png"),
    "Notebook": ("ipynb", "application/x-ipynb+json"),
    "Everything": ("gpt2lab.json", "application/json"),
}
"""What the buttons give, its ending, and its type; "Everything" is what can be loaded again."""

WITH_TAB = "(...values) => [window.gpt2lab.tab(), ...values.slice(1)]"
COPY = "(link) => link && window.gpt2lab.copy(link)"


@dataclass(frozen=True)
class Carrying:
    """The components of this part."""

    link: gr.Textbox
    copy: gr.Button
    files: dict[str, gr.Button]
    load: gr.UploadButton


@dataclass(frozen=True, eq=False)
class Opened:
    """What a document asks for: the move that writes on, and what is active and looked at then.

    template: the chat template, in a chat.
    """

    gpt2: Gpt2
    move: Move
    template: str | None
    sample: int
    focus: tuple[int, int] | None


def build_complaints() -> gr.Textbox:
    """Where it is said what of a link or a file could not be used."""
    return gr.Textbox(
        label="Not everything could be used",
        visible=False,
        interactive=False,
        lines=1,
        max_lines=8,
        elem_classes="refusal",
        elem_id="complaints",
    )


def build_carrying() -> Carrying:
    """The buttons, in the current layout."""
    with gr.Accordion("Take it with you", open=False, elem_id="carry"):
        with gr.Row():
            copy = gr.Button("Copy link", size="sm", scale=0, min_width=110, elem_id="copy-link")
            files = {
                kind: gr.Button(f"{kind} ↓", size="sm", scale=0, min_width=90) for kind in KINDS
            }
            load = gr.UploadButton(
                "Load a file",
                type="binary",
                file_types=[".json"],
                size="sm",
                scale=0,
                min_width=110,
                elem_id="load",
            )
        link = gr.Textbox(
            label="Link",
            info="whoever opens it sees this text, these settings, and the same tokens",
            visible=False,
            interactive=False,
            max_lines=3,
            buttons=["copy"],
            elem_id="link",
        )
    return Carrying(link, copy, files, load)


def document_of(
    gpt2: Gpt2, sidebar: Sidebar, tab: str, session: Session, values: Sequence[Any]
) -> Document:
    """The document of what is on screen; `values`: box, mode, template, and the settings."""
    text, mode, template, *settings = values
    focus = session.focus
    return Document(
        model=gpt2.name,
        revision=gpt2.revision,
        mode=mode,
        template=template,
        settings=sidebar.settings(settings),
        prompt=text,
        tab=tab if tab in TABS else TABS[0],
        focus=(focus.passage, focus.offset) if focus else None,
        transcript=session.transcript,
    )


def address(query: str) -> str:
    """The link with this query; without a host where only the browser knows it."""
    host = os.environ.get("SPACE_HOST")  # A Space is shown in a frame of another page.
    return f"https://{host}/?{query}" if host else f"?{query}"


def packed(gpt2: Gpt2, document: Document, kind: str) -> str:
    """A file as JSON with name, type and base64 content, for the browser to save."""
    ending, type_ = KINDS[kind]
    transcript = document.transcript
    if transcript.active is None and kind != "Everything":
        raise Refusal("There is nothing to take along yet; write something and generate.")
    content = {
        "Text": lambda: as_text(gpt2, transcript).encode(),
        "JSON": lambda: as_json(gpt2, transcript).encode(),
        "Strip, PNG": lambda: _strip(gpt2, document),
        "Notebook": lambda: as_notebook(gpt2, transcript).encode(),
        "Everything": lambda: json.dumps(to_json(document)).encode(),
    }[kind]()
    name = f"gpt2lab.{ending}".replace("gpt2lab.gpt2lab.", "gpt2lab.")
    return json.dumps({"name": name, "type": type_, "content": base64.b64encode(content).decode()})


def _strip(gpt2: Gpt2, document: Document) -> bytes:
    image = BytesIO()
    strip_figure(gpt2, document.transcript.path()[-1].passage).savefig(image, format="png")
    return image.getvalue()


def opened_link(
    pairs: Sequence[tuple[str, str]], model_named: Callable[[str], Gpt2]
) -> tuple[Document, Opened | None, tuple[str, ...]]:
    """The document of a link, what is to be written for it, and what is wrong with it."""
    document, go, complaints = read_query(pairs, model_named)
    if not go:
        return document, None, complaints
    transcript, place, writing = pending(document)
    gpt2 = model_named(document.model)
    move = Move(transcript, writing.decoding, place)
    template = document.template if document.mode == CHAT else None
    opened = Opened(gpt2, move, template, writing.sample, document.focus)
    return replace(document, transcript=transcript, focus=None), opened, complaints


def session_of(document: Document) -> Session:
    """The session that a document describes."""
    return Session(document.transcript, Focus(*document.focus) if document.focus else None)


def with_all_numbers(gpt2: Gpt2, session: Session, traces: Traces) -> Session:
    """The session with the numbers of everything that the model wrote on the active path."""
    for piece in session.transcript.path():
        if piece.passage.author == "model":
            session = moves.with_numbers(gpt2, session, {"passage": piece.number}, traces)
    return session


def connect_carrying(
    parts: Carrying,
    sidebar: Sidebar,
    model: gr.Dropdown,
    model_named: Callable[[str], Gpt2],
    session: gr.State,
    writing: Sequence[gr.components.Component],
) -> None:
    """Connect the buttons that give something away: the link and the files."""
    tab = gr.Textbox(visible="hidden")
    file = gr.Textbox(visible="hidden")
    inputs = [tab, session, model, *writing, *sidebar.controls]

    def link(tab: str, session: Session, name: str, *values: Any) -> Any:
        with sentences(for_page=True):
            gpt2 = model_named(name)
            query = link_query(document_of(gpt2, sidebar, tab, session, values), gpt2)
            if query is None:
                raise Refusal(
                    "The transcript is too long for a link; press Everything to get it as a file, "
                    "which can be loaded again."
                )
            return gr.update(value=address(query), visible=True)

    def give(kind: str) -> Callable[..., str]:
        def pack(tab: str, session: Session, name: str, *values: Any) -> str:
            with sentences(for_page=True):
                gpt2 = model_named(name)
                return packed(gpt2, document_of(gpt2, sidebar, tab, session, values), kind)

        return pack

    parts.copy.click(link, inputs, parts.link, js=WITH_TAB, **QUIET).success(
        None, parts.link, parts.link, js=COPY, **QUIET
    )
    for kind, button in parts.files.items():
        button.click(give(kind), inputs, file, js=WITH_TAB, **QUIET, **MODEL_QUEUE).success(
            None, file, None, js=SAVE, **QUIET
        )
