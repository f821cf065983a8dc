"""The tokens of the text above the tabs that look at it: the position is chosen here.

Counting tokens to find the number of one is no work for a person. A click on a token makes its
position the one that all tabs look at; see `gpt2lab.ui.position`.
"""

from pathlib import Path

import gradio as gr

from gpt2lab.models import Gpt2
from gpt2lab.ui.packing import packed
from gpt2lab.ui.session import Subject
from gpt2lab.ui.token_strip import token_line

ASSETS = Path(__file__).parent / "assets"
DRAWING = "\n".join((ASSETS / f"{name}.js").read_text() for name in ("chips", "strip_above"))


def build_strip() -> gr.HTML:
    """The tokens that are looked at, empty; its value is what `strip_lines` returns."""
    return gr.HTML(
        "",
        html_template='<div class="where"></div><div class="tokens"></div>',
        js_on_load=DRAWING,
        apply_default_css=False,
        elem_classes="strip-above",
    )


def strip_lines(gpt2: Gpt2, looked_at: Subject, position: int) -> str:
    """A line of JSON for each token, as in the transcript, behind one for the position."""
    lines = [token_line(gpt2, 0, offset, id) for offset, id in enumerate(looked_at.ids)]
    return packed({"position": position}) + "\n" + "".join(lines)
