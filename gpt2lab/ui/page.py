"""The page, put together: header, prompt, sidebar, and one tab for each thing to do or look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from gpt2lab.hub import Download
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.ui.api import add_endpoints
from gpt2lab.ui.generate_tab import GenerateTab, build_generate_tab
from gpt2lab.ui.header import Header, build_header
from gpt2lab.ui.inspection_tab import (
    PRESS_REDRAW,
    InspectionTab,
    bounds,
    build_inspection_tab,
)
from gpt2lab.ui.limits import MAX_QUEUED, model_named
from gpt2lab.ui.session import ANSWER, PROMPT
from gpt2lab.ui.sidebar import Sidebar, build_sidebar
from gpt2lab.ui.traces import Traces

# What only the browser knows: which tab is in view, how wide the window is, whether it is dark.
PREPARE = (Path(__file__).parent / "assets" / "page.js").read_text()
EXAMPLE = "The old king said to his daughter,"


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
        with gr.Row(equal_height=True):
            prompt = gr.Textbox(
                EXAMPLE,
                label="Prompt",
                info="Enter generates, Shift+Enter breaks the line",
                lines=1,
                max_lines=8,
                scale=5,
                min_width=260,
                elem_id="prompt",
            )
            with gr.Column(scale=1, min_width=140):
                send = gr.Button("Generate", variant="primary", elem_id="generate")
                stop = gr.Button("Stop", variant="stop", elem_id="stop")
        source = gr.Radio(
            [PROMPT, ANSWER],
            value=PROMPT,
            label="The tabs look into",
            interactive=False,
            elem_id="source",
        )
        with gr.Tabs():
            with gr.Tab("Generate", id="generate"):
                generated = build_generate_tab(
                    prompt, send, stop, source, header.model, sidebar, named, traces
                )
            looked_at = [header.model, prompt, source, generated.run]
            tabs = [
                build_inspection_tab(one, looked_at, sidebar, default, named, traces)
                for one in INSPECTIONS
            ]
        _redraw_what_is_seen(prompt, source, header, sidebar, generated, tabs)
        add_endpoints(default, traces)
        page.load(None, None, None, js=PREPARE, api_visibility="private")
    return page.queue(api_open=False, max_size=MAX_QUEUED)


def _redraw_what_is_seen(
    prompt: gr.Textbox,
    source: gr.Radio,
    header: Header,
    sidebar: Sidebar,
    generated: GenerateTab,
    tabs: Sequence[InspectionTab],
) -> None:
    """Ask the tab in view, and no other, to draw again when what it shows has changed."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    changes = [control.change for control in sidebar.controls]
    gr.on([prompt.blur, source.change, *changes], None, None, None, js=PRESS_REDRAW, **quiet)
    generated.finished.then(None, None, None, js=PRESS_REDRAW, **quiet)

    bounded = [pair for one in tabs for pair in one.model_controls]

    def fit(name: str) -> list[Any]:
        gpt2 = header.named(name)
        return [gr.update(**bounds(control, gpt2), value=0) for control, _ in bounded]

    header.model.change(
        fit, header.model, [component for _, component in bounded], queue=False, **quiet
    ).then(None, None, None, js=PRESS_REDRAW, **quiet)
