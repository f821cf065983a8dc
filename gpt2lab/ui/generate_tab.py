"""The playground: you write, the model goes on, and every token is a door into the model.

The transcript is drawn by the browser, from a text of lines that only grows while tokens come. What
the visitor does there (pick a token, branch off, edit) arrives as events; each is a move of
`moves.py`, and most of them make the model write. Stop ends that after the token at work and keeps
what is there. The states of all steps go into the shared store of traces, so that the inspection
tabs can show the answer without computing it again.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import time_ns
from typing import Any

import gradio as gr

from gpt2lab import chat
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.snippets import generation
from gpt2lab.ui import moves
from gpt2lab.ui.beam_panel import build_beam_panel
from gpt2lab.ui.branches import build_branches, tree_lines
from gpt2lab.ui.growing import Growing, drawn
from gpt2lab.ui.limits import MODEL_QUEUE, QUIET, sentences
from gpt2lab.ui.moves import Move
from gpt2lab.ui.session import CHAT, CONTINUE, Session, Writer
from gpt2lab.ui.sidebar import Sidebar
from gpt2lab.ui.token_strip import build_transcript
from gpt2lab.ui.traces import Traces
from gpt2lab.ui.writing import write

WITHOUT_SENT = """(sent, text) => {
  const [gone] = JSON.parse(sent);
  return text.startsWith(gone) ? text.slice(gone.length) : text;
}"""


@dataclass(frozen=True)
class GenerateTab:
    """What the page connects to other parts.

    writing: everything that a `Writer` is made of, after the session: box, mode, template.
    changed: events after which the transcript, the active branch or the focus is another.
    shown: transcript and branches, which show the session.
    outputs: what `carried_out` gives values for.
    """

    session: gr.State
    writing: tuple[gr.components.Component, ...]
    shown: tuple[gr.components.Component, ...]
    outputs: tuple[gr.components.Component, ...]
    changed: tuple[gr.events.Dependency, ...]


class Context:
    """What every move needs, from the values of the page's components."""

    def __init__(
        self, model_named: Callable[[str], Gpt2], sidebar: Sidebar, values: Sequence[Any]
    ) -> None:
        session, text, mode, template, name, *settings = values
        self.session: Session = session
        self.writer = Writer(text, mode, template)
        self.gpt2 = model_named(name)
        self.decoding: Decoding = sidebar.decoding(settings)


