"""Draws any inspection: idea, controls, picture, table, and the code to run it yourself.

A tab draws when it is looked at, and again when something changes that it shows; nothing is
computed for tabs that nobody sees. What was drawn is remembered by its inputs, so that coming back
to an unchanged tab costs nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.models import Gpt2
from gpt2lab.progress import heard_by
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import describe
from gpt2lab.ui.attention_maps import server_functions
from gpt2lab.ui.downloads import build_downloads
from gpt2lab.ui.examples import example_choice
from gpt2lab.ui.header import plain
from gpt2lab.ui.interactive import build_interactive, drawing_value
from gpt2lab.ui.limits import MODEL_QUEUE, QUIET
from gpt2lab.ui.reading import Reading, reading
from gpt2lab.ui.session import Session, Subject, Writer, subject
from gpt2lab.ui.sidebar import Sidebar
from gpt2lab.ui.strip_above import strip_lines
from gpt2lab.ui.traces import Traces
from gpt2lab.ui.waiting import shown_while_waiting

FORMULAS = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]
# Only the browser knows which tab is in view; it presses that tab's hidden button.
PRESS_REDRAW = "() => window.gpt2lab.redraw()"
# The first input says whether the page is dark; only the browser knows.
WITH_DARK = "(...values) => [document.body.classList.contains('dark'), ...values.slice(1)]"


FINE_STEPS = 5000
"""A slider of more steps would have several on each pixel."""


@dataclass(frozen=True)
class InspectionTab:
    """What the page connects to: the controls, and the choice of examples if there is one."""

    inspection: Inspection
    controls: tuple[tuple[Control, gr.components.FormComponent], ...]
    choice: gr.Dropdown | None


def build_inspection_tab(
    inspection: Inspection,
    position: gr.Number,
    strip: gr.HTML,
    subject_inputs: Sequence[gr.components.Component],
    sidebar: Sidebar,
    gpt2: Gpt2,
    model_named: Callable[[str], Gpt2],
    traces: Traces,
) -> InspectionTab:
    """Lay out one inspection in the current Tabs.

    `strip` shows the text above the tab, and in it `position`, which all tabs share.
    `subject_inputs` are the page's model, session, box, mode and template: what is looked at.
    """
    with gr.Tab(inspection.title, id=inspection.name, elem_id=f"tab-{inspection.name}") as tab:
        with gr.Accordion("The idea", open=False):
            gr.Markdown(inspection.idea, latex_delimiters=FORMULAS, elem_classes="idea")
        with gr.Row():
            controls = [_component(control, gpt2) for control in inspection.controls]
            choice = example_choice(inspection.examples(gpt2)) if inspection.examples else None
        note = gr.Markdown(elem_classes="note")
        refusal = gr.Textbox(
            label="This cannot be shown", visible=False, interactive=False, elem_classes="refusal"
        )
        picture = (
            build_interactive(inspection, server_functions(inspection, traces))
            if inspection.interactive
            else gr.Plot(show_label=False, elem_classes="picture")
        )
        shown = gr.State(None)
        build_downloads(inspection, shown)
        table = gr.Dataframe(
            interactive=False, show_search="search", buttons=["fullscreen", "copy"], label="Table"
        )
        with gr.Accordion("Run this yourself", open=True):
            code = gr.Code(
                language="python",
                interactive=False,
                buttons=["copy"],
                label="the same numbers with transformers",
            )
        dark = gr.Checkbox(visible=False)
        redraw = gr.Button(visible="hidden", elem_classes="redraw")
        drawn = gr.State(None)

    decoding_controls = sidebar.controls if inspection.uses_decoding else ()
    names = [control.name for control in inspection.controls]

    def draw(
        dark: bool,
        before: Any,
        position: int,
        name: str,
        session: Session,
        text: str,
        mode: str,
        template: str,
        *values: Any,
    ) -> tuple[Any, ...]:
        inputs = (dark, name, session, text, mode, template, values)
        above = ""
        try:
            gpt2 = model_named(name)
            looked_at = subject(gpt2, session, Writer(text, mode, template))
            above = strip_lines(gpt2, looked_at, position)
            if inputs == before:
                return (above, *[gr.skip()] * 7)
            arguments = dict(zip(names, values[: len(names)], strict=True))
            if inspection.uses_decoding:
                arguments["decoding"] = sidebar.decoding(values[len(names) :])
                arguments["prompt_length"] = looked_at.prompt_length
            read = reading(inspection, gpt2, looked_at, traces)
            arguments = read.arguments(inspection, arguments)
            with heard_by(shown_while_waiting()):
                result = inspection.compute(read.text, **arguments)
            return (
                above,
                "" if inspection.of_model else _note(read, session, looked_at, text),
                gr.update(visible=False),
                drawing_value(inspection, result)
                if inspection.interactive
                else inspection.figure(result, dark=dark),
                rounded(inspection.table(result)),
                inspection.snippet(read.text, **arguments),
                inputs,
                result,
            )
        except Refusal as reason:
            refused = gr.update(value=str(reason), visible=True)
            return above, "", refused, None, None, "", None, None

    gr.on(
        [tab.select, redraw.click],
        draw,
        [dark, drawn, position, *subject_inputs, *controls, *decoding_controls],
        [strip, note, refusal, picture, table, code, drawn, shown],
        js=WITH_DARK,
        show_progress="minimal",
        show_progress_on=picture,
        trigger_mode="always_last",
        api_visibility="private",
        **MODEL_QUEUE,
    )
    changes = [event for control in controls for event in _settled(control)]
    if changes:
        gr.on(changes, None, None, None, js=PRESS_REDRAW, **QUIET)
    pairs = tuple(zip(inspection.controls, controls, strict=True))
    return InspectionTab(inspection, pairs, choice)


def _note(read: Reading, session: Session, looked_at: Subject, typed: str) -> str:
    """A line about the text: which part of it, what an empty one means, how exact numbers are."""
    gpt2 = read.text.gpt2
    note = f"{len(looked_at.ids):,} of at most {gpt2.n_positions:,} tokens"
    if read.whole:
        note = (
            f"{len(read.text):,} tokens, of which {plain(gpt2.name)} reads "
            f"at most {gpt2.n_positions:,} at once; here are all of them"
        )
        if read.first:
            note += f", so what the strip above calls position 0 is {read.first:,} here"
    elif looked_at.dropped:
        note += f"; the {looked_at.dropped:,} before them do not fit into the context"
    if session.focus is not None:
        passage = session.transcript.passages[session.focus.passage]
        token = describe(gpt2, [passage.ids[session.focus.offset]]).shown[0]
        whose = "your text" if passage.writing is None else f"what {passage.writing.model} wrote"
        note += f". Picked: token {session.focus.offset + 1} of {whose}, {plain(token)}"
        if typed:
            note += "; what is in the box is not part of this text before it is sent"
    if not typed and session.transcript.active is None:
        note = (
            "The prompt is empty, so GPT-2 starts from its beginning-of-text token, "
            "`<|endoftext|>`: this is what you see"
        )
    if gpt2.dtype != "float32":
        note += (
            f"; {gpt2.dtype} has few digits, so two correct ways to compute a number differ in the "
            "second or third"
        )
    return f"{note}."


def rounded(table: Table) -> dict[str, Any]:
    """What the page shows of a table: numbers to six significant digits."""
    rows = [
        [float(f"{cell:.6g}") if isinstance(cell, float) else cell for cell in row]
        for row in table.rows
    ]
    return {"headers": list(table.headers), "data": rows}


def _settled(control: gr.components.FormComponent) -> list[Any]:
    """Events after which a control has another value; a text has one when it is written out."""
    if isinstance(control, gr.Textbox):
        return [control.submit, control.blur]
    return [control.change]


def _component(control: Control, gpt2: Gpt2) -> gr.components.FormComponent:
    common: dict[str, Any] = {"label": control.name, "info": control.help}
    if control.kind == "choice":
        return gr.Dropdown(list(control.choices), value=control.default, **common)
    if control.kind == "switch":
        return gr.Checkbox(bool(control.default), elem_classes="switch", **common)
    if control.kind == "text":
        return gr.Textbox(control.default, lines=control.lines, max_lines=12, **common)
    if control.kind == "position":
        return gr.Number(control.default, precision=0, **common)
    if control.type is int and control.high - control.low > FINE_STEPS:
        return gr.Number(
            control.default, precision=0, minimum=control.low, maximum=control.high, **common
        )
    step = 1 if control.type is int else 0.01
    return gr.Slider(
        control.low, value=control.default, step=step, **bounds(control, gpt2), **common
    )


def bounds(control: Control, gpt2: Gpt2) -> dict[str, Any]:
    """What a slider's upper end depends on the model; one without a choice cannot be moved."""
    low, high = control.low, control.highest(gpt2)
    return {"maximum": max(high, low + 1), "interactive": high > low}
