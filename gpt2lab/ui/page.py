"""The page, put together: header, sidebar, the box, and a tab for each thing to do or look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from gpt2lab.examples import prompts
from gpt2lab.hub import Download
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.ui.api import add_endpoints
from gpt2lab.ui.carry import (
    WITH_TAB,
    build_carrying,
    build_complaints,
    connect_carrying,
    document_of,
)
from gpt2lab.ui.document import to_json
from gpt2lab.ui.examples import connect_examples, example_choice
from gpt2lab.ui.generate_tab import GenerateTab, build_generate_tab
from gpt2lab.ui.header import Header, build_header
from gpt2lab.ui.inspection_tab import (
    InspectionTab,
    bounds,
    build_inspection_tab,
)
from gpt2lab.ui.limits import MAX_QUEUED, MODEL_QUEUE, QUIET, model_named
from gpt2lab.ui.look_ahead import build_look_ahead, looked_ahead
from gpt2lab.ui.opening import connect_opening
from gpt2lab.ui.position import Positions, connect_positions
from gpt2lab.ui.session import Session, Writer, subject
from gpt2lab.ui.sidebar import Sidebar, build_sidebar
from gpt2lab.ui.tabs import build_groups
from gpt2lab.ui.traces import Traces

# What only the browser knows: which tab is in view, how wide the window is, whether it is dark.
REDRAW_AND_LOOK = "() => { window.gpt2lab.redraw(); window.gpt2lab.lookAhead(); }"
STORE = "(document) => window.gpt2lab.store(document)"
PREPARE = (Path(__file__).parent / "assets" / "page.js").read_text()


def build_page(default: Gpt2, download: Download | None = None) -> gr.Blocks:
    """The whole app around a loaded model; `download` is another one on its way."""
    traces = Traces()

    def named(name: str) -> Gpt2:
        return model_named(name, default)

    with gr.Blocks(title="gpt2lab", analytics_enabled=False) as page:
        with gr.Sidebar(label="Decoding", open=True, width=300):
            gr.Markdown("### Decoding\nhow the next token is chosen; names as in `generate`")
            sidebar = build_sidebar()
        header = build_header(default, named, download)
        prompt = gr.Textbox(
            prompts(default)[0].text,
            label="Prompt",
            info="Enter generates, Shift+Enter breaks the line, Esc stops",
            placeholder="Write something; the model goes on from there.",
            lines=1,
            max_lines=8,
            scale=5,
            min_width=260,
            elem_id="prompt",
            render=False,
        )
        send = gr.Button("Generate", variant="primary", elem_id="generate", render=False)
        stop = gr.Button("Stop", variant="stop", elem_id="stop", render=False)
        peek, seen = build_look_ahead()
        examples = example_choice(prompts(default), render=False)
        position = gr.Number(-1, precision=0, visible="hidden")
        with gr.Tabs() as tabs:
            with gr.Tab("Generate", id="generate", elem_id="tab-generate"):
                complaints = build_complaints()
                generated = build_generate_tab(
                    prompt, examples, seen, send, stop, header.model, sidebar, named, traces
                )
            looked_at = [header.model, generated.session, *generated.writing]
            groups = build_groups(
                tabs,
                INSPECTIONS,
                lambda one, strip: build_inspection_tab(
                    one, position, strip, looked_at, sidebar, default, named, traces
                ),
            )
        positions = connect_positions(position, groups, header.model)
        # Below all tabs, because a link says which of them is in view.
        carrying = build_carrying()
        connect_carrying(
            carrying, sidebar, header.model, named, generated.session, generated.writing
        )
        with gr.Row(equal_height=False, elem_id="writer"):
            prompt.render()
            with gr.Column(scale=1, min_width=140, elem_id="writer-buttons"):
                send.render()
                stop.render()
            with gr.Column(scale=2, min_width=200):
                live = gr.Checkbox(True, label="Peek at the next token", elem_id="live")
                peek.render()
        opening = connect_opening(
            page, PREPARE, carrying.load, complaints, groups, header,
            sidebar, generated, traces,
        )  # fmt: skip
        stop.click(None, None, None, cancels=list(opening), queue=False, **QUIET)
        changed = (*generated.changed, *opening)
        _look_ahead(live, (peek, seen), header, sidebar, generated, traces)
        _redraw_what_is_seen(header, sidebar, generated, groups.inspected, positions, changed)
        _connect_examples(examples, header, generated, groups.inspected, positions)
        add_endpoints(default, traces)
    return page.queue(api_open=False, max_size=MAX_QUEUED)


def _look_ahead(
    live: gr.Checkbox,
    shown: Sequence[gr.components.Component],
    header: Header,
    sidebar: Sidebar,
    generated: GenerateTab,
    traces: Traces,
) -> None:
    """Say what the model would read and write next, and store it all, whenever it is another."""
    # The browser presses it, when typing pauses and when something has changed.
    ahead = gr.Button(visible="hidden", elem_id="look-ahead")
    tab, stored = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")

    def look(tab: str, live: bool, session: Session, name: str, *values: Any) -> list[Any]:
        text, mode, template, *settings = values
        gpt2 = header.named(name)
        document = json.dumps(to_json(document_of(gpt2, sidebar, tab, session, values)))
        try:
            decoding = sidebar.decoding(settings)
        except Refusal:  # The sidebar says what is wrong with its settings.
            return [gr.skip(), gr.skip(), document]
        writer = Writer(text, mode, template)
        return [*looked_ahead(gpt2, session, writer, decoding, live, traces), document]

    gr.on(
        [ahead.click, live.change],
        look,
        [tab, live, generated.session, header.model, *generated.writing, *sidebar.controls],
        [*shown, stored],
        js=WITH_TAB,
        trigger_mode="always_last",
        **QUIET,
        **MODEL_QUEUE,
    ).success(None, stored, None, js=STORE, **QUIET)


def _connect_examples(
    prompts_choice: gr.Dropdown,
    header: Header,
    generated: GenerateTab,
    tabs: Sequence[InspectionTab],
    positions: Positions,
) -> None:
    """Let every choice of examples fill the box, and the controls of its tab."""
    outputs = [generated.session, *generated.shown, generated.writing[0]]
    for choice, examples, controls in [
        (prompts_choice, prompts, ()),
        *((one.choice, one.inspection.examples, one.controls) for one in tabs),
    ]:
        if choice is not None and examples is not None:
            connect_examples(
                choice, examples, controls, header, generated.session, outputs,
                positions.components, REDRAW_AND_LOOK,
            )  # fmt: skip


def _redraw_what_is_seen(
    header: Header,
    sidebar: Sidebar,
    generated: GenerateTab,
    tabs: Sequence[InspectionTab],
    positions: Positions,
    changed: Sequence[gr.events.Dependency],
) -> None:
    """Ask the tab in view, and no other, to draw again when what it shows has changed."""
    prompt, mode, template = generated.writing
    gr.on(
        [prompt.blur, mode.change, template.blur, sidebar.line.change],
        None,
        None,
        None,
        js=REDRAW_AND_LOOK,
        **QUIET,
    )
    set_positions = positions.components

    def aim(session: Session, name: str, *values: Any) -> list[Any]:
        """Set every tab to the token that was picked, or to the end of the text."""
        try:
            position = subject(header.named(name), session, Writer(*values)).position
        except Refusal:
            position = -1
        return [position] * len(set_positions)

    aimed_at = [generated.session, header.model, *generated.writing]
    # The browser presses it when typing pauses: what is typed is looked at from its end.
    typed = gr.Button(visible="hidden", elem_id="typed")
    for then in (typed.click, *(one.then for one in changed)):
        then(aim, aimed_at, set_positions, queue=False, **QUIET).then(
            None, None, None, js=REDRAW_AND_LOOK, **QUIET
        )

    bounded = [
        pair for one in tabs for pair in one.controls if pair[0].kind in {"layer", "head", "key"}
    ]

    def fit(name: str) -> list[Any]:
        gpt2 = header.named(name)
        return [gr.update(**bounds(control, gpt2), value=control.default) for control, _ in bounded]

    header.model.change(
        fit, header.model, [component for _, component in bounded], queue=False, **QUIET
    ).then(None, None, None, js=REDRAW_AND_LOOK, **QUIET)