def build_generate_tab(
    prompt: gr.Textbox,
    examples: gr.Dropdown,
    seen: gr.HTML,
    send: gr.Button,
    stop: gr.Button,
    model: gr.Dropdown,
    sidebar: Sidebar,
    model_named: Callable[[str], Gpt2],
    traces: Traces,
) -> GenerateTab:
    """Lay out the transcript and connect what can be done with it."""
    with gr.Row():
        mode = gr.Radio(
            [("Continue: the model goes on with the text", CONTINUE), ("Chat", CHAT)],
            value=CONTINUE,
            show_label=False,
            container=False,
            scale=3,
            elem_id="mode",
        )
        examples.render()
        template = gr.Textbox(
            chat.TEMPLATE,
            label="Chat template",
            info="what the model reads of a line of yours; how your next line begins joins stop",
            lines=2,
            scale=2,
            visible=False,
            elem_id="template",
        )
    mode.change(lambda chosen: gr.update(visible=chosen == CHAT), mode, template, **QUIET)
    transcript = build_transcript()
    with gr.Row(elem_id="moves"):
        status = gr.Markdown("", elem_id="status")
        again, anew, back, more, clear = (
            gr.Button(name, size="sm", scale=0, min_width=80, elem_id=id)
            for name, id in (
                ("Retry", "retry"),
                ("New seed", "retry-new"),
                ("Undo", "undo"),
                ("Continue", "continue"),
                ("Clear", "clear"),
            )
        )
    seen.render()
    branches = build_branches()
    session, beams = gr.State(Session()), gr.State(None)
    build_beam_panel(beams, model_named)
    with gr.Accordion("Run this yourself", open=False):
        code = gr.Code(
            language="python",
            interactive=False,
            buttons=["copy"],
            label="the last answer with transformers",
        )
    inputs = [session, prompt, mode, template, model, *sidebar.controls]
    seed = sidebar.controls[sidebar.names.index("seed")]
    sent = gr.Textbox(visible="hidden")
    # What was typed on since it was sent stays in the box.
    sent.change(None, [sent, prompt], prompt, js=WITHOUT_SENT, queue=False, **QUIET)
    outputs = [transcript, branches, session, sent, status, code, beams, seed]

    def chosen(event: gr.EventData, here: Context) -> Move:
        """The move that a button, the box or the transcript asks for."""
        if by(event, again) or by(event, anew):
            return moves.retry(here.session, here.writer, here.decoding, by(event, anew))
        if by(event, transcript):
            move = moves.edit if said(event).get("action") == "edit" else moves.branch
            return move(here.gpt2, here.session, here.writer, here.decoding, said(event))
        return moves.send(here.gpt2, here.session, here.writer, here.decoding)

    def writing(event: gr.EventData, *values: Any) -> Iterator[list[Any]]:
        if by(event, more):
            values = (values[0], "", *values[2:])  # What is typed stays in the box.
        with sentences(for_page=True):
            here = Context(model_named, sidebar, values)
            if said(event).get("action") == "numbers":
                there = moves.with_numbers(here.gpt2, here.session, said(event), traces)
                yield [*drawn(here.gpt2, there), there, *[gr.skip()] * 5]
                return
            yield from carried_out(
                here.gpt2, chosen(event, here), traces, here.writer.chat_template
            )

    def undoing(*values: Any) -> list[Any]:
        with sentences(for_page=True):
            here = Context(model_named, sidebar, values)
            move = moves.undo(here.session, here.writer, here.decoding)
            there = Session(move.transcript)
            box = gr.skip() if move.box is None else move.box
            return [*drawn(here.gpt2, there), there, "", box]

    def going(event: gr.EventData, session: Session, name: str) -> tuple[Any, ...]:
        with sentences(for_page=True):
            there = moves.go_to(session, said(event))
            return *drawn(model_named(name), there), there

    def stopping(session: Session, line: str, name: str) -> tuple[Any, ...]:
        return *drawn(model_named(name), session), _stopped(session, line)

    def picking(event: gr.EventData, session: Session) -> Session:
        with sentences(for_page=True):
            return Session(session.transcript, moves.checked_focus(session, said(event)))

    # All of them are one event, so that in one page nothing writes while something writes.
    buttons = [again.click, anew.click, more.click]
    started = gr.on(
        [send.click, prompt.submit, *buttons, transcript.submit],
        writing,
        inputs,
        outputs,
        trigger_mode="once",
        **QUIET,
        **MODEL_QUEUE,
    )

    def stopped_by(click: Any) -> gr.events.Dependency:
        # The last words of the stream may still be on their way when the cancelling is done, so
        # what follows it comes in a second event, after them.
        return click(None, None, None, cancels=[started], queue=False, **QUIET)

    drawing = [transcript, branches, session]
    changed = [
        started,
        stopped_by(stop.click).then(
            stopping, [session, status, model], [transcript, branches, status], **QUIET
        ),
        stopped_by(back.click).then(
            undoing, inputs, [*drawing, status, prompt], **QUIET, **MODEL_QUEUE
        ),
        stopped_by(clear.click).then(
            lambda: ("", "[]", Session(), "", "", None),
            None,
            [*drawing, status, code, beams],
            **QUIET,
        ),
        gr.on([transcript.input, branches.select], going, [session, model], drawing, **QUIET),
        transcript.select(picking, session, session, **QUIET),
    ]
    writer = (prompt, mode, template)
    return GenerateTab(session, writer, (transcript, branches), tuple(outputs), tuple(changed))


def by(event: gr.EventData, component: gr.components.Component) -> bool:
    """Whether the event comes from this component, of which each session has a copy."""
    return event.target is not None and event.target.elem_id == component.elem_id


def said(event: gr.EventData) -> Mapping[str, Any]:
    """What the browser says about an event."""
    return event._data if isinstance(event._data, dict) else {}


def carried_out(
    gpt2: Gpt2, move: Move, traces: Traces, template: str | None
) -> Iterator[list[Any]]:
    """Carry a move out; in a chat with that template.

    Yields values for transcript, branches, session, what was sent, status, code, beams and seed.
    """
    skip = gr.skip()
    # The time makes it another value each time, even where the same text is sent again.
    sent = json.dumps([move.sent, time_ns()]) if move.sent else skip
    if move.place is None:
        session = Session(move.transcript)
        yield [*drawn(gpt2, session), session, sent, "", skip, None, skip]
        return
    lines: Growing | None = None
    snippet: Any = skip
    tree: Any = skip
    for draft in write(gpt2, move.transcript, move.place, move.decoding, traces, template):
        session = Session(draft.transcript)
        seed = skip
        if lines is None:
            stop = chat.stop_string(template) if template else ""
            lines = Growing(gpt2, draft.transcript, draft.first, stop)
            snippet = generation(gpt2, draft.prompt, move.decoding)
            tree, seed = tree_lines(draft.transcript, gpt2), move.decoding.seed
        if draft.finished:
            tree = tree_lines(draft.transcript, gpt2)
        count = move.decoding.num_return_sequences
        value = lines.grown(draft.transcript, count, draft.finished)
        # The same value again is sent to nobody, and costs gradio less than to skip a component.
        yield [value, tree, session, sent, draft.status, snippet, draft.beams, seed]


def _stopped(session: Session, line: str) -> str:
    active = session.transcript.active
    writing = None if active is None else session.transcript.passages[active].writing
    if writing is None or writing.finish_reason or not line or "stopped" in line:
        return line
    return f"{line}; stopped, what is there stays."
