"""Opening: what the page shows when it is loaded, and after a file was chosen.

A link says it all in its query. Without one, the page shows again what this browser had stored, so
that a reload loses nothing. First the text appears, then the numbers behind it are computed; what a
link leaves to be written is written by the model, with the link's settings and seed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from gpt2lab.ui.carry import Opened, opened_link, session_of, with_all_numbers
from gpt2lab.ui.document import Document, from_text
from gpt2lab.ui.generate_tab import GenerateTab, carried_out
from gpt2lab.ui.growing import drawn
from gpt2lab.ui.header import Header
from gpt2lab.ui.limits import MODEL_QUEUE, QUIET, sentences
from gpt2lab.ui.links import GRADIO
from gpt2lab.ui.session import Focus, Session
from gpt2lab.ui.sidebar import Sidebar
from gpt2lab.ui.tabs import Groups
from gpt2lab.ui.traces import Traces

FORGET_QUERY = "() => history.replaceState(null, '', location.pathname)"


def connect_opening(
    page: gr.Blocks,
    prepare: str,
    load: gr.UploadButton,
    complaints: gr.Textbox,
    groups: Groups,
    header: Header,
    sidebar: Sidebar,
    generated: GenerateTab,
    traces: Traces,
) -> tuple[gr.events.Dependency, ...]:
    """Connect the page's load and the file button; returns the events after which all is there."""
    stored = gr.Textbox(visible="hidden")
    opened = gr.State(None)
    shown = [generated.session, *generated.shown]
    outputs = [
        *shown, *generated.writing, header.model, complaints, opened,
        *groups.components, *sidebar.components,
    ]  # fmt: skip

    def show(document: Document, said: Sequence[str], more: Opened | None) -> Iterator[list[Any]]:
        gpt2, session = header.named(document.model), session_of(document)
        yield [
            session,
            *drawn(gpt2, session),
            document.prompt,
            document.mode,
            document.template,
            document.model,
            gr.update(value="\n".join(said), visible=bool(said)),
            more,
            *groups.selected(document.tab),
            *sidebar.updates(document.settings),
        ]
        known = with_all_numbers(gpt2, session, traces)
        if known is not session:
            skipped = [gr.skip()] * (len(outputs) - len(shown))
            yield [known, *drawn(gpt2, known), *skipped]

    def on_load(stored: str, request: gr.Request) -> Iterator[list[Any]]:
        pairs = [
            (name, value)
            for name, value in request.query_params.multi_items()
            if not name.startswith("__") and name not in GRADIO
        ]
        if pairs:
            document, more, said = opened_link(pairs, header.named)
        elif stored:
            (document, said), more = from_text(stored, header.named), None
        else:
            yield [gr.skip()] * len(outputs)
            return
        yield from show(document, said, more)

    def on_file(content: bytes | None) -> Iterator[list[Any]]:
        with sentences(for_page=True):
            document, said = from_text(content or b"", header.named)
            yield from show(document, said, None)

    def write_on(opened: Opened | None) -> Iterator[list[Any]]:
        if opened is None:
            yield [gr.skip()] * len(generated.outputs)
            return
        with sentences(for_page=True):
            session = Session()
            for output in carried_out(opened.gpt2, opened.move, traces, opened.template):
                session = output[2]
                yield output
            first = session.transcript.active
            if first is None or (not opened.sample and not opened.focus):
                return
            there = Session(session.transcript.at(first + opened.sample))
            if opened.focus:
                passage, offset = opened.focus
                passage += opened.sample if passage == first else 0
                # How much would be written was not known when the link was read.
                if offset < len(there.transcript.passages[passage].ids):
                    there = Session(there.transcript, Focus(passage, offset))
            yield [*drawn(opened.gpt2, there), there, *[gr.skip()] * (len(generated.outputs) - 3)]

    loaded = page.load(on_load, stored, outputs, js=prepare, **QUIET, **MODEL_QUEUE)
    written = loaded.then(write_on, opened, generated.outputs, **QUIET, **MODEL_QUEUE)
    written.then(None, None, None, js=FORGET_QUERY, **QUIET)
    return written, load.upload(on_file, load, outputs, **QUIET, **MODEL_QUEUE)
