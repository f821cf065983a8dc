"""Take a picture or a table along: PNG and SVG for papers and slides, CSV with every digit.

The file is made when it is asked for, from the record that the tab has drawn, and handed to the
browser as one string; nothing is written to the server's disk.
"""

import base64
import csv
import io
import json
from collections.abc import Callable
from typing import Any, Protocol

import gradio as gr
from matplotlib.figure import Figure

from gpt2lab.inspection import Table
from gpt2lab.ui.limits import MODEL_QUEUE, QUIET

FORMATS = ("png", "svg", "csv")
TYPES = {"png": "image/png", "svg": "image/svg+xml", "csv": "text/csv"}
SAVE = """(file) => {
  if (!file) return;
  const { name, type, content } = JSON.parse(file);
  const link = document.createElement("a");
  link.href = `data:${type};base64,${content}`;
  link.download = name;
  link.click();
}"""


class Drawable(Protocol):
    """What can be taken along: an inspection, and whatever else has a picture and a table."""

    @property
    def name(self) -> str:
        """Of the file."""

    @property
    def figure(self) -> Callable[..., Figure]:
        """From a record to its picture."""

    @property
    def table(self) -> Callable[[Any], Table]:
        """From a record to its numbers."""


def build_downloads(drawable: Drawable, shown: gr.State) -> None:
    """One button a format in the current layout; `shown` holds the record that is on screen."""
    file = gr.Textbox(visible="hidden")
    with gr.Row(elem_classes="downloads"):
        for kind in FORMATS:
            button = gr.Button(f"{kind.upper()} ↓", size="sm", scale=0, min_width=80)
            button.click(
                lambda result, kind=kind: packed(drawable, result, kind),
                shown,
                file,
                **QUIET,
                **MODEL_QUEUE,
            ).success(None, file, None, js=SAVE, **QUIET)


def packed(drawable: Drawable, result: Any, kind: str) -> str:
    """Name, type and base64 content of a file as JSON; "" if nothing has been drawn."""
    if result is None:
        return ""
    content = base64.b64encode(contents(drawable, result, kind)).decode()
    name = f"{drawable.name}.{kind}"
    return json.dumps({"name": name, "type": TYPES[kind], "content": content})


def contents(drawable: Drawable, result: Any, kind: str) -> bytes:
    """Bytes of the figure ("png", "svg") or of the table ("csv") of a record."""
    if kind == "csv":
        table = drawable.table(result)
        text = io.StringIO()
        csv.writer(text).writerows([table.headers, *table.rows])
        return text.getvalue().encode()
    image = io.BytesIO()
    drawable.figure(result).savefig(image, format=kind)
    return image.getvalue()
