"""Pictures that one can point at, drawn by the browser from the numbers that it is sent.

A matplotlib figure is a picture to look at, print and keep. Where the reader wants to point at a
number, or go from one thing to another with a click, the page has a drawing of its own: the script
`assets/<name of the inspection>.js`. It runs in one scope with `chips.js` and `canvas.js`, which
hold what all of them share, and defines `draw(data)`, where `data` is what the inspection's
`interactive` gave.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from matplotlib import colormaps

from gpt2lab.figures import COLORMAP
from gpt2lab.inspection import Inspection
from gpt2lab.ui.attention_maps import permission
from gpt2lab.ui.packing import packed

ASSETS = Path(__file__).parent / "assets"
TEMPLATE = '<div class="stage"></div><div class="tip" popover="manual" role="tooltip"></div>'

FURTHER = {"attention": ("attention_map", "attention_lines", "attention_row", "attention_heads")}
"""What follows the script of an inspection, where one file would be too long."""


def build_interactive(
    inspection: Inspection, server_functions: Sequence[Callable[..., Any]] = ()
) -> gr.HTML:
    """The drawing of an inspection, empty; its value is what `drawing_value` returns.

    The script can call `server_functions`, which have neither queue nor checks of their own.
    """
    return gr.HTML(
        "",
        html_template=TEMPLATE,
        js_on_load=script(inspection.name),
        apply_default_css=False,
        elem_id=f"picture-{inspection.name.replace('_', '-')}",
        elem_classes="interactive",
        server_functions=list(server_functions) or None,
    )


def drawing_value(inspection: Inspection, result: Any) -> str:
    """What the script draws of a record."""
    assert inspection.interactive
    data = dict(inspection.interactive(result))
    if {"model", "ids"} <= data.keys():
        # It may be asked for more of this text, see `attention_maps`.
        data["permission"] = permission(data["model"], data["ids"])
    return packed(data)


def script(name: str) -> str:
    """The script that draws an inspection, with everything that it uses."""
    parts = ("chips", "canvas", name, *FURTHER.get(name, ()))
    return "\n".join([_palette(), *((ASSETS / f"{one}.js").read_text() for one in parts), BEGIN])


# The value may have arrived before the script; light and dark may change at any time.
BEGIN = """
const drawAgain = () => {
  stage.hidden = !props.value; // What cannot be shown has no picture.
  if (props.value) draw(JSON.parse(props.value));
};
watch("value", drawAgain);
new MutationObserver(drawAgain).observe(document.body, { attributeFilter: ["class"] });
drawAgain();
"""


def _palette() -> str:
    """The figures' colours, so that both kinds of pictures look alike."""
    colours = colormaps[COLORMAP](np.arange(256), bytes=True)[:, :3]
    return f"const VIRIDIS = new Uint8Array({colours.ravel().tolist()});"
