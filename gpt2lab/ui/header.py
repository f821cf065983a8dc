"""The page's first line: which model is speaking, and which others could.

If OpenAI's gpt2 is not here yet, the header shows how its download comes along, offers it as soon
as it is there, or says why only the built-in model is available.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from gpt2lab.hub import Download
from gpt2lab.models import Gpt2, catalogue
from gpt2lab.refusal import Refusal
from gpt2lab.ui.limits import MODEL_QUEUE, QUIET

SECONDS_BETWEEN_LOOKS = 1.0
WAITING = {"connecting", "downloading"}


@dataclass(frozen=True)
class Header:
    """The choice of the model, an input of everything that computes, and what a name means."""

    model: gr.Dropdown
    named: Callable[[str], Gpt2]


def build_header(
    default: Gpt2, model_named: Callable[[str], Gpt2], download: Download | None
) -> Header:
    """Lay out the header in the current Blocks."""
    with gr.Row(equal_height=True):
        with gr.Column(scale=4, min_width=260):
            who = gr.Markdown(_who(default), elem_id="who")
            news = gr.Markdown(elem_id="download", visible=download is not None)
        model = gr.Dropdown(
            _ready(default),
            value=default.name,
            label="model",
            scale=1,
            min_width=160,
            interactive=True,
            elem_id="model",
        )

    def switch(name: str) -> tuple[Any, Any]:
        try:
            return _who(model_named(name)), gr.skip()
        except Refusal as reason:
            gr.Warning(html.escape(str(reason), quote=False))
            return _who(default), default.name

    model.change(switch, model, [who, model], **QUIET, **MODEL_QUEUE)
    if download:
        timer = gr.Timer(SECONDS_BETWEEN_LOOKS)

        def look() -> tuple[Any, Any, Any]:
            status = download.status()
            waiting = status.state in WAITING
            choices = gr.skip() if waiting else gr.update(choices=_ready(default))
            return status.message, choices, gr.Timer(active=waiting)

        gr.on(
            [timer.tick],
            look,
            None,
            [news, model, timer],
            queue=False,
            **QUIET,
        )
        news.value = download.status().message
    return Header(model, model_named)


def _who(gpt2: Gpt2) -> str:
    return f"**gpt2lab** — {plain(gpt2.description)}"


def plain(text: str) -> str:
    """Any text as Markdown that shows just that text: a folder's name, a token."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", text)


def _ready(default: Gpt2) -> list[str]:
    ready = [info.name for info in catalogue() if info.ready]
    return list(dict.fromkeys([default.name, *ready]))
